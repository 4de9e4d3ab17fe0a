"""Checkpoints on disk ↔ a pipeline in memory: name | local folder | hub id. safetensors only.

A checkpoint is a diffusers folder (docs/architecture.md §6) whose `metadata_embedder/config.json`
carries the vocabulary: nothing outside the folder is needed to use it.
"""

import copy
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from medi_core.errors import CheckpointError, StorageError
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.pipelines.medi_pipeline import MediPipeline

MAX_SHARD_SIZE = "9MB"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
COMPONENTS = ("denoiser", "metadata_embedder")
TRAINING_CONFIG = "training_config.json"


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    name: str
    """Folder name or hub id."""
    digest: str
    """First 12 hex digits of the SHA-256 of its weights: two checkpoints of one name stay apart."""
    folder: Path
    pipeline: MediPipeline

    @property
    def id(self) -> str:
        return f"{self.name}@{self.digest}"

    @property
    def vocabulary(self) -> Vocabulary:
        return self.pipeline.metadata_embedder.vocabulary

    @property
    def training_config(self) -> dict[str, Any]:
        path = self.folder / TRAINING_CONFIG
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def model_card(self) -> str:
        path = self.folder / "README.md"
        return path.read_text() if path.exists() else ""


def list_checkpoints(root: Path) -> list[str]:
    """Names of the checkpoints in a folder."""
    return sorted(path.parent.name for path in root.glob("*/model_index.json"))


def save_checkpoint(pipeline: MediPipeline, folder: Path, training_config: dict[str, Any]) -> None:
    """Write weights as bfloat16 in shards below 10 MB, whole or not at all."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    half = MediPipeline(
        copy.deepcopy(pipeline.denoiser).to(torch.bfloat16),
        copy.deepcopy(pipeline.metadata_embedder).to(torch.bfloat16),
        pipeline.scheduler,
    )
    try:
        for component in COMPONENTS:
            getattr(half, component).save_pretrained(temporary / component, max_shard_size=MAX_SHARD_SIZE)
        half.scheduler.save_pretrained(temporary / "scheduler")
        half.save_config(temporary)
        (temporary / TRAINING_CONFIG).write_text(json.dumps(training_config, indent=2) + "\n")
        if (folder / "README.md").exists():
            shutil.copy(folder / "README.md", temporary)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except OSError as error:
        raise StorageError(f"could not write the checkpoint to {folder}: {error.strerror or error}") from error


def load_checkpoint(name: str, root: Path, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Load onto a device.

    Args:
        name: a folder of `root`, a path, or a hub id `owner/name`.

    Raises:
        CheckpointError: unknown, incomplete, damaged, pickled or inconsistent; nothing is loaded.
    """
    folder = find_checkpoint(name, root)
    _refuse_pickles(folder)
    _check_shards(folder)
    try:
        pipeline = MediPipeline.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(
            f"checkpoint {name!r} is inconsistent: {_first_line(error)}; fetch it again or choose another"
        ) from error
    _check_vocabulary(name, pipeline)
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.denoiser.to(memory_format=torch.channels_last).eval()
    return Checkpoint(folder.name, _digest(folder), folder, pipeline)


def find_checkpoint(name: str, root: Path) -> Path:
    """The local folder of a checkpoint, fetched from the hub if `name` is a hub id."""
    for folder in (root / name, Path(name)):
        if (folder / "model_index.json").is_file():
            return folder.resolve()
    if name.count("/") == 1 and not Path(name).exists():
        return _download(name)
    known = ", ".join(list_checkpoints(root)) or "none"
    raise CheckpointError(
        f"checkpoint {name!r} was not found in {root}; known: {known}. "
        "Give one of these, the path of a checkpoint folder, or a hub id owner/name"
    )


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=["*.json", "*.safetensors", "*.md"]))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {hub_id!r} could not be fetched from the hub: {_first_line(error)}"
        ) from error


def _refuse_pickles(folder: Path) -> None:
    pickles = sorted(p.name for p in folder.rglob("*") if p.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise CheckpointError(
            f"{folder.name} holds pickled weights ({', '.join(pickles)}), which can run code when loaded; "
            "only safetensors are read: convert them, and delete the pickles"
        )


def _check_shards(folder: Path) -> None:
    """Every shard is there and its length is what its header says."""
    for component in COMPONENTS:
        shards = {path.name for path in (folder / component).glob("*.safetensors")}
        for index in (folder / component).glob("*.safetensors.index.json"):
            shards |= set(_read_json(index).get("weight_map", {}).values())
        if not shards:
            raise CheckpointError(
                f"{folder.name}/{component} holds no weights (*.safetensors); fetch the checkpoint again"
            )
        for shard in sorted(shards):
            path = folder / component / shard
            if not path.is_file():
                raise CheckpointError(f"{folder.name}/{component}/{shard} is missing; fetch the checkpoint again")
            try:
                with safe_open(path, framework="pt"):
                    pass
            except (SafetensorError, OSError) as error:
                raise CheckpointError(
                    f"{folder.name}/{component}/{shard} is damaged or no safetensors file ({error}); "
                    "fetch the checkpoint again"
                ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path.parent.name}/{path.name} is damaged: {error}; fetch the checkpoint again"
        ) from error


def _check_vocabulary(name: str, pipeline: MediPipeline) -> None:
    """Each embedding table must have one row a value, and the null row."""
    embedder = pipeline.metadata_embedder
    for attribute, table in zip(embedder.vocabulary.attributes, embedder.tables, strict=True):
        expected = len(embedder.vocabulary.values[attribute]) + 1
        if table.num_embeddings != expected or any(p.is_meta for p in table.parameters()):
            raise CheckpointError(
                f"checkpoint {name!r}: the vocabulary has {expected - 1} values of {attribute}, "
                f"the weights have {table.num_embeddings - 1}; they do not belong together"
            )


def _digest(folder: Path) -> str:
    sha = hashlib.sha256()
    for component in COMPONENTS:
        for path in sorted((folder / component).glob("*.safetensors")):
            sha.update(path.read_bytes())
    return sha.hexdigest()[:12]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
