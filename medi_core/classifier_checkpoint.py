"""A tile classifier on disk ↔ in memory: `config.json`, `model.safetensors`, `training.json`, `measured.json`, card.

No diffusers folder (it has no `model_index.json`), so it is never listed among the diffusion checkpoints.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from medi_core.checkpoint_checks import ADVICE, first_line, read_json, read_shapes, refuse_pickles, require_shapes
from medi_core.errors import CheckpointError, MediError
from medi_core.models.tile_classifier import ClassifierConfig, TileClassifier, pretrained_backbone
from medi_core.storage import present_folder, replaced_folder

BACKBONE = "backbone."
CONFIG, WEIGHTS = "config.json", "model.safetensors"
TRAINING, MEASURED, CARD = "training.json", "measured.json", "README.md"
TRAIN = "train one: python -m medi_core train-classifier --manifest tiles.csv --out FOLDER"


@dataclass(frozen=True)
class ClassifierCheckpoint:
    """A loaded classifier."""

    name: str
    digest: str
    """First 12 hex digits of the SHA-256 of its weights and configuration: what decides a verdict."""
    classifier: TileClassifier
    training: Mapping[str, Any]
    """How it was trained: settings, seed, held-out patients."""
    measured: Mapping[str, Any]
    """What it was worth on held-out patients; empty if that was not measured."""

    @property
    def id(self) -> str:
        return f"{self.name}@{self.digest}"


def save_classifier(
    classifier: TileClassifier,
    folder: Path,
    training: Mapping[str, Any],
    measured: Mapping[str, Any] | None = None,
    card: str | None = None,
) -> None:
    """Write it whole or not at all: weights of layers as float16, the few of norms, biases and scales as float32.

    A backbone with its ImageNet weights is left out (`is_backbone_trained`).

    Args:
        training: plain JSON, for `training.json`.
        measured: plain JSON, for `measured.json`.
        card: Markdown, for `README.md`.

    Raises:
        StorageError: e.g. the disk is full; what was there is as it was.
    """
    with replaced_folder(folder) as new:
        save_file(_stored(classifier), new / WEIGHTS)
        _write_json(asdict(classifier.config), new / CONFIG)
        _write_json(training, new / TRAINING)
        if measured is not None:
            _write_json(measured, new / MEASURED)
        if card is not None:
            (new / CARD).write_text(card, encoding="utf-8")


def load_classifier(folder: Path, device: torch.device | str = "cpu") -> ClassifierCheckpoint:
    """Load onto a device, in float32, for inference.

    Raises:
        CheckpointError: missing, incomplete, damaged, pickled or inconsistent; the message names the file.
    """
    folder = present_folder(folder)
    if not folder.is_dir():
        raise CheckpointError(f"there is no tile classifier in {folder.parent.name}/{folder.name}/; {TRAIN}")
    refuse_pickles(folder)
    config = _read_config(folder / CONFIG)
    try:
        with torch.device("meta"):
            wanted = {name: list(tensor.shape) for name, tensor in _own_weights(TileClassifier(config)).items()}
    except CheckpointError as error:
        raise CheckpointError(f"{folder.name}/{CONFIG}: {error}; {ADVICE}") from error
    require_shapes(read_shapes(folder / WEIGHTS), wanted, folder / CONFIG)
    classifier = TileClassifier(config)
    weights = _read_weights(folder / WEIGHTS)
    if not config.is_backbone_trained:
        weights |= {BACKBONE + name: t for name, t in pretrained_backbone(config.backbone).state_dict().items()}
    classifier.load_state_dict(weights)
    classifier.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    training, measured = (read_json(folder / n) if (folder / n).exists() else {} for n in (TRAINING, MEASURED))
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes() + (folder / CONFIG).read_bytes()).hexdigest()[:12]
    return ClassifierCheckpoint(folder.name, digest, classifier, training, measured)


def read_classifier_card(folder: Path) -> str:
    """The model card, Markdown; empty where there is none. Loads no weights."""
    path = present_folder(folder) / CARD
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _stored(classifier: TileClassifier) -> dict[str, torch.Tensor]:
    stored = {}
    for name, tensor in _own_weights(classifier).items():
        is_large = tensor.is_floating_point() and tensor.ndim > 1
        stored[name] = (tensor.half() if is_large else tensor).contiguous().cpu()
    return stored


def _own_weights(classifier: TileClassifier) -> dict[str, torch.Tensor]:
    """Without those of a backbone that is as it came."""
    is_all = classifier.config.is_backbone_trained
    return {k: tensor for k, tensor in classifier.state_dict().items() if is_all or not k.startswith(BACKBONE)}


def _read_config(path: Path) -> ClassifierConfig:
    given = read_json(path)
    try:
        return ClassifierConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
    except (TypeError, ValueError, MediError) as error:
        raise CheckpointError(f"{path.parent.name}/{path.name} describes no classifier ({error}); {ADVICE}") from error


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    """All weights as float32.

    Raises:
        CheckpointError: damaged, or with numbers that are not finite.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path.parent.name}/{path.name} is damaged ({first_line(error)}); {ADVICE}") from error
    weights = {name: t.float() if t.is_floating_point() else t for name, t in weights.items()}
    if bad := [name for name, t in weights.items() if t.is_floating_point() and not t.isfinite().all()]:
        raise CheckpointError(f"{path.parent.name}/{path.name}: {bad[0]} is not finite everywhere; {ADVICE}")
    return weights


def _write_json(content: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
