"""Checkpoints on disk ↔ a pipeline in memory: name | local folder | hub id. safetensors only.

A checkpoint is a diffusers folder (docs/architecture.md §6) whose `metadata_embedder/config.json`
carries the vocabulary: nothing outside the folder is needed to use it.
"""

import copy
import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError

from medi_core.checkpoint_checks import COMPONENTS, check_checkpoint, first_line, read_json
from medi_core.errors import CheckpointError, StorageError
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.pipelines.medi_pipeline import MediPipeline
from medi_core.storage import PREVIOUS, TEMPORARY, present_folder, replaced_folder

MAX_SHARD_SIZE = "9MB"
TRAINING_CONFIG = "training_config.json"
MAX_DISTILLED_STEPS = 4


@dataclass(frozen=True)
class Distillation:
    """What a few-step checkpoint records of where it comes from."""

    teacher: str
    """Id of the checkpoint whose tiles it learned to make in fewer steps."""
    num_inference_steps: int
    """Denoising steps it is made for, 1 to 4."""
    guidance_scale: float = 1.0
    """Of guidance, what was measured best for it; 1 = none: it has learned tiles that need none."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    name: str
    """Folder name or hub id."""
    digest: str
    """First 12 hex digits of the SHA-256 of its weights and configurations: what decides a tile, but for the device."""
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
        return read_training_config(self.folder)

    @property
    def distillation(self) -> Distillation | None:
        """As `read_distillation`."""
        return read_distillation(self.folder)

    def facts(self) -> dict[str, Any]:
        """Plain JSON: its id, its vocabulary, and what it was distilled from, if it was."""
        distillation = self.distillation  # read from its file
        few = {} if distillation is None else {"distillation": asdict(distillation)}
        return {"checkpoint": self.id} | few | self.vocabulary.to_dict()

    @property
    def held_out_patients(self) -> frozenset[str] | None:
        """As `read_held_out_patients`."""
        return read_held_out_patients(self.folder)

    @property
    def model_card(self) -> str:
        path = self.folder / "README.md"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def read_training_config(folder: Path) -> dict[str, Any]:
    """How the checkpoint in a folder was trained; empty if that is not recorded."""
    path = folder / TRAINING_CONFIG
    return read_json(path) if path.exists() else {}


def read_held_out_patients(folder: Path) -> frozenset[str] | None:
    """Whom its training is recorded never to have seen (splits val and test); `None` if nothing is recorded.

    Raises:
        CheckpointError: the record is not split → list of patients.
    """
    record = read_training_config(folder).get("held_out_patients")
    if record is None:
        return None
    lists = list(record.values()) if isinstance(record, dict) else [None]
    if not all(isinstance(names, list) and all(isinstance(n, str) for n in names) for names in lists):
        raise CheckpointError(
            f"{folder.name}/{TRAINING_CONFIG}: held_out_patients must be split → list of patient ids; "
            "correct it, or take it out"
        )
    return frozenset().union(*lists)


def read_distillation(folder: Path) -> Distillation | None:
    """Of a few-step checkpoint: its teacher, steps and guidance; `None` of any other.

    Raises:
        CheckpointError: the record is not a teacher with 1 to 4 steps and a guidance scale.
    """
    record = read_training_config(folder).get("distillation")
    if record is None:
        return None
    given = record if isinstance(record, dict) else {}
    teacher, steps, scale = given.get("teacher"), given.get("num_inference_steps"), given.get("guidance_scale", 1.0)
    is_steps = isinstance(steps, int) and not isinstance(steps, bool) and 1 <= steps <= MAX_DISTILLED_STEPS
    is_scale = isinstance(scale, int | float) and not isinstance(scale, bool) and 0 <= scale < math.inf
    if not isinstance(teacher, str) or not teacher or not is_steps or not is_scale:
        raise CheckpointError(
            f"{folder.name}/{TRAINING_CONFIG}: distillation is {record!r}; it must hold a teacher (name@digest), "
            f"num_inference_steps from 1 to {MAX_DISTILLED_STEPS} and may hold a guidance_scale from 0: correct it, "
            "or take it out"
        )
    return Distillation(teacher, steps, float(scale))


def list_checkpoints(root: Path) -> list[str]:
    """Names of the checkpoints in a folder."""
    folders = (path.parent for path in root.glob("*/model_index.json"))
    return sorted({folder.name.removesuffix(PREVIOUS) for folder in folders if folder.suffix != TEMPORARY})


def save_checkpoint(
    pipeline: MediPipeline, folder: Path, training_config: dict[str, Any], model_card: str | None = None
) -> None:
    """Write weights as bfloat16 in shards below 10 MB, whole or not at all.

    Args:
        training_config: plain JSON, for `training_config.json`.
        model_card: Markdown, for `README.md`.

    Raises:
        StorageError: the folder holds something else, or e.g. the disk is full; a checkpoint already there is as it
            was.
    """
    require_replaceable(folder)
    with replaced_folder(folder) as new, _quiet_diffusers():
        for name in COMPONENTS:
            half = copy.deepcopy(getattr(pipeline, name)).to(torch.bfloat16)
            half.save_pretrained(new / name, max_shard_size=MAX_SHARD_SIZE)
        pipeline.scheduler.save_pretrained(new / "scheduler")
        pipeline.save_config(new)
        for file in new.rglob("*.json"):
            _forget_origin(file)
        (new / TRAINING_CONFIG).write_text(json.dumps(training_config, indent=2) + "\n", encoding="utf-8")
        if model_card is not None:
            (new / "README.md").write_text(model_card, encoding="utf-8")


def _forget_origin(file: Path) -> None:
    """diffusers notes where a model was loaded from: a folder of some machine, on which the digest would depend."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
        file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def require_replaceable(folder: Path) -> None:
    """Refuse to put a checkpoint in the place of anything but another one.

    Raises:
        StorageError: the folder holds something else.
    """
    if folder.exists() and not (folder / "model_index.json").exists() and (folder.is_file() or any(folder.iterdir())):
        raise StorageError(f"{folder} holds something else than a checkpoint: give a new or empty folder")


