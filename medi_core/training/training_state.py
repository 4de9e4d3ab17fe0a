"""Save and resume a training exactly: safetensors and JSON, written to a temporary name and renamed.

A run folder holds `state/` (to resume from), `checkpoint/` (EMA weights, as shipped) and `log.csv`.
"""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from medi_core.errors import CheckpointError, StorageError
from medi_core.training.train_diffusion import DiffusionTraining


def save_state(training: DiffusionTraining, folder: Path, minutes: float) -> None:
    """Write weights, EMA, optimiser moments, step and the minutes spent so far."""
    names = [name for name, _ in training.model.named_parameters()]
    tensors = {f"model.{name}": p.detach() for name, p in training.model.named_parameters()}
    tensors |= {f"ema.{name}": p for name, p in zip(names, training.ema.shadow_params, strict=True)}
    for name, parameter in training.model.named_parameters():
        for key, moment in training.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = moment
    # the step is in the file name: a state is either wholly there or not there at all
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, temporary / "state.safetensors")
        progress = {"step": training.step, "ema_step": training.ema.optimization_step, "minutes": minutes}
        (temporary / "progress.json").write_text(json.dumps(progress))
        previous = folder.with_name(folder.name + ".old")
        shutil.rmtree(previous, ignore_errors=True)
        if folder.exists():
            os.replace(folder, previous)
        os.replace(temporary, folder)
        shutil.rmtree(previous, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"could not save the training to {folder}: {error.strerror or error}") from error


def load_state(training: DiffusionTraining, folder: Path) -> float:
    """Resume in place; returns the minutes spent before.

    Raises:
        CheckpointError: the state is damaged, or belongs to another configuration.
    """
    if not folder.exists() and folder.with_name(folder.name + ".old").exists():
        folder = folder.with_name(folder.name + ".old")  # the process died between the two renames of a save
    try:
        progress = json.loads((folder / "progress.json").read_text())
        tensors = load_file(folder / "state.safetensors")
        with torch.no_grad():
            for (name, parameter), shadow in zip(
                training.model.named_parameters(), training.ema.shadow_params, strict=True
            ):
                parameter.copy_(tensors[f"model.{name}"])
                shadow.copy_(tensors[f"ema.{name}"])
                prefix = f"optimizer.{name}."
                moments = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                if moments:
                    training.optimizer.state[parameter] = {
                        k: v if k == "step" else v.to(parameter.device, memory_format=torch.preserve_format)
                        for k, v in moments.items()
                    }
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the training state in {folder} cannot be resumed with this configuration: {error}; "
            "use the configuration it was started with, or another --out"
        ) from error
    training.step, training.ema.optimization_step = progress["step"], progress["ema_step"]
    return progress["minutes"]
