"""One distillation in a folder: what `python -m medi_core distill` does."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from medi_core.checkpoints import load_checkpoint, save_checkpoint
from medi_core.data.manifest import read_manifest
from medi_core.errors import CheckpointError
from medi_core.storage import translate_write_errors
from medi_core.training.distill import Distillation, DistillationConfig, DistillationStep, student_config
from medi_core.training.model_card import model_card
from medi_core.training.run import append_log, build_pipeline, ema_weights, load_dataset
from medi_core.training.run_loop import save_points
from medi_core.training.sample_grid import write_sample_grid
from medi_core.training.training_state import has_state, load_state, load_tensors, save_state
from medi_core.training.warm_start import vocabulary_difference

LOG_COLUMNS = (
    "step",
    "minutes",
    "discriminator_loss",
    "mismatch_loss",
    "adversarial_loss",
    "variety_loss",
    "anchor_loss",
)

ADVERSARY = "adversary"
"""Kind of the discriminator's tensors in a state."""


def run_distillation(
    manifest_path: Path,
    checkpoint_name: str,
    root: Path,
    out: Path,
    config: DistillationConfig,
    minutes: float | None = None,
    save_every_minutes: float = 5.0,
    compile_model: bool = False,
    num_workers: int = 0,
    mixed_precision: str = "bf16",
    on_step: Callable[[DistillationStep], None] = lambda _: None,
) -> int:
    """Distil, resuming from `out` if there is anything to resume; returns the step reached.

    Stops at `config.num_steps`, after `minutes` of wall-clock time, or on SIGTERM; saves in each case. `out` then holds
    `checkpoint/` (what is shipped), `state/` (to resume from), `log.csv` and `samples/`.

    Args:
        checkpoint_name: of the teacher, as `load_checkpoint` takes it; of a student, which is then trained on: its
            teacher is kept, steps, tiles and minutes are counted on, the discriminator begins anew.
        root: folder of checkpoints.

    Raises:
        CheckpointError: the checkpoint cannot be used with this manifest, or `out` holds a training of another kind.
        ManifestError: the manifest or an image in it cannot be used.
        StorageError: the disk is full; what was saved before is still there.
    """
    manifest = read_manifest(manifest_path)  # before the checkpoint, which takes seconds
    with translate_write_errors(str(out)):  # before the work, not at the first save
        out.mkdir(parents=True, exist_ok=True)
    initial = load_checkpoint(checkpoint_name, root, torch.device("cpu"), torch.float32)
    settings = student_config(initial, config)
    dataset = load_dataset(manifest, "train", settings)
    if difference := vocabulary_difference(initial.vocabulary, dataset.vocabulary):
        raise CheckpointError(
            f"{initial.id} cannot be distilled with this manifest: {difference}; give the one it was trained with"
        )
    distillation = Distillation(initial, dataset, config, mixed_precision, num_workers, compile_model)
    is_begun = has_state(out / "state")
    spent = _resume(distillation, out / "state") if is_begun else distillation.previous.get("minutes", 0.0)
    for due in save_points(distillation.steps(), config.num_steps, minutes, save_every_minutes, on_step):
        _save(distillation, out, spent + due.minutes, due.steps)
    return distillation.training.step


def _resume(distillation: Distillation, folder: Path) -> float:
    minutes = load_state(distillation.training, folder, (ADVERSARY,))
    now, before = distillation.initial.id, distillation.training.initial_checkpoint
    if before not in (now, None):  # absent in states of before it was noted
        raise CheckpointError(f"{folder} is of a student of {before}, not of {now}; give that or another folder")
    distillation.training.initial_checkpoint = now
    distillation.load_adversary(load_tensors(folder, ADVERSARY))
    return minutes


def _save(distillation: Distillation, out: Path, minutes: float, reports: list[DistillationStep]) -> None:
    """State first: it is what must not be lost."""
    training, initial, config = distillation.training, distillation.initial, distillation.config
    save_state(training, out / "state", minutes, {ADVERSARY: distillation.adversary()})
    record = initial.training_config | {
        "distillation": {
            "teacher": distillation.previous.get("teacher", initial.id),
            "initial_checkpoint": initial.id,
            "previous": distillation.previous or None,
            "num_inference_steps": config.num_inference_steps,
            "guidance_scale": config.guidance_scale,
            "step": training.step,
            "tiles_seen": training.tiles_seen,
            "minutes": minutes,
            "configuration": asdict(config),
        }
    }
    with ema_weights(training):
        pipeline = build_pipeline(training)
        card = model_card(out.name, training.dataset.vocabulary, record, pipeline.denoiser.num_parameters())
        save_checkpoint(pipeline, out / "checkpoint", record, card)
        picture = out / "samples" / f"step-{training.step:07d}.png"
        write_sample_grid(pipeline, picture, training.config.side_px, num_inference_steps=config.num_inference_steps)
    losses = [[getattr(report, name) for name in LOG_COLUMNS[2:]] for report in reports]
    append_log(out / "log.csv", LOG_COLUMNS, (training.step, minutes, *map(float, np.mean(losses, axis=0))))