def load_checkpoint(name: str, root: Path, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Load onto a device.

    Args:
        name: a folder of `root`, a path, or a hub id `owner/name`.

    Raises:
        CheckpointError: unknown, incomplete, damaged, pickled or inconsistent; nothing is loaded.
    """
    folder = find_checkpoint(name, root)
    with _quiet_diffusers():
        check_checkpoint(folder)
        read_distillation(folder)
        try:
            pipeline = MediPipeline.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise CheckpointError(
                f"checkpoint {name!r} is inconsistent: {first_line(error)}; fetch it again or choose another"
            ) from error
        pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.denoiser.to(memory_format=torch.channels_last).eval()
    is_local = _find_local(name, root) is not None
    return Checkpoint(folder.name.removesuffix(PREVIOUS) if is_local else name, _digest(folder), folder, pipeline)


def find_checkpoint(name: str, root: Path) -> Path:
    """The local folder of a checkpoint, fetched from the hub if `name` is a hub id."""
    if folder := _find_local(name, root):
        return folder
    if name.count("/") == 1 and not (root / name).exists() and not Path(name).exists():
        return _download(name)
    known = ", ".join(list_checkpoints(root)) or "none"
    raise CheckpointError(
        f"checkpoint {name!r} was not found in {root}; known: {known}. "
        "Give one of these, the path of a checkpoint folder, or a hub id owner/name"
    )


def _find_local(name: str, root: Path) -> Path | None:
    for folder in map(present_folder, (root / name, Path(name))):
        if (folder / "model_index.json").is_file():
            return folder.resolve()
    return None


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=["*.json", "*.safetensors", "*.md"]))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {hub_id!r} could not be fetched from the hub: {first_line(error)}"
        ) from error


@contextmanager
def _quiet_diffusers() -> Iterator[None]:
    """No progress bars and remarks of diffusers on a user's terminal; ours name the file."""
    verbosity, has_bars = diffusers_logging.get_verbosity(), diffusers_logging.is_progress_bar_enabled()
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(verbosity)
        if has_bars:
            diffusers_logging.enable_progress_bar()


def _digest(folder: Path) -> str:
    sha = hashlib.sha256()
    configs = [folder / "model_index.json", *folder.glob("*/*config.json")]
    for path in sorted([*configs, *folder.glob("*/*.safetensors")]):
        sha.update(path.relative_to(folder).as_posix().encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()[:12]
