"""One training run in a folder: data in, state, EMA checkpoint, sample grids and log out."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from medi_core.checkpoints import read_held_out_patients, save_checkpoint
from medi_core.data.manifest import read_manifest
from medi_core.data.patients import held_out_patients
from medi_core.data.shards import ShardTileDataset, index_shards, measure_some_stains
from medi_core.data.tile_dataset import STAINS, RandomTileDataset, measure_stains, read_image, vocabulary_of
from medi_core.errors import ManifestError
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.pipelines.medi_pipeline import MediPipeline
from medi_core.pipelines.schedulers import build_scheduler
from medi_core.storage import translate_write_errors
from medi_core.training.model_card import model_card
from medi_core.training.run_loop import save_points
from medi_core.training.sample_grid import write_sample_grid
from medi_core.training.train_diffusion import DiffusionTraining, DiffusionTrainingConfig, TrainStep
from medi_core.training.training_state import has_state, load_state, save_state
from medi_core.training.validation import ValidationSet
from medi_core.training.warm_start import warm_start

LOG_COLUMNS = ("step", "minutes", "loss", "validation_loss", "learning_rate", "tiles_per_second")


def load_dataset(
    manifest: pd.DataFrame, split: str, config: DiffusionTrainingConfig, vocabulary: Vocabulary | None = None
) -> RandomTileDataset:
    """Read a split's regions into memory; the vocabulary is built from them unless given.

    Raises:
        ManifestError: the split has no rows, or an image cannot be used.
    """
    rows = manifest[manifest["split"].fillna("train") == split]
    if rows.empty:
        raise ManifestError(f"the manifest has no row with split '{split}'")
    regions = {path: read_image(path) for path in rows["path"].unique()}
    if vocabulary is None:
        vocabulary = _vocabulary(measure_stains(rows, regions, config.side_px), config)
    return RandomTileDataset(rows, regions, vocabulary, config.sampling, config.side_px)


def open_shards(
    folder: Path, index: pd.DataFrame, split: str, config: DiffusionTrainingConfig, vocabulary: Vocabulary | None = None
) -> ShardTileDataset:
    """As `load_dataset`, but the images stay in the tars of a folder, and stains are measured on a sample.

    Raises:
        ManifestError: the split has no tile, or an image of the sample cannot be used.
    """
    rows = index[index["split"].astype(object).fillna("train") == split]
    if rows.empty:
        raise ManifestError(f"the shards have no tile with split '{split}'")
    if vocabulary is None:
        needs_stains = set(STAINS) & set(config.attributes)
        measured = measure_some_stains(folder, rows, config.side_px) if needs_stains else rows
        vocabulary = _vocabulary(measured, config)
    return ShardTileDataset(folder, rows, vocabulary, config.sampling, config.side_px)


def _vocabulary(rows: pd.DataFrame, config: DiffusionTrainingConfig) -> Vocabulary:
    vocabulary = vocabulary_of(rows, config.attributes)
    if empty := [name for name, values in vocabulary.values.items() if not values or values == ("1",)]:
        raise ManifestError(
            f"no two training rows differ in {', '.join(empty)}: leave it out of the attributes or fill the column"
        )
    return vocabulary


def run_training(
    manifest_path: Path,
    out: Path,
    config: DiffusionTrainingConfig,
    minutes: float | None = None,
    save_every_minutes: float = 5.0,
    compile_model: bool = False,
    num_workers: int = 0,
    mixed_precision: str = "bf16",
    initial_checkpoint: Path | None = None,
    on_step: Callable[[TrainStep], None] = lambda _: None,
) -> int:
    """Train, resuming from `out` if there is anything to resume; returns the step reached.

    Stops at `config.num_steps`, after `minutes` of wall-clock time, or on SIGTERM; saves in each case.

    Args:
        manifest_path: a manifest, or a folder of WebDataset tars, whose images are read as they are needed.
        initial_checkpoint: a checkpoint folder whose weights to start from where there is nothing to resume.
        on_step: called after each step, in the main process only.

    Raises:
        CheckpointError: `out` holds a training that was started with other settings, or the initial checkpoint
            does not fit the configuration and the manifest.
        ManifestError: the manifest or an image in it cannot be used.
        StorageError: the disk is full; what was saved before is still there.
    """
    with translate_write_errors(str(out)):  # before the work, not at the first save
        out.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(mixed_precision=mixed_precision)
    is_sharded = manifest_path.is_dir()
    manifest = index_shards(manifest_path) if is_sharded else read_manifest(manifest_path)
    load = partial(open_shards, manifest_path) if is_sharded else load_dataset
    dataset = load(manifest, "train", config)
    validation = None
    if (manifest["split"] == "val").any():
        validation = ValidationSet.build(load(manifest, "val", config, dataset.vocabulary), config)
    training = DiffusionTraining(config, dataset, accelerator, compile_model, num_workers)
    spent, before = 0.0, None
    if has_state(out / "state"):
        spent, before = load_state(training, out / "state"), out / "checkpoint"
    elif initial_checkpoint is not None:
        spent, before = warm_start(training, initial_checkpoint), initial_checkpoint
    if is_sharded:  # from here on plain text, and each tile an image of its own
        manifest = manifest.astype(dict.fromkeys(("split", "patient_id", "slide", "dataset", "licence"), object))
        manifest["path"] = manifest.index
    facts = {
        "data": summarize_data(manifest[manifest["split"].fillna("train") == "train"]),
        "held_out_patients": _still_held_out(manifest, before),
    }
    is_main = accelerator.is_main_process
    for due in save_points(
        training.steps(),
        config.num_steps,
        minutes,
        save_every_minutes,
        on_step if is_main else lambda _: None,
        lambda flag: any_process(accelerator, flag),
    ):
        if is_main:
            last, loss = due.steps[-1], float(np.mean([step.loss for step in due.steps]))
            rate = len(due.steps) * config.global_batch / due.seconds
            interval = TrainStep(last.step, loss, last.learning_rate, rate)
            _save(training, out, spent + due.minutes, interval, validation, facts)
    accelerator.end_training()
    return training.step


def _still_held_out(manifest: pd.DataFrame, before: Path | None) -> dict[str, list[str]] | None:
    """Patients whom this manifest holds out, and whom the weights that a training goes on from had not seen either.

    Args:
        before: folder of the checkpoint that it goes on from; where that declares nobody, nobody is known to be.
    """
    now = held_out_patients(manifest)
    if before is None:
        return now
    known = read_held_out_patients(before)
    if known is None:
        return None
    return {split: [patient for patient in patients if patient in known] for split, patients in now.items()}


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether it is true in any process: all must stop at the same step, or the rest would wait for ever."""
    return accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), reduction="sum").item() > 0


