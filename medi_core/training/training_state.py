"""Save and resume a training exactly: safetensors and JSON, in a folder that is written wholly or not at all.

A run folder holds `state/` (to resume from), `checkpoint/` (EMA weights, as shipped) and `log.csv`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from medi_core.checkpoints import Checkpoint
from medi_core.errors import CheckpointError
from medi_core.storage import present_folder, replaced_folder
from medi_core.training.train_diffusion import DiffusionTraining

STRUCTURE = (
    "attributes",
    "block_out_channels",
    "layers_per_block",
    "patch_px",
    "head_channels",
    "norm_num_groups",
    "attention_head_dim",
)
"""Fields of the configuration that say what the weights mean; the others may change on resuming."""
ADVICE = "use the configuration and the manifest it was started with, or another folder"


def structure_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """`STRUCTURE` of a checkpoint, as arguments of the `DiffusionTrainingConfig` that its weights fit into."""
    known = {"attributes": checkpoint.vocabulary.attributes} | dict(checkpoint.pipeline.denoiser.config)
    return {name: tuple(v) if isinstance(v := known[name], list) else v for name in STRUCTURE}


def has_state(folder: Path) -> bool:
    """Whether there is anything to resume."""
    return present_folder(folder).exists()


def save_state(
    training: DiffusionTraining,
    folder: Path,
    minutes: float,
    others: Mapping[str, Mapping[str, torch.Tensor]] = MappingProxyType({}),
) -> None:
    """Write weights, EMA, optimiser moments, step and the minutes spent so far.

    Args:
        others: tensors of what trains beside the model, for `load_tensors`, a mapping a kind.

    Raises:
        StorageError: e.g. the disk is full; a state already there is as it was.
    """
    tensors: dict[str, torch.Tensor] = {}
    named = list(training.model.named_parameters())
    for (name, parameter), shadow in zip(named, training.ema.shadow_params, strict=True):
        tensors[f"model.{name}"], tensors[f"ema.{name}"] = parameter.detach(), shadow
        for key, moment in training.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = moment
    tensors |= {f"{kind}.{name}": tensor for kind, own in others.items() for name, tensor in own.items()}
    progress = {
        "step": training.step,
        "tiles_seen": training.tiles_seen,
        "first_step": training.first_step,
        "initial_checkpoint": training.initial_checkpoint,
        "ema_step": training.ema.optimization_step,
        "minutes": minutes,
        "structure": _structure(training),
    }
    with replaced_folder(folder) as new:
        save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, new / "state.safetensors")
        (new / "progress.json").write_text(json.dumps(progress))


def load_state(training: DiffusionTraining, folder: Path, others: tuple[str, ...] = ()) -> float:
    """Resume in place; returns the minutes spent before.

    Args:
        others: the kinds of tensors that it holds besides the training's own, as given to `save_state`.

    Raises:
        CheckpointError: the state is damaged, belongs to another configuration, or to another kind of training.
    """
    folder = present_folder(folder)
    try:
        progress = json.loads((folder / "progress.json").read_text())
        step, tiles_seen, ema_step, minutes = (progress[key] for key in ("step", "tiles_seen", "ema_step", "minutes"))
        # absent in states of before there were warm starts
        first_step, initial_checkpoint = progress.get("first_step", 0), progress.get("initial_checkpoint")
        tensors = load_file(folder / "state.safetensors")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the training state in {folder} is damaged ({error}); delete it to start again from step 0"
        ) from error
    found = {name.split(".")[0] for name in tensors} - {"model", "ema", "optimizer"}
    if found != set(others):
        held, wanted = (", ".join(sorted(kinds)) or "nothing" for kinds in (found, others))
        raise CheckpointError(
            f"{folder} holds, besides the model, {held}; wanted: {wanted}. It is of another command (train-diffusion, "
            "distill): give another folder"
        )
    _check_structure(training, progress.get("structure", {}), folder)
    _check_shapes(training, tensors, folder)
    with torch.no_grad():
        for (name, parameter), shadow in zip(
            training.model.named_parameters(), training.ema.shadow_params, strict=True
        ):
            parameter.copy_(tensors[f"model.{name}"])
            shadow.copy_(tensors[f"ema.{name}"])
            training.optimizer.state[parameter] = _moments(tensors, f"optimizer.{name}.", parameter)
    training.first_step, training.initial_checkpoint = first_step, initial_checkpoint
    training.step, training.tiles_seen, training.ema.optimization_step = step, tiles_seen, ema_step
    return minutes


def load_tensors(folder: Path, kind: str) -> dict[str, torch.Tensor]:
    """One kind of the `others` that `save_state` wrote; empty if there are none."""
    with safe_open(present_folder(folder) / "state.safetensors", framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(f"{kind}.")]  # noqa: SIM118 (not a mapping)
        return {name.removeprefix(f"{kind}."): file.get_tensor(name) for name in names}


def _moments(tensors: dict[str, torch.Tensor], prefix: str, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
    """The optimiser's state of a parameter; the fused one pairs elements by their place in memory."""
    saved = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    return {
        key: tensor.to(parameter.device) if key == "step" else torch.empty_like(parameter).copy_(tensor)
        for key, tensor in saved.items()
    }


def _structure(training: DiffusionTraining) -> dict[str, Any]:
    """What a state must share with the training that resumes it, as JSON gives it back."""
    config, vocabulary = training.config.to_dict(), training.dataset.vocabulary.to_dict()
    structure = {name: config[name] for name in STRUCTURE}
    structure |= {f"values of {name}": values for name, values in vocabulary["values"].items()}
    structure |= {f"bin edges of {name}": edges for name, edges in vocabulary["bin_edges"].items()}
    return json.loads(json.dumps(structure))


def _check_structure(training: DiffusionTraining, before: dict[str, Any], folder: Path) -> None:
    now = _structure(training)
    changed = [name for name in now | before if now.get(name) != before.get(name)]
    if changed:
        shown = "; ".join(f"{n}: {_brief(before.get(n))}, now {_brief(now.get(n))}" for n in changed[:3])
        more = f" … ({len(changed)} differences in all)" if len(changed) > 3 else ""
        raise CheckpointError(f"the training in {folder} was started with other settings ({shown}{more}); {ADVICE}")


def _check_shapes(training: DiffusionTraining, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    expected = {name: parameter.shape for name, parameter in training.model.named_parameters()}
    for kind in ("model", "ema"):
        found = {k.removeprefix(f"{kind}."): v.shape for k, v in tensors.items() if k.startswith(f"{kind}.")}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                given, wanted = (list(s.get(name, ())) or "nothing" for s in (found, expected))
                raise CheckpointError(
                    f"the training in {folder} was started with other settings "
                    f"({kind}.{name}: {given}, now {wanted}); {ADVICE}"
                )


def _brief(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:77]} …"
