"""Start a training from the weights of a checkpoint, where no state is left to resume from.

Not exact, as resuming is: a checkpoint holds the EMA weights alone, in bfloat16, and no moments of the optimiser.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from medi_core.checkpoints import load_checkpoint
from medi_core.errors import CheckpointError
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.training.train_diffusion import DiffusionTraining, TrainingModel


def warm_start(training: DiffusionTraining, folder: Path) -> float:
    """Take over weights, EMA, steps and tiles seen; returns the minutes behind the checkpoint.

    The optimiser starts anew, so the learning rate warms up again from here. Tile and noise draws go on where the
    checkpoint stopped, as long as seed and global batch are the same.

    Raises:
        CheckpointError: not a checkpoint, one of another network or vocabulary, or one already at the last step.
    """
    checkpoint = load_checkpoint(str(folder), folder.parent, torch.device("cpu"), torch.float32)
    advice = "start from a checkpoint of the same attributes, values and widths, or without one"
    if difference := vocabulary_difference(checkpoint.vocabulary, training.dataset.vocabulary):
        raise CheckpointError(f"{checkpoint.id} cannot be trained on with this manifest: {difference}; {advice}")
    record = checkpoint.training_config
    source = TrainingModel(checkpoint.pipeline.metadata_embedder, checkpoint.pipeline.denoiser)
    try:
        training.load_weights(source.state_dict())
    except RuntimeError as error:
        mismatch = str(error).splitlines()[1].strip()
        raise CheckpointError(f"{checkpoint.id} is another network: {mismatch} {advice}") from error
    go_on_from(training, checkpoint.id, record)
    return record.get("minutes", 0.0)


def go_on_from(training: DiffusionTraining, checkpoint_id: str, record: Mapping[str, Any]) -> None:
    """Count steps and tiles on from a checkpoint's. Draws go on as well, with the same seed and global batch.

    Args:
        record: with `step` and `tiles_seen`; from 0 where it has none.

    Raises:
        CheckpointError: it is already at the last step.
    """
    step, num_steps = record.get("step", 0), training.config.num_steps
    if step >= num_steps:
        raise CheckpointError(
            f"{checkpoint_id} is at step {step:,} and num_steps, counted from its beginning, is {num_steps:,}: "
            "nothing is left to train; give a larger --num-steps"
        )
    training.step = training.first_step = training.ema.optimization_step = step
    training.tiles_seen, training.initial_checkpoint = record.get("tiles_seen", 0), checkpoint_id


def vocabulary_difference(checkpoint: Vocabulary, manifest: Vocabulary) -> str:
    """What differs in the meaning of the condition ids; empty if nothing does."""
    if checkpoint.attributes != manifest.attributes:
        return f"attributes {', '.join(checkpoint.attributes)}, here {', '.join(manifest.attributes)}"
    for name in checkpoint.attributes:
        before, now = checkpoint.values[name], manifest.values[name]
        if before != now:
            missing, new = (sorted(set(a) - set(b)) for a, b in ((before, now), (now, before)))
            return f"{name}: {len(missing)} values are not in it ({_few(missing)}), {len(new)} are new ({_few(new)})"
        edges = zip(checkpoint.bin_edges.get(name, ()), manifest.bin_edges.get(name, ()), strict=False)
        if not all(math.isclose(a, b, rel_tol=1e-3) for a, b in edges):
            return f"bin edges of {name} {checkpoint.bin_edges[name]}, here {manifest.bin_edges[name]}"
    return ""


def _few(values: list[str]) -> str:
    return ", ".join(values[:3]) + (" …" if len(values) > 3 else "") if values else "none"
