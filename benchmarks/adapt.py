"""A center left out of training, then added by `adapt`: is it followed afterwards?

    python -m benchmarks.adapt --manifest tiles.csv --work runs/adapt [--minutes 40] [--tiles 96]

    --manifest   grid tiles with split and patient_id (required)
    --work       folder of the trainings; a training already there is resumed or taken as it is (required)
    --left-out   center to leave out of the training; default: Radboud University Medical Center
    --num-steps  of the training without it; default: 1500
    --minutes    of that training at most; default: 40
    --per-center training tiles a center at most, for the new center and for the probe; default: 300
    --tiles      generated tiles a condition; default: 96
    --steps      of sampling; default: 20
    --seen       a center of the training to compare with; default: Karolinska Institutet
    --guidance   scale on the center, beside 1; default: 2

A small network (8-px patches) is trained on the training patients of every other center, then adapted to the one left
out. Tiles are asked for with the cancer types at that center: before, when it can only be asked for as "unknown", and
after; from the same seeds. Two center probes (logistic regressions) are fitted on real training tiles of all centers:
one on frozen features, which see structure, one on nine numbers of colour, which see stain and scanner. Each says how
often it names the center asked for; a seen center and real test tiles stand beside, for what can be expected. Colour
distance: between the mean colour numbers and those of real test tiles of the center asked for. Intervals are over
patients where tiles have some, else over tiles.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.tables import log, print_table
from medi_core.checkpoints import Checkpoint, load_checkpoint
from medi_core.data.grid_tiles import iterate_grid_tiles
from medi_core.data.manifest import read_manifest, write_manifest
from medi_core.metadata.schema import MetadataRecord
from medi_core.metrics.intervals import proportion_interval
from medi_core.metrics.probes import Probe, fit_probe
from medi_core.pipelines.guidance import GuidanceTerm
from medi_core.services.encoding import EncodingService
from medi_core.stain.separation import optical_density
from medi_core.training.adapt import AdaptationConfig
from medi_core.training.adaptation_run import run_adaptation
from medi_core.training.run import run_training
from medi_core.training.train_diffusion import DiffusionTrainingConfig

HEADER = ("tiles", "n", "patients", "features say so", "colours say so", "colour distance")


def main() -> None:
    args = _parse()
    manifest = read_manifest(args.manifest)
    args.work.mkdir(parents=True, exist_ok=True)
    is_left_out = manifest["center"] == args.left_out
    write_manifest(manifest[~is_left_out], args.work / "others.csv")
    train_rows = manifest[is_left_out & (manifest["split"] == "train")]
    few = train_rows.sample(min(args.per_center, len(train_rows)), random_state=0)
    write_manifest(few, args.work / "new.csv")
    _train(args)
    if not (args.work / "adapted").exists():
        run_adaptation(
            args.work / "new.csv",
            str(args.work / "training" / "checkpoint"),
            args.work,
            args.work / "adapted",
            AdaptationConfig(),
            on_report=lambda report: log(f"adapt step {report.step}: validation loss {report.validation_loss:.4f}"),
        )
    _report(args, manifest)


def _train(args: argparse.Namespace) -> None:
    config = DiffusionTrainingConfig(
        block_out_channels=(96, 192),
        patch_px=8,
        head_channels=8,
        global_batch=16,
        learning_rate=5e-4,
        warmup_steps=100,
        ema_decay=0.995,
        num_steps=args.num_steps,
        decay_steps=args.num_steps // 3,
    )

    def on_step(step) -> None:
        if step.step % 100 == 0:
            log(f"training step {step.step}: loss {step.loss:.4f}, {step.tiles_per_second:.1f} tiles/s")

    run_training(args.work / "others.csv", args.work / "training", config, args.minutes, num_workers=1, on_step=on_step)


def _report(args: argparse.Namespace, manifest: pd.DataFrame) -> None:
    new, encoding = args.left_out, EncodingService(cache_dir=args.work / "features")
    train = manifest[(manifest["split"] == "train") & manifest["center"].notna()]
    # as many tiles of each other center at most, or the probes would rarely name the one left out
    train = train.sample(frac=1, random_state=0).groupby("center").head(args.per_center)
    train, features = encoding.features_of_rows(train)
    labels, patients = list(train["center"]), list(train["patient_id"])
    probes = (
        Looks(fit_probe(features, labels, patients), lambda tiles: encoding.features_of(list(tiles))),
        Looks(fit_probe(colours_of(_tiles_of(train)), labels, patients), colours_of),
    )
    rows, real_colours = [], {}
    for center in (new, args.seen):
        test = manifest[(manifest["split"] == "test") & (manifest["center"] == center)]
        parts = list(iterate_grid_tiles(test))
        real = [tile for _, tiles in parts for tile in tiles]
        patients = pd.concat([part for part, _ in parts])["patient_id"]
        real_colours[center] = colours_of(real)
        rows.append(_row(f"real test tiles of {center}", center, probes, real, real_colours[center], patients))
    types = sorted(manifest.loc[manifest["center"] == new, "cancer_type"].unique())
    for folder, asked, scale in (
        ("training/checkpoint", None, 1.0),
        *(("adapted", center, scale) for center in (new, args.seen) for scale in (1.0, args.guidance)),
    ):
        checkpoint = load_checkpoint(str(args.work / folder), args.work, torch.device("cpu"), torch.float32)
        tiles = _generate(args, checkpoint, [MetadataRecord(cancer_type=t, center=asked) for t in types], scale)
        name = f"synthetic, {asked}, guidance {scale:g}" if asked else "synthetic, center unknown (before)"
        rows.append(_row(name, asked or new, probes, tiles, real_colours[asked or new]))
        log(str(rows[-1]))
    print_table(HEADER, rows)


@dataclass(frozen=True)
class Looks:
    """A center probe and what it looks at."""

    probe: Probe
    features_of: Callable[[Sequence[np.ndarray]], np.ndarray]


def colours_of(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """float32 `(N, 9)`: mean and standard deviation of optical density a channel, and its three correlations."""
    pixels = [optical_density(tile).reshape(-1, 3) for tile in tiles]
    pairs = np.triu_indices(3, 1)
    return np.array([np.concatenate([p.mean(0), p.std(0), np.corrcoef(p.T)[pairs]]) for p in pixels], dtype=np.float32)


def _generate(
    args: argparse.Namespace, checkpoint: Checkpoint, records: list[MetadataRecord], scale: float
) -> np.ndarray:
    ids = torch.tensor([checkpoint.vocabulary.encode(records[i % len(records)]) for i in range(args.tiles)])
    column = checkpoint.vocabulary.attributes.index("center")
    guidance = [GuidanceTerm((column,), scale)]
    return np.concatenate(
        [
            checkpoint.pipeline(ids[batch], batch.tolist(), args.steps, guidance)
            for batch in torch.arange(args.tiles).split(16)
        ]
    )


def _row(
    name: str,
    center: str,
    probes: Sequence[Looks],
    tiles: Sequence[np.ndarray],
    real: np.ndarray,
    patients: Sequence[str] | None = None,
) -> tuple[object, ...]:
    n, shares = len(tiles), []
    for look in probes:
        hits = (look.probe.predict(look.features_of(tiles)) == center).astype(float)
        low, high = proportion_interval(hits, range(n) if patients is None else patients)
        shares.append(f"{hits.mean():.2f} [{low:.2f}, {high:.2f}]")
    colours = colours_of(tiles)
    distance = "–" if np.array_equal(colours, real) else f"{np.linalg.norm(colours.mean(0) - real.mean(0)):.2f}"
    return name, n, "–" if patients is None else len(set(patients)), *shares, distance


def _tiles_of(rows: pd.DataFrame) -> list[np.ndarray]:
    return [tile for _, tiles in iterate_grid_tiles(rows) for tile in tiles]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--left-out", default="Radboud University Medical Center")
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--num-steps", type=int, default=1500)
    parser.add_argument("--per-center", type=int, default=300)
    parser.add_argument("--tiles", type=int, default=96)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seen", default="Karolinska Institutet")
    parser.add_argument("--guidance", type=float, default=2.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
