"""Commands around the tile classifier: train one, and let it judge the tiles of a manifest."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from medi_core.commands.parsing import add_command, progress
from medi_core.errors import InvalidRequestError
from medi_core.settings import Settings

# Heavy imports stand inside the commands that need them: `--help` answers at once.


def add_classifier_commands(commands) -> None:
    """train-classifier, classify."""
    summary = "fine-tune a classifier of cancer type, calibrate and measure it"
    command = add_command(commands, "train-classifier", train_classifier, summary)
    command.add_argument("--manifest", type=Path, required=True, help="tiles of the splits train, val and test")
    command.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    command.add_argument("--minutes", type=float, help="stop fine-tuning after so much wall-clock time")
    command.add_argument("--num-steps", type=int, help="0 = the linear start alone (default: 1000)")
    command.add_argument("--global-batch", type=int, help="tiles a step over all processes (default: 32)")
    command.add_argument("--learning-rate", type=float)
    command.add_argument("--validate-every", type=int, help="steps (default: 100)")
    command.add_argument("--frozen-stages", type=int, help="of the backbone, from the first on (default: 3)")
    command.add_argument("--backbone", help="timm's name of a network with stages (default: tf_efficientnet_lite0)")
    command.add_argument("--temperature", type=float, help="of the draws: 0 = classes and centers alike (default: 0.5)")
    command.add_argument("--stain-jitter", type=float, help="stains are scaled by 1 ± this (default: 0.3)")
    command.add_argument("--seed", type=int)

    command = add_command(commands, "classify", classify, "predictions for the tiles of a manifest, as a table")
    command.add_argument("--manifest", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True, help=".parquet or .csv; `evaluate --predictions` reads it")
    command.add_argument("--classifier", type=Path, help="folder of the checkpoint (default: the shipped one)")
    command.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps")


def train_classifier(flags: argparse.Namespace) -> dict[str, Any]:
    """Train, and answer what the checkpoint is worth."""
    from medi_core.classifier_checkpoint import load_classifier
    from medi_core.training.classifier_run import run_classifier_training

    def on_step(step) -> None:
        if step.step % 20 == 0 and not flags.json:
            print(f"step {step.step}  loss {step.loss:.3f}  {step.tiles_per_second:.1f} tiles/s", flush=True)

    def on_validation(row) -> None:
        if not flags.json:
            accuracy = f"balanced accuracy {row['balanced_accuracy']:.3f}"
            print(f"step {row['step']}  validation: loss {row['nll']:.3f}  {accuracy}", flush=True)

    out = run_classifier_training(
        flags.manifest,
        flags.out,
        training_config(flags),
        Settings.from_environment().cache_dir / "features",
        flags.minutes,
        shlex.join(["python", "-m", "medi_core", *sys.argv[1:]]),
        on_step,
        on_validation,
    )
    checkpoint = load_classifier(out)
    overall = {split: facts["overall"] for split, facts in checkpoint.measured.items()}
    return {"checkpoint": str(out), "classifier": checkpoint.id, **overall}


def training_config(flags: argparse.Namespace):
    """Flags that were given, over the defaults."""
    from medi_core.data.balanced_tiles import AugmentationConfig
    from medi_core.training.train_classifier import ClassifierTrainingConfig

    given = {name: value for name, value in vars(flags).items() if value is not None}
    augmentation = {name: given[name] for name in ("temperature", "stain_jitter") if name in given}
    settings = {name: given[name] for name in ClassifierTrainingConfig.__dataclass_fields__ if name in given}
    return ClassifierTrainingConfig(**settings, augmentation=AugmentationConfig(**augmentation))


def classify(flags: argparse.Namespace) -> dict[str, Any]:
    """Write the predictions; answers how many tiles, and how many could not be judged."""
    from medi_core.data.manifest import read_manifest
    from medi_core.device import choose_device
    from medi_core.services.classification import ClassificationService
    from medi_core.services.manifest_predictions import predict_manifest, write_predictions

    if flags.out.suffix not in (".csv", ".parquet"):
        raise InvalidRequestError(f"--out {flags.out}: it must end in .csv or .parquet")
    settings = Settings.from_environment()
    service = ClassificationService(
        flags.classifier or settings.classifier_dir, str(choose_device(flags.device or settings.device))
    )
    manifest = read_manifest(flags.manifest)
    predictions = predict_manifest(service, manifest, progress(flags, "Tiles"))
    write_predictions(predictions, flags.out)
    right = predictions["true"] == predictions["predicted"]
    return {
        "predictions": str(flags.out),
        "classifier": service.model_id,
        "tiles": len(predictions),
        "left_out": len(manifest) - len(predictions),
        "right": int(right.sum()),
    }
