"""Tiles a second in sampling and in training, seconds to the first preview, and share of the machine's peak.

    python -m benchmarks.throughput [--checkpoint medi-128] [--steps 20] [--batches 1 4 8] [--minutes 25]

    --checkpoint       name in --checkpoints-dir or path; without it, random weights of the default
                       configuration (speed does not depend on the weights)
    --checkpoints-dir  default: checkpoints
    --device           default: auto
    --dtypes           default: bfloat16 float32
    --executions       default: eager compiled (torch.compile, compilation not counted)
    --batches          tiles in one call; default: 1 4 8
    --steps            denoising steps; default: that of the pipeline
    --seconds          how long each setting is repeated, at least twice; default: 5
    --minutes          settings not begun by then are listed as "not run"; default: 25

Run it on an idle machine. Each number is a median over the repeats, after a warm-up. Peak: the fastest of
several 3×3 convolutions (channels_last), measured in this run with the same dtype and threads. A
multiply-add counts as 2 FLOPs; a training step as three forwards. "÷ paper's" compares tiles a second with
the paper's network (100 steps, unguided) of this run, with the same dtype, execution and batch.
"""

import argparse
from pathlib import Path

from benchmarks import networks, speed
from benchmarks.speed import Setting, Speed
from benchmarks.tables import log, print_table
from benchmarks.timing import Budget, convolution_peak, describe_device
from medi_core.device import DTYPES, choose_device

HEADER = (
    "what",
    "dtype",
    "execution",
    "batch",
    "s a step",
    "first preview (s)",
    "tiles/s",
    "TFLOP/s",
    "of peak",
    "÷ paper's tiles/s",
)


def main() -> None:
    args = _parse()
    device, budget = choose_device(args.device), Budget(args.minutes)
    rows, peaks = [], {}
    for dtype in args.dtypes:
        peaks[dtype] = convolution_peak(device, DTYPES[dtype], args.seconds)
        what = f"peak: 3×3 convolution on {describe_device(device)}"
        rows.append((what, dtype, "eager", "–", "–", "–", "–", f"{peaks[dtype] / 1e12:.3g}", "100 %", "–"))
    for execution in args.executions:
        for dtype in args.dtypes:
            setting = Setting(dtype, execution, device, args.seconds, peaks[dtype])
            if budget.is_spent:
                rows.append(("not run: --minutes were over", dtype, execution, *["–"] * (len(HEADER) - 3)))
                continue
            log(f"{dtype}, {execution} …")
            rows += _rows_of(setting, args)
    print_table(HEADER, rows)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint")
    parser.add_argument("--checkpoints-dir", type=Path, default=Path("checkpoints"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["bfloat16", "float32"])
    parser.add_argument("--executions", nargs="+", choices=("eager", "compiled"), default=["eager", "compiled"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--steps", type=int, default=networks.DEFAULT_STEPS)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--minutes", type=float, default=25.0)
    return parser.parse_args()


def _rows_of(setting: Setting, args: argparse.Namespace) -> list[tuple[object, ...]]:
    paper = list(speed.measure_paper(setting, args.batches))
    pipeline = speed.load_pipeline(args.checkpoint, args.checkpoints_dir, setting)
    sampling = list(speed.measure_sampling(pipeline, setting, args.batches, args.steps))
    paper_rate = {row.batch: row.tiles_per_second for row in paper}
    rows = [_row(row, setting, paper_rate) for row in paper + sampling]
    return [*rows, _row(speed.measure_training(setting), setting, {})]


def _row(row: Speed, setting: Setting, paper_rate: dict[int, float]) -> tuple[object, ...]:
    reference = paper_rate.get(row.batch)
    return (
        row.what,
        setting.dtype,
        setting.execution,
        row.batch,
        f"{row.step_seconds:.3g}",
        "–" if row.first_preview_seconds is None else f"{row.first_preview_seconds:.3g}",
        f"{row.tiles_per_second:.3g}",
        f"{row.flops_per_second / 1e12:.3g}",
        f"{row.flops_per_second / setting.peak:.0%}",
        f"{row.tiles_per_second / reference:.3g}" if reference else "–",
    )


if __name__ == "__main__":
    main()
