"""Kernel distance (KID) of one or more checkpoints to real tiles: to watch a training or compare checkpoints.

    python -m benchmarks.kid --manifest tiles.csv --checkpoints medi-128 [other …] [--splits val] [--steps 20]

    --manifest         grid tiles with split and patient_id (required)
    --splits           real tiles to compare with; default: val test
    --checkpoints      names in --checkpoints-dir or paths; default: medi-128. Copy the checkpoint of a running
                       training first: it is rewritten
    --checkpoints-dir  default: checkpoints
    --scheduler        default: that of the checkpoint
    --steps            default: that of the pipeline
    --guidance         scales of ordinary guidance; default: 1 (none)
    --tiles            generated tiles a setting; default: 256
    --batch            tiles in one call; default: 16
    --subset-size      tiles a side of a distance; default: 128
    --device, --dtype  default: auto, bfloat16
    --minutes          settings not begun by then are listed as "not run"; default: 60

KID: mean ± standard deviation of 50 subsets, not scaled, features of medi_core/models/tile_encoder.py;
comparable within this table, and between tables of the same real tiles, encoder and subset size. The rows
"real" are its floor: see `real_floors` in benchmarks/fidelity.py.
"""

import argparse
import itertools

from benchmarks import fidelity, networks
from benchmarks.samplers import cell
from benchmarks.tables import log, print_table
from benchmarks.timing import Budget
from medi_core.checkpoints import load_checkpoint
from medi_core.device import choose_device, choose_dtype
from medi_core.models.tile_encoder import TileEncoder
from medi_core.pipelines.schedulers import SCHEDULERS, build_scheduler

HEADER = ("checkpoint", "training step", "steps", "guidance", "KID", "tiles", "compared with")


def main() -> None:
    args = _parse()
    device, budget = choose_device(args.device), Budget(args.minutes)
    encoder = TileEncoder(device=device)
    real = fidelity.read_real_set(args.manifest, tuple(args.splits), encoder)
    floors = fidelity.real_floors(real, args.subset_size)
    rows = [(name, "–", "–", "–", cell(kid), "–", real.describe()) for name, kid in floors.items()]
    for name, scale in itertools.product(args.checkpoints, args.guidance):
        if budget.is_spent:
            rows.append((name, "–", args.steps, f"{scale:g}", "not run: --minutes were over", "–", "–"))
            continue
        checkpoint = load_checkpoint(name, args.checkpoints_dir, device, choose_dtype(args.dtype, device))
        if args.scheduler:
            checkpoint.pipeline.scheduler = build_scheduler(args.scheduler)
        sampling = fidelity.Sampling(args.steps, scale, args.tiles, args.batch)
        features, _ = fidelity.generated_features(checkpoint.pipeline, real, sampling, encoder)
        kid = fidelity.distance_to(real, features, args.subset_size)
        trained = checkpoint.training_config.get("step", "–")
        rows.append((checkpoint.id, trained, args.steps, f"{scale:g}", cell(kid), args.tiles, real.describe()))
        log(str(rows[-1]))
    print_table(HEADER, rows)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", nargs="+", default=["medi-128"])
    parser.add_argument("--scheduler", choices=SCHEDULERS)
    parser.add_argument("--steps", type=int, default=networks.DEFAULT_STEPS)
    parser.add_argument("--guidance", nargs="+", type=float, default=[1.0])
    parser.add_argument("--minutes", type=float, default=60.0)
    return fidelity.parse(parser)


if __name__ == "__main__":
    main()
