"""Samplers compared: kernel distance (KID) to real tiles against network evaluations.

    python -m benchmarks.samplers --manifest tiles.csv [--checkpoint medi-128] [--evaluations 8 12 20 50]

    --manifest         grid tiles with split and patient_id (required)
    --splits           real tiles to compare with; default: val test
    --checkpoint       name in --checkpoints-dir or path; default: medi-128
    --checkpoints-dir  default: checkpoints
    --schedulers       default: euler heun dpmsolver unipc
    --evaluations      network evaluations a tile and scheduler; default: 8 12 20 50
    --guidance         scales of ordinary guidance; default: 1 (none). Guidance doubles the evaluations
    --interval         LOW HIGH: guide only between these noise levels, 0 = tile to 1 = noise; may be given several
                       times, and is left out where there is no guidance; default: 0 1 (everywhere)
    --tiles            generated tiles a setting; default: 256
    --batch            tiles in one call; default: 16
    --subset-size      tiles a side of a distance; default: 128
    --device, --dtype  default: auto, bfloat16
    --minutes          settings not begun by then are listed as "not run"; default: 60

Equal noise levels for all (medi_core/pipelines/schedulers.py). Heun takes two evaluations a step and one in
the last, so it gets as many steps as fit into the evaluations; the column counts what was really used. KID:
mean ± standard deviation of 50 subsets, not scaled, features of medi_core/models/tile_encoder.py; comparable
within this table only. The rows "real" are its floor: see `real_floors` in benchmarks/fidelity.py.
"""

import argparse
import itertools
import time
from collections.abc import Sequence

from benchmarks import fidelity
from benchmarks.tables import log, print_table
from benchmarks.timing import Budget
from medi_core.checkpoints import load_checkpoint
from medi_core.device import choose_device, choose_dtype
from medi_core.errors import InvalidRequestError
from medi_core.metrics.kernel import SubsetDistances
from medi_core.models.tile_encoder import TileEncoder
from medi_core.pipelines.schedulers import SCHEDULERS, build_scheduler
from medi_core.services.request_checks import ALL_LEVELS, check_interval

SETTING = ("sampler", "guidance", "interval", "steps")
HEADER = (*SETTING, "network evaluations a tile", "KID", "tiles", "minutes", "compared with")


def main() -> None:
    args = _parse()
    device, budget = choose_device(args.device), Budget(args.minutes)
    checkpoint = load_checkpoint(args.checkpoint, args.checkpoints_dir, device, choose_dtype(args.dtype, device))
    encoder = TileEncoder(device=device)
    real = fidelity.read_real_set(args.manifest, tuple(args.splits), encoder)
    log(f"real: {real.describe()}; {checkpoint.id}")
    floors = fidelity.real_floors(real, args.subset_size)
    rows = [(name, "–", "–", "–", "–", cell(kid), "–", "–", real.describe()) for name, kid in floors.items()]
    for (scale, interval), evaluations, name in itertools.product(
        guidances(args.guidance, args.interval), args.evaluations, args.schedulers
    ):
        setting = (name, f"{scale:g}", "–" if scale == 1 else f"{interval[0]:g} to {interval[1]:g}")
        steps = steps_within(name, evaluations)
        if budget.is_spent:
            rows.append((*setting, steps, "not run: --minutes were over", "–", "–", "–", "–"))
            continue
        pipeline = checkpoint.pipeline
        pipeline.scheduler = build_scheduler(name)
        start = time.monotonic()
        sampling = fidelity.Sampling(steps, scale, args.tiles, args.batch, guidance_interval=interval)
        features, used = fidelity.generated_features(pipeline, real, sampling, encoder)
        kid = fidelity.distance_to(real, features, args.subset_size)
        minutes = (time.monotonic() - start) / 60
        rows.append((*setting, steps, f"{used:g}", cell(kid), args.tiles, f"{minutes:.1f}", real.describe()))
        log(str(rows[-1]))
    print_table(HEADER, rows)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="medi-128")
    parser.add_argument("--schedulers", nargs="+", choices=SCHEDULERS, default=list(SCHEDULERS))
    parser.add_argument("--evaluations", nargs="+", type=int, default=[8, 12, 20, 50])
    parser.add_argument("--guidance", nargs="+", type=float, default=[1.0])
    parser.add_argument("--interval", nargs=2, type=float, action="append", metavar=("LOW", "HIGH"))
    parser.add_argument("--minutes", type=float, default=60.0)
    args = fidelity.parse(parser)
    args.interval = [tuple(interval) for interval in args.interval or [ALL_LEVELS]]
    for interval in args.interval:
        try:
            check_interval(interval)
        except InvalidRequestError as error:
            parser.error(str(error))
    return args


def guidances(
    scales: Sequence[float], intervals: Sequence[tuple[float, float]]
) -> list[tuple[float, tuple[float, float]]]:
    """Each scale within each interval; no guidance once, for it has none."""
    return [(scale, interval) for scale in scales for interval in (intervals[:1] if scale == 1 else intervals)]


def steps_within(name: str, evaluations: int) -> int:
    """Most steps a scheduler can take for so many network evaluations."""
    return (evaluations + 1) // 2 if name == "heun" else evaluations


def cell(kid: SubsetDistances) -> str:
    return f"{kid.mean:.1f} ± {kid.std:.1f}"


if __name__ == "__main__":
    main()
