"""The same tiles by a stock loop, the paper's network and ours in its speeds: cost, time and distance (KID), one run.

    python -m benchmarks.side_by_side --manifest tiles.csv [--checkpoint medi-128] [--fast runs/fast/checkpoint]

    --manifest         grid tiles with split and patient_id (required)
    --checkpoint       name in --checkpoints-dir or path; default: medi-128
    --fast             a distilled checkpoint, folder or name: sampled in the steps that its training_config.json
                       records, without guidance; without it the row is left out
    --checkpoints-dir  default: checkpoints
    --guidance         of all rows of the checkpoint; default: 2, that of the app
    --reference-steps  of the row that KIDs are divided by, and of the stock loop; default: 20
    --splits           real tiles to compare with; default: val test
    --tiles            generated tiles a row; default: 256
    --batch            tiles in one call while distances are measured; default: 16
    --subset-size      tiles a side of a distance; default: 128
    --device, --dtype  default: auto, bfloat16; the stock loop is float32
    --seconds          how long each time is repeated, at least twice; default: 5
    --plot             SVG to write; default: none

Rows: (a) the checkpoint's weights in a plain loop of diffusers' Euler scheduler: float32, one tile a call, with and
without metadata as separate forwards; (b) the paper's network, rebuilt with random weights: one step is timed and
multiplied by 100, and there is no distance, for there are no published weights; (c) ours as the app runs it; (d) with
more steps; (e) the fast checkpoint. All rows have the same metadata and seeds, so a difference of KID is the row's.
Network evaluations are counted while tiles are made. Peak: of the fastest 3×3 convolution with the row's dtype, in
this run; its share is reached in a batch of 8.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import fidelity, networks
from benchmarks.samplers import cell
from benchmarks.stock_sampling import StockPipeline
from benchmarks.svg_plot import Panel, Series, plot_svg
from benchmarks.tables import log, print_table, run
from benchmarks.timing import convolution_peak, describe_device
from benchmarks.ways import ALONE, TOGETHER, Result, Way, measure, measure_paper
from medi_core.checkpoints import TRAINING_CONFIG, find_checkpoint, load_checkpoint
from medi_core.device import DTYPES, choose_device, choose_dtype
from medi_core.errors import CheckpointError
from medi_core.models.tile_encoder import TileEncoder

HEADER = (
    "configuration",
    "dtype",
    "network evaluations a tile",
    "GFLOP a tile",
    "s a tile, asked for alone",
    "s a tile, of 8",
    "of peak",
    "KID",
    "tiles",
    "KID ÷ that of the reference",
)
NO_WEIGHTS = "not measured: no published weights"


def main() -> None:
    args = _parse()
    device = choose_device(args.device)
    dtype = {v: k for k, v in DTYPES.items()}[choose_dtype(args.dtype, device)]
    peaks = {name: convolution_peak(device, DTYPES[name], args.seconds) for name in {dtype, "float32"}}
    encoder = TileEncoder(device=device)
    real = fidelity.read_real_set(args.manifest, tuple(args.splits), encoder)
    floor = fidelity.real_floors(real, args.subset_size)["real, halves by patient"]
    results = [measure_paper(dtype, device, args.seconds, peaks[dtype])]
    for way in ways(args, dtype, device):
        sampling = fidelity.Sampling(way.steps, way.guidance, args.tiles, args.batch)
        results.append(measure(way, sampling, args.subset_size, real, encoder, args.seconds, peaks[way.dtype]))
        log(f"{way.name}: {cell(results[-1].kid)}, {results[-1].seconds[TOGETHER]:.3g} s a tile")
    print(f"{describe_device(device)}; compared with {real.describe()}; real, halves by patient: KID {cell(floor)}.\n")
    print_table(HEADER, rows_of(results))
    if not args.fast:
        print("\nNo fast checkpoint was given: its row is left out.")
    if args.plot:
        args.plot.write_text(plot_of(results, floor.mean), encoding="utf-8")


def ways(args: argparse.Namespace, dtype: str, device: torch.device) -> Iterator[Way]:
    """All ways but the paper's, in the order of the table."""

    def load(name: str, dtype: str):
        return lambda: load_checkpoint(name, args.checkpoints_dir, device, DTYPES[dtype]).pipeline

    steps, scale, plain = args.reference_steps, args.guidance, load(args.checkpoint, "float32")
    yield Way(f"stock loop, our weights, {steps} steps", "float32", lambda: StockPipeline(plain()), steps, scale)
    ours, default = load(args.checkpoint, dtype), networks.DEFAULT_STEPS
    yield Way(f"ours, {default} steps", dtype, ours, default, scale)
    yield Way(f"ours, {steps} steps (reference)", dtype, ours, steps, scale, is_reference=True)
    if args.fast:
        few = fast_steps(find_checkpoint(args.fast, args.checkpoints_dir))
        yield Way(f"ours fast, {few} steps", dtype, load(args.fast, dtype), few, 1.0)


def fast_steps(folder: Path) -> int:
    """The steps that a distilled checkpoint was made for.

    Raises:
        CheckpointError: it is not a distilled one.
    """
    try:
        record = json.loads((folder / TRAINING_CONFIG).read_text(encoding="utf-8"))
        return int(record["distillation"]["num_inference_steps"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"--fast {folder}: its {TRAINING_CONFIG} has no distillation.num_inference_steps; "
            "give the folder of a distilled checkpoint"
        ) from error


def rows_of(results: list[Result]) -> list[tuple[object, ...]]:
    """The table: KIDs also as multiples of the reference's."""
    reference = next(result.kid.mean for result in results if result.is_reference)
    return [
        (
            result.name,
            result.dtype,
            f"{result.evaluations:g}",
            f"{result.gflop:,.0f}",
            f"{result.seconds[ALONE]:.3g}",
            f"{result.seconds[TOGETHER]:.3g}",
            f"{result.share_of_peak:.0%}",
            cell(result.kid) if result.kid else NO_WEIGHTS,
            result.num_tiles or "–",
            f"{result.kid.mean / reference:.2f}" if result.kid else "–",
        )
        for result in results
    ]


def plot_of(results: list[Result], floor: float) -> str:
    """Cost against distance, SVG: a result without a distance is a vertical line."""
    made = [Series(r.name, [(r.gflop, r.kid.mean, r.kid.std)], is_line=False) for r in results if r.kid]
    marks = {f"paper's network: {r.gflop:,.0f}": r.gflop for r in results if not r.kid}
    panel = Panel("GFLOP a tile", made, is_log=True, x_marks=marks)
    return plot_svg("Cost of a tile against distance to real tiles", "KID", [panel], {"real, other patients": floor})


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="medi-128")
    parser.add_argument("--fast")
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--reference-steps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--plot", type=Path)
    return fidelity.parse(parser)


if __name__ == "__main__":
    run(main)
