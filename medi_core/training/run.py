"""One training run in a folder: data in, state, EMA checkpoint, sample grids and log out."""

import csv
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from PIL import Image

from medi_core.checkpoints import save_checkpoint
from medi_core.data.manifest import read_manifest
from medi_core.data.tile_dataset import RandomTileDataset, measure_stains, read_image, vocabulary_of
from medi_core.errors import ManifestError
from medi_core.pipelines.medi_pipeline import MediPipeline
from medi_core.training.train_diffusion import DiffusionTraining, DiffusionTrainingConfig, TrainStep
from medi_core.training.training_state import load_state, save_state
from medi_core.training.validation import ValidationSet

LOG_COLUMNS = ("step", "minutes", "loss", "validation_loss", "learning_rate", "tiles_per_second")


def load_dataset(manifest: pd.DataFrame, split: str, config: DiffusionTrainingConfig, vocabulary=None):
    """Read a split's regions into memory; the vocabulary is built from them unless given."""
    rows = manifest[manifest["split"].fillna("train") == split]
    if rows.empty:
        raise ManifestError(f"the manifest has no row with split '{split}'")
    regions = {path: read_image(path) for path in rows["path"].unique()}
    if vocabulary is None:
        vocabulary = vocabulary_of(measure_stains(rows, regions), config.attributes)
    return RandomTileDataset(rows, regions, vocabulary, config.sampling, config.side_px)


def run_training(
    manifest_path: Path,
    out: Path,
    config: DiffusionTrainingConfig,
    minutes: float | None = None,
    save_every_minutes: float = 5.0,
    compile_model: bool = False,
    num_workers: int = 0,
    mixed_precision: str = "bf16",
    on_step: Callable[[TrainStep], None] = lambda step: None,
) -> int:
    """Train, resuming from `out` if there is anything to resume; returns the step reached.

    Stops at `config.num_steps`, after `minutes` of wall-clock time, or on SIGTERM; saves in each case.
    """
    accelerator = Accelerator(mixed_precision=mixed_precision)
    manifest = read_manifest(manifest_path)
    dataset = load_dataset(manifest, "train", config)
    validation = None
    if (manifest["split"] == "val").any():
        validation = ValidationSet.build(load_dataset(manifest, "val", config, dataset.vocabulary), config)
    training = DiffusionTraining(config, dataset, accelerator, compile_model, num_workers)
    spent = load_state(training, out / "state") if _has_state(out) else 0.0
    started = last_save = time.monotonic()

    with stop_on_sigterm() as is_stopped:
        losses: list[float] = []
        for step in training.steps():
            on_step(step)
            losses.append(step.loss)
            now = time.monotonic()
            is_last = is_stopped() or step.step >= config.num_steps or (minutes and now - started >= 60 * minutes)
            if is_last or now - last_save >= 60 * save_every_minutes:
                last_save = now
                if accelerator.is_main_process:
                    total = spent + (now - started) / 60
                    _save(training, out, total, step, float(np.mean(losses)), validation)
                losses = []
            if is_last:
                break
    return training.step


def _has_state(out: Path) -> bool:
    return (out / "state").exists() or (out / "state.old").exists()


def _save(training, out: Path, minutes: float, step: TrainStep, loss: float, validation) -> None:
    save_state(training, out / "state", minutes)
    with training_ema(training):
        validation_loss = validation.loss(training) if validation else float("nan")
        pipeline = build_pipeline(training)
        save_checkpoint(
            pipeline, out / "checkpoint", training.config.to_dict() | {"step": step.step, "minutes": minutes}
        )
        write_sample_grid(pipeline, out / "samples" / f"step-{step.step:07d}.png")
        training.model.train()
    log_path = out / "log.csv"
    is_new = not log_path.exists()
    with open(log_path, "a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(LOG_COLUMNS)
        row = (step.step, minutes, loss, validation_loss, step.learning_rate, step.tiles_per_second)
        writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in row)


@contextmanager
def training_ema(training: DiffusionTraining) -> Iterator[None]:
    """The model holds the EMA weights inside this block."""
    parameters = list(training.model.parameters())
    training.ema.store(parameters)
    training.ema.copy_to(parameters)
    training.model.eval()
    try:
        yield
    finally:
        training.ema.restore(parameters)


def build_pipeline(training: DiffusionTraining) -> MediPipeline:
    """A pipeline around the model's present weights (shared, not copied)."""
    from medi_core.pipelines.schedulers import build_scheduler

    return MediPipeline(training.model.denoiser, training.model.embedder, build_scheduler("euler"))


def write_sample_grid(pipeline: MediPipeline, path: Path, columns: int = 8, rows: int = 4) -> None:
    """Rows: the (cancer type, center) pairs with most tiles; columns: seeds 0, 1, 2 …"""
    from medi_core.metadata.schema import MetadataRecord
    from medi_core.metadata.vocabulary import PAIR_SEPARATOR

    vocabulary = pipeline.metadata_embedder.vocabulary
    pairs = sorted(vocabulary.pair_support, key=lambda k: -vocabulary.pair_support[k].num_patients)[:rows]
    records = [
        MetadataRecord(**dict(zip(("cancer_type", "center"), p.split(PAIR_SEPARATOR), strict=True))) for p in pairs
    ]
    ids = [vocabulary.encode(record) for record in records for _ in range(columns)]
    side = 128
    with torch.autocast(pipeline.device.type, torch.bfloat16):
        tiles = pipeline(torch.tensor(ids), list(range(columns)) * len(records), num_inference_steps=20)
    grid = tiles.reshape(len(records), columns, side, side, 3).swapaxes(1, 2).reshape(-1, columns * side, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).save(path)


@contextmanager
def stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM and Ctrl-C into a flag, so that the step under way is finished and saved."""
    received: list[int] = []
    previous = {s: signal.signal(s, lambda number, _: received.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
