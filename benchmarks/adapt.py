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

A small network (8-px patches) is trained on the training patients of every other center, then adapted to the one left
out. Tiles are asked for with the cancer types at that center: before, when it can only be asked for as "unknown", and
after; from the same seeds. A center probe (logistic regression on frozen features) is fitted on real training tiles of
all centers; on real test tiles of the left-out center it gives the ceiling. KID × 1000, unbiased, is to those real test
tiles. Hematoxylin and eosin are medians over tiles.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.tables import log, print_table
from medi_core.checkpoints import load_checkpoint
from medi_core.data.grid_tiles import iterate_grid_tiles
from medi_core.data.manifest import read_manifest, write_manifest
from medi_core.metadata.schema import MetadataRecord
from medi_core.metrics.intervals import wilson_interval
from medi_core.metrics.kernel import kernel_distance
from medi_core.metrics.probes import Probe, fit_probe
from medi_core.services.encoding import EncodingService
from medi_core.stain.separation import stain_strengths
from medi_core.training.adapt import AdaptationConfig
from medi_core.training.adaptation_run import run_adaptation
from medi_core.training.run import run_training
from medi_core.training.train_diffusion import DiffusionTrainingConfig

HEADER = ("tiles", "n", "center probe names it", "KID to its real test tiles", "hematoxylin", "eosin")


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
    adapted = args.work / "adapted"
    run_adaptation(
        args.work / "new.csv",
        str(args.work / "training" / "checkpoint"),
        args.work,
        adapted,
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
    center = args.left_out
    encoding = EncodingService(cache_dir=args.work / "features")
    train = manifest[(manifest["split"] == "train") & manifest["center"].notna()]
    # as many tiles of each other center at most, or the probe would rarely name the one left out
    train = train.sample(frac=1, random_state=0).groupby("center").head(args.per_center)
    train, features = encoding.features_of_rows(train)
    probe = fit_probe(features, list(train["center"]), list(train["patient_id"]))
    test, real = encoding.features_of_rows(manifest[(manifest["split"] == "test") & (manifest["center"] == center)])
    rows = [
        _row("real, its test patients", probe, center, real, real, _tiles_of(test)),
        _row(
            "real, its training patients",
            *(probe, center, features[(train["center"] == center).to_numpy()], real),
            _tiles_of(train[train["center"] == center]),
        ),
    ]
    types = sorted(manifest.loc[manifest["center"] == center, "cancer_type"].unique())
    for folder, asked in (("training/checkpoint", None), ("adapted", center)):
        checkpoint = load_checkpoint(str(args.work / folder), args.work, torch.device("cpu"), torch.float32)
        records = [MetadataRecord(cancer_type=types[i % len(types)], center=asked) for i in range(args.tiles)]
        ids = torch.tensor([checkpoint.vocabulary.encode(record) for record in records])
        batches = torch.arange(args.tiles).split(16)
        tiles = np.concatenate([checkpoint.pipeline(ids[b], b.tolist(), args.steps) for b in batches])
        name = f"synthetic, center {'adapted' if asked else 'unknown'}"
        rows.append(_row(name, probe, center, encoding.features_of(list(tiles)), real, tiles))
        log(str(rows[-1]))
    print_table(HEADER, rows)


def _row(name: str, probe: Probe, center: str, features: np.ndarray, real: np.ndarray, tiles: Sequence[np.ndarray]):
    named, n = int((probe.predict(features) == center).sum()), len(features)
    low, high = wilson_interval(named, n)
    distance = "–" if features is real else f"{1000 * kernel_distance(features, real):.0f}"
    stains = np.nanmedian([stain_strengths(tile) for tile in tiles], axis=0)
    return name, n, f"{named / n:.2f} [{low:.2f}, {high:.2f}]", distance, *(f"{stain:.2f}" for stain in stains)


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
    return parser.parse_args()


if __name__ == "__main__":
    main()