def _save(
    training: DiffusionTraining,
    out: Path,
    minutes: float,
    interval: TrainStep,
    validation: ValidationSet | None,
    facts: dict[str, Any],
) -> None:
    """State first: it is what must not be lost. Then what the EMA weights are worth.

    Args:
        interval: the step reached; loss and throughput as means since the last save.
    """
    save_state(training, out / "state", minutes)
    with ema_weights(training):
        validation_loss = validation.loss(training) if validation else float("nan")
        pipeline = build_pipeline(training)
        record = training.config.to_dict() | facts | _facts(training, minutes)
        card = model_card(out.name, training.dataset.vocabulary, record, pipeline.denoiser.num_parameters())
        save_checkpoint(pipeline, out / "checkpoint", record, card)
        write_sample_grid(pipeline, out / "samples" / f"step-{interval.step:07d}.png", training.config.side_px)
    row = (interval.step, minutes, interval.loss, validation_loss, interval.learning_rate, interval.tiles_per_second)
    append_log(out / "log.csv", LOG_COLUMNS, row)


def _facts(training: DiffusionTraining, minutes: float) -> dict[str, Any]:
    """What the model card says of the run besides its configuration."""
    device, processes = training.accelerator.device, training.accelerator.num_processes
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    return {
        "step": training.step,
        "tiles_seen": training.tiles_seen,
        "minutes": minutes,
        "initial_checkpoint": training.initial_checkpoint,
        "hardware": name if processes == 1 else f"{processes} × {name}",
    }


def summarize_data(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Data set → regions, tiles, patients and licence of the training rows."""
    return {
        str(name): {
            "regions": part["path"].nunique(),
            "tiles": len(part),
            "patients": part["patient_id"].nunique(),
            "licence": "; ".join(sorted(part["licence"].dropna().unique())) or "not stated",
        }
        for name, part in rows.groupby(rows["dataset"].fillna("unnamed"))
    }


def append_log(path: Path, columns: Sequence[str], row: Sequence[float]) -> None:
    """A line of a CSV file, which begins with its columns; a file of other columns is kept as `.old.csv`."""
    with translate_write_errors(str(path)):
        if path.exists() and path.read_text().partition("\n")[0].strip() != ",".join(columns):
            path.rename(path.with_suffix(".old.csv"))  # of before there were these columns
        is_new = not path.exists()
        with open(path, "a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(columns)
            writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in row)


@contextmanager
def ema_weights(training: DiffusionTraining) -> Iterator[None]:
    """The model holds the EMA weights, and is in evaluation mode, inside this block."""
    parameters = list(training.model.parameters())
    training.ema.store(parameters)
    training.ema.copy_to(parameters)
    training.model.eval()
    try:
        yield
    finally:
        training.ema.restore(parameters)
        training.model.train()


def build_pipeline(training: DiffusionTraining) -> MediPipeline:
    """A pipeline around the model's present weights (shared, not copied)."""
    pipeline = MediPipeline(training.model.denoiser, training.model.embedder, build_scheduler("euler"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
