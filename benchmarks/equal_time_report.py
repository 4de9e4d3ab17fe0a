"""What came of benchmarks/equal_time.py: the snapshots of the trainings by their distance (KID) to real tiles."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import fidelity
from benchmarks.cpu_training import snapshots
from benchmarks.paper_training import load_paper_model
from benchmarks.samplers import cell
from benchmarks.stock_sampling import PaperPipeline
from benchmarks.svg_plot import Panel, Series, plot_svg
from benchmarks.tables import log, print_table
from benchmarks.timing import Budget
from medi_core.checkpoints import load_checkpoint, read_training_config
from medi_core.device import choose_device, choose_dtype
from medi_core.metrics.kernel import SubsetDistances
from medi_core.models.tile_encoder import TileEncoder

HEADER = (
    "configuration",
    "parameters (M)",
    "GFLOP a forward",
    "CPU minutes",
    "tiles seen",
    "tiles a CPU second",
    "sampling steps",
    "KID",
    "tiles",
)
NAMES = {"paper": "paper's", "ours": "ours", "class-only": "ours, cancer type alone"}


def report(args: argparse.Namespace) -> None:
    """Print the table of all snapshots, and write the plot once two trainings have some."""
    budget = Budget(args.minutes or float("inf"))
    encoder = TileEncoder(device=choose_device(args.device))
    real = fidelity.read_real_set(args.manifest, tuple(args.splits), encoder)
    floors = fidelity.real_floors(real, args.subset_size)
    rows = [(name, *["–"] * 6, cell(kid), "–") for name, kid in floors.items()]
    measured: dict[str, list[tuple[dict[str, Any], SubsetDistances]]] = {kind: [] for kind in NAMES}
    for kind in NAMES:
        for folder in snapshots(args.work / kind):
            record, kid = read_training_config(folder), None
            if not budget.is_spent:
                kid = _distance(args, kind, folder, real, encoder)
                measured[kind].append((record, kid))
            rows.append(_row(args, kind, record, kid))
            log(str(rows[-1]))
    print_table(HEADER, rows)
    print(f"\nKID to {real.describe()}.")
    measured = {kind: points for kind, points in measured.items() if points}
    if len(measured) > 1:
        plot = args.plot or args.work / "equal-time.svg"
        plot.write_text(plot_of(measured, floors["real, halves by patient"].mean), encoding="utf-8")
        log(f"{plot} is written")


def _distance(
    args: argparse.Namespace, kind: str, folder: Path, real: fidelity.RealSet, encoder: TileEncoder
) -> SubsetDistances:
    """Measured, or read from beside the snapshot if it was measured in the same way before."""
    steps = _steps(args, kind)
    how = {"real": real.describe(), "tiles": args.tiles, "subset_size": args.subset_size, "dtype": args.dtype}
    how |= {"steps": steps, "sampler": args.paper_sampler if kind == "paper" else "checkpoint's"}
    file = folder.with_name(f"{folder.name}.kid.json")
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if before["how"] == how:
            return SubsetDistances(np.array(before["values"]))
    device = choose_device(args.device)
    dtype = choose_dtype(args.dtype, device)
    if kind == "paper":
        pipeline = PaperPipeline(load_paper_model(folder, device, dtype), args.paper_sampler)
    else:
        pipeline = load_checkpoint(str(folder), args.work, device, dtype).pipeline
    sampling = fidelity.Sampling(steps, 1.0, args.tiles, args.batch)
    features, _ = fidelity.generated_features(pipeline, real, sampling, encoder)
    kid = fidelity.distance_to(real, features, args.subset_size)
    file.write_text(json.dumps({"how": how, "values": kid.values.tolist()}), encoding="utf-8")
    return kid


def _steps(args: argparse.Namespace, kind: str) -> int:
    return args.paper_steps if kind == "paper" else args.steps


def _row(
    args: argparse.Namespace, kind: str, record: dict[str, Any], kid: SubsetDistances | None
) -> tuple[object, ...]:
    shape = "-".join(map(str, record["block_out_channels"]))
    shape += "" if kind == "paper" else f", {record['patch_px']}-px patches"
    return (
        f"{NAMES[kind]}, {shape}",
        f"{record['parameters'] / 1e6:.1f}",
        f"{record['forward_flops'] / 1e9:.2f}",
        f"{record['minutes']:.1f}",
        f"{record['tiles_seen']:,}",
        f"{record['tiles_seen'] / (60 * record['minutes']):.2f}",
        f"{_steps(args, kind)}",
        cell(kid) if kid else "not run: --minutes were over",
        args.tiles if kid else "–",
    )


def plot_of(measured: dict[str, list[tuple[dict[str, Any], SubsetDistances]]], floor: float) -> str:
    """KID against minutes, and against tiles: SVG."""

    def series(field: str) -> list[Series]:
        return [
            Series(NAMES[kind], [(record[field], kid.mean, kid.std) for record, kid in points])
            for kind, points in measured.items()
        ]

    panels = [Panel("minutes of processor time", series("minutes")), Panel("training tiles seen", series("tiles_seen"))]
    return plot_svg("Equal time, equal data: distance to real tiles", "KID", panels, {"real, other patients": floor})
