"""One training of a tile classifier: manifest in, checkpoint with what it is worth on held-out patients out."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from accelerate import Accelerator

from medi_core.classifier_checkpoint import load_classifier, save_classifier
from medi_core.data.balanced_tiles import BalancedTileDataset, balanced_probabilities, read_tiles
from medi_core.data.manifest import HELD_OUT_SPLITS, read_manifest
from medi_core.data.patients import held_out_patients
from medi_core.errors import ManifestError
from medi_core.models.tile_classifier import TileClassifier, build_pretrained
from medi_core.storage import translate_write_errors
from medi_core.training.calibration import fit_temperature, negative_log_likelihood
from medi_core.training.classifier_card import classifier_card
from medi_core.training.classifier_measure import measure_classifier
from medi_core.training.linear_start import fit_head, pretrained_features
from medi_core.training.run import any_process, summarize_data
from medi_core.training.run_loop import stop_on_sigterm
from medi_core.training.train_classifier import ClassifierTraining, ClassifierTrainingConfig
from medi_core.training.train_diffusion import TrainStep


@dataclass(frozen=True)
class LabelledTiles:
    """The tiles of a split whose class is known."""

    rows: pd.DataFrame
    """Of the manifest."""
    tiles: np.ndarray = field(repr=False)
    """uint8 `(N, 128, 128, 3)`."""
    labels: np.ndarray
    """int64 `(N,)`, place of the class."""


def run_classifier_training(
    manifest_path: Path,
    out: Path,
    config: ClassifierTrainingConfig,
    cache_dir: Path | None = None,
    minutes: float | None = None,
    command: str = "",
    on_step: Callable[[TrainStep], None] = lambda _: None,
    on_validation: Callable[[dict[str, float | None]], None] = lambda _: None,
) -> Path:
    """Linear start, fine-tuning, calibration; returns the checkpoint's folder.

    The weights kept are those with the lowest calibrated loss on the validation patients, which are looked at every
    `config.validate_every` steps. Stops at `config.num_steps`, after `minutes` of fine-tuning, or on SIGTERM.

    Args:
        out: of the checkpoint; written at every improvement.
        cache_dir: of features, for the linear start.
        command: for the record.
        on_step, on_validation: called in the main process only.

    Raises:
        ManifestError: the manifest has no training or no validation rows with a class, fewer than 2 classes, or an
            image that cannot be used.
        CheckpointError: the backbone is not to be had.
        StorageError: the disk is full; what was saved before is still there.
    """
    with translate_write_errors(str(out)):  # before the work, not at the first save
        out.parent.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(mixed_precision="no")
    manifest = read_manifest(manifest_path)
    train, validation = load_split(manifest, "train"), load_split(manifest, "val")
    classifier = build_pretrained(class_names(manifest), config.backbone)
    training = _start(classifier, train, config, accelerator, cache_dir)
    record = config.to_dict() | _facts(manifest, command)
    history: list[dict[str, float | None]] = []

    def validate(loss: float | None) -> None:
        history.append(_validate(training, validation, loss))
        if history[-1]["nll"] <= min(row["nll"] for row in history) and accelerator.is_main_process:
            best = {"history": history, "step": training.step, "tiles_seen": training.step * config.global_batch}
            _save_calibrated(training, history[-1]["temperature"], out, record | best)
        if accelerator.is_main_process:
            on_validation(history[-1])

    validate(None)
    _fine_tune(training, validate, minutes, on_step)
    if accelerator.is_main_process:
        measure_checkpoint(out, manifest, {"history": history})
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return out


def measure_checkpoint(folder: Path, manifest: pd.DataFrame, record: Mapping[str, Any]) -> None:
    """Measure a checkpoint, as it can be read, on the held-out patients; write its measures and its card.

    Args:
        record: for `training.json`, on top of what is in it.

    Raises:
        CheckpointError, ManifestError, StorageError: as `run_classifier_training`.
    """
    checkpoint = load_classifier(folder)
    classifier, measured = checkpoint.classifier, {}
    for split in HELD_OUT_SPLITS:
        if not _known_rows(manifest, split).empty:
            part = load_split(manifest, split)
            measured[split] = measure_classifier(classifier, part.rows, classifier.logits(part.tiles))
    training = {**checkpoint.training, **record}
    num_parameters = sum(parameter.numel() for parameter in classifier.parameters())
    card = classifier_card(folder.name, classifier.config, training, measured, num_parameters)
    save_classifier(classifier, folder, training, measured, card)


def class_names(manifest: pd.DataFrame) -> tuple[str, ...]:
    """The cancer types with training tiles, sorted.

    Raises:
        ManifestError: fewer than 2.
    """
    names = sorted(_rows_of(manifest, "train")["cancer_type"].unique())
    if len(names) < 2:
        raise ManifestError(f"a classifier needs training tiles of at least 2 cancer types; given {names or 'none'}")
    return tuple(names)


def load_split(manifest: pd.DataFrame, split: str) -> LabelledTiles:
    """Read the tiles of a split whose class occurs in training.

    Raises:
        ManifestError: there are none, or an image cannot be used.
    """
    names, rows = class_names(manifest), _known_rows(manifest, split)
    if rows.empty:
        raise ManifestError(
            f"the manifest has no row with split '{split}' and a cancer type that is trained on; "
            "draw splits by patient: python -m medi_core data split"
        )
    labels = np.array([names.index(label) for label in rows["cancer_type"]], dtype=np.int64)
    return LabelledTiles(rows, read_tiles(rows), labels)


def _known_rows(manifest: pd.DataFrame, split: str) -> pd.DataFrame:
    """Rows of a split with a cancer type that is trained on."""
    rows = _rows_of(manifest, split)
    return rows[rows["cancer_type"].isin(class_names(manifest))]


def _rows_of(manifest: pd.DataFrame, split: str) -> pd.DataFrame:
    """Rows of a split with a cancer type; a row without a split is a training row."""
    return manifest[(manifest["split"].fillna("train") == split) & manifest["cancer_type"].notna()]


def _start(
    classifier: TileClassifier,
    train: LabelledTiles,
    config: ClassifierTrainingConfig,
    accelerator: Accelerator,
    cache_dir: Path | None,
) -> ClassifierTraining:
    """The linear start, ready to be fine-tuned."""
    augmentation = replace(config.augmentation, seed=config.seed)
    probabilities = balanced_probabilities(train.rows["cancer_type"], train.rows["center"], augmentation.temperature)
    features = pretrained_features(classifier, train.tiles, cache_dir)
    fit_head(classifier, features, train.labels, probabilities, config.inverse_penalty)
    dataset = BalancedTileDataset(train.tiles, train.labels, probabilities, augmentation)
    return ClassifierTraining(config, classifier, dataset, accelerator)


def _fine_tune(
    training: ClassifierTraining,
    validate: Callable[[float | None], None],
    minutes: float | None,
    on_step: Callable[[TrainStep], None],
) -> None:
    started, losses = time.monotonic(), []
    with stop_on_sigterm() as is_stopped:
        for step in training.steps() if training.config.num_steps else ():
            losses.append(step.loss)
            if training.accelerator.is_main_process:
                on_step(step)
            is_over = is_stopped() or (minutes is not None and time.monotonic() - started >= 60 * minutes)
            is_last = step.step >= training.config.num_steps or any_process(training.accelerator, is_over)
            if is_last or step.step % training.config.validate_every == 0:
                validate(float(np.mean(losses)))
                losses = []
            if is_last:
                break


def _validate(training: ClassifierTraining, validation: LabelledTiles, loss: float | None) -> dict[str, float | None]:
    """One row of the history: how the present weights do on the validation patients, calibrated on them."""
    logits = training.classifier.logits(validation.tiles)
    temperature = fit_temperature(logits, validation.labels)
    hits = pd.Series(logits.argmax(axis=1) == validation.labels)
    return {
        "step": training.step,
        "training_loss": loss,
        "nll": negative_log_likelihood(logits / temperature, validation.labels),
        "balanced_accuracy": float(hits.groupby(validation.labels).mean().mean()),
        "temperature": temperature,
    }


def _save_calibrated(training: ClassifierTraining, temperature: float, out: Path, record: dict[str, Any]) -> None:
    classifier, is_trained = training.classifier, training.step > 0
    classifier.config = replace(classifier.config, temperature=temperature, is_backbone_trained=is_trained)
    save_classifier(classifier, out, record)
    load_classifier(out)  # what was written can be read


def _facts(manifest: pd.DataFrame, command: str) -> dict[str, Any]:
    """What the record says besides the settings: the command, the data and whom it must not be blamed for."""
    return {
        "command": command,
        "data": summarize_data(_rows_of(manifest, "train")),
        "held_out_patients": held_out_patients(manifest),
    }
