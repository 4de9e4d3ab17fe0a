"""One adaptation from files to a checkpoint: what `python -m medi_core adapt` does."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from medi_core.checkpoints import (
    Checkpoint,
    load_checkpoint,
    read_held_out_patients,
    require_replaceable,
    save_checkpoint,
)
from medi_core.data.manifest import read_manifest
from medi_core.data.patients import patients_of
from medi_core.errors import CheckpointError, InvalidRequestError
from medi_core.storage import translate_write_errors
from medi_core.training.adapt import Adaptation, AdaptationConfig, AdaptationStep
from medi_core.training.model_card import model_card
from medi_core.training.run import build_pipeline, ema_weights, summarize_data
from medi_core.training.run_loop import stop_on_sigterm


def run_adaptation(
    manifest_path: Path,
    checkpoint_name: str,
    root: Path,
    out: Path,
    config: AdaptationConfig,
    minutes: float | None = None,
    mixed_precision: str = "bf16",
    on_report: Callable[[AdaptationStep], None] = lambda _: None,
) -> dict[str, Any]:
    """Adapt, keeping at `out` the checkpoint of the lowest validation loss so far; stops early on SIGTERM or Ctrl-C.

    Args:
        checkpoint_name: as `load_checkpoint` takes it.
        root: folder of checkpoints.
        minutes: of wall-clock time at most.

    Returns:
        Plain JSON: what the checkpoint's `training_config.json` records under `adaptation`.

    Raises:
        CheckpointError: the checkpoint cannot be used, or no step lowered the validation loss: nothing is written then.
        ManifestError, UnknownValueError: as `Adaptation`.
        InvalidRequestError: `out` is the checkpoint itself.
        StorageError: `out` holds something else than a checkpoint, or e.g. the disk is full; the best checkpoint so far
            is as it was.
    """
    manifest = read_manifest(manifest_path)  # what costs little comes before the checkpoint, which takes seconds
    require_replaceable(out)
    checkpoint = load_checkpoint(checkpoint_name, root, torch.device("cpu"), torch.float32)
    if out.resolve() == checkpoint.folder.resolve():
        raise InvalidRequestError(f"{out} is the checkpoint to adapt: choose another folder, so that both can be used")
    with translate_write_errors(str(out)):  # before the work, not at the first save
        out.parent.mkdir(parents=True, exist_ok=True)
    adaptation = Adaptation(checkpoint, manifest, config, mixed_precision)
    started, record, losses = time.monotonic(), None, []
    with stop_on_sigterm() as is_stopped:
        for report in adaptation.steps():
            losses.append(report.validation_loss)
            on_report(report)
            spent = (time.monotonic() - started) / 60
            if report.is_best and report.step:
                record = _record(adaptation, report, losses[0], spent)
                _save(adaptation, record, out)
            if is_stopped() or (minutes is not None and spent >= minutes):
                break
    if record is None:
        lowest = min(losses[1:], default=float("nan"))
        raise CheckpointError(
            f"nothing was written: {adaptation.training.step} steps did not lower the validation loss "
            f"({losses[0]:.4f}, lowest after a step {lowest:.4f}); give more steps, another --learning-rate, or more "
            "tiles"
        )
    return record


def _record(adaptation: Adaptation, report: AdaptationStep, loss_before: float, minutes: float) -> dict[str, Any]:
    """What the checkpoint says of its adaptation, plain JSON."""
    before, tiles = adaptation.checkpoint.vocabulary.values, adaptation.tiles
    return {
        "from": adaptation.checkpoint.id,
        "new_values": {
            name: [value for value in values if value not in before[name]]
            for name, values in adaptation.vocabulary.values.items()
            if len(values) > len(before[name])
        },
        "data": summarize_data(tiles.train),
        "validation": {
            "divided_by": tiles.divided_by,
            "patients": int(patients_of(tiles.validation).nunique()),
            "loss_before": loss_before,
            "loss": report.validation_loss,
        },
        "step": report.step,
        "tiles_seen": adaptation.training.tiles_seen,
        "minutes": minutes,
        "configuration": asdict(adaptation.config),
    }


def _save(adaptation: Adaptation, record: dict[str, Any], out: Path) -> None:
    checkpoint = adaptation.checkpoint
    whole = checkpoint.training_config | {
        "adaptation": record,
        "held_out_patients": _still_held_out(checkpoint, adaptation.tiles.train),
    }
    with ema_weights(adaptation.training):
        pipeline = build_pipeline(adaptation.training)
        pipeline.scheduler = checkpoint.pipeline.scheduler
        card = model_card(out.name, adaptation.vocabulary, whole, pipeline.denoiser.num_parameters())
        save_checkpoint(pipeline, out, whole, card)


def _still_held_out(checkpoint: Checkpoint, train: pd.DataFrame) -> dict[str, list[str]] | None:
    """The patients that the checkpoint declares, less those whom the new rows were learned from."""
    if read_held_out_patients(checkpoint.folder) is None:
        return None
    learned = set(patients_of(train).astype(str))
    declared = checkpoint.training_config["held_out_patients"]
    return {split: [name for name in patients if name not in learned] for split, patients in declared.items()}
