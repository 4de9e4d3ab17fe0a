"""Refuse a checkpoint that is pickled, incomplete, damaged or inconsistent, before any weight is loaded.

Each message names the file. Reads configs and the headers of the shards only.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from medi_core.errors import CheckpointError, UnknownValueError
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.models.denoiser import Denoiser
from medi_core.models.metadata_embedder import MetadataEmbedder
from medi_core.pipelines.schedulers import SCHEDULERS

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
COMPONENTS = {"denoiser": Denoiser, "metadata_embedder": MetadataEmbedder}
WEIGHTS = "diffusion_pytorch_model.safetensors"
ADVICE = "fetch the checkpoint again, or choose another"


def check_checkpoint(folder: Path) -> None:
    """Raises:
    CheckpointError: the folder is no checkpoint of this project, or one that cannot be trusted.
    """
    refuse_pickles(folder)
    _check_classes(folder)
    read_json(folder / "scheduler" / "scheduler_config.json")
    _check_vocabulary(folder)
    components = {name: _build_empty(folder, name) for name in COMPONENTS}
    for name, component in components.items():
        _check_weights(folder / name, component)
    wanted, given = components["denoiser"].embedding_dim, components["metadata_embedder"].config.embedding_dim
    if wanted != given:
        raise CheckpointError(
            f"{_short(folder / 'metadata_embedder' / 'config.json')}: embedding_dim is {given}, the denoiser needs "
            f"{wanted}; they are of different checkpoints: {ADVICE}"
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        CheckpointError: the file is missing, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{_short(path)} is missing; {ADVICE}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{_short(path)} is damaged, no JSON ({error}); {ADVICE}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{_short(path)} is damaged: it holds a {type(content).__name__}; {ADVICE}")
    return content


def refuse_pickles(folder: Path) -> None:
    """Raises:
    CheckpointError: a file in the folder, or below it, is named as pickled weights are.
    """
    pickles = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise CheckpointError(
            f"{folder.name} holds pickled weights ({', '.join(pickles)}), which can run code when loaded; "
            "only safetensors are read: convert them, and delete the pickles"
        )


def _check_classes(folder: Path) -> None:
    """diffusers imports what the index names, so nothing but the classes we know may stand there."""
    path = folder / "model_index.json"
    index = read_json(path)
    allowed = {name: [[model.__module__, model.__name__]] for name, model in COMPONENTS.items()}
    allowed["scheduler"] = [["diffusers", type(build()).__name__] for build in SCHEDULERS.values()]
    for name, classes in allowed.items():
        if index.get(name) not in classes:
            raise CheckpointError(
                f"{_short(path)} is no index of a MeDi checkpoint: {name} is {index.get(name)}, "
                f"expected {' or '.join(c[1] for c in classes)}; {ADVICE}"
            )


def _check_vocabulary(folder: Path) -> None:
    path = folder / "metadata_embedder" / "config.json"
    try:
        vocabulary = Vocabulary.from_dict(read_json(path)["vocabulary"])
        is_usable = bool(vocabulary.attributes) and all(vocabulary.values.values())
    except (KeyError, TypeError, ValueError, AttributeError, UnknownValueError) as error:
        raise CheckpointError(
            f"{_short(path)}: the vocabulary cannot be read ({type(error).__name__}: {error}); {ADVICE}"
        ) from error
    if not is_usable:
        raise CheckpointError(f"{_short(path)}: the vocabulary lists no values; {ADVICE}")


def _build_empty(folder: Path, name: str) -> Denoiser | MetadataEmbedder:
    """A component as its config describes it, without memory for its weights."""
    path = folder / name / "config.json"
    config = read_json(path)
    try:
        with torch.device("meta"):
            return COMPONENTS[name].from_config(config)
    except Exception as error:  # whatever a wrong number makes torch or diffusers raise, the file is at fault
        raise CheckpointError(f"{_short(path)} describes no {name} ({first_line(error)}); {ADVICE}") from error


def _check_weights(folder: Path, component: Denoiser | MetadataEmbedder) -> None:
    """The shards hold each weight of the component in its shape, and nothing else."""
    found = _read_all_shapes(folder)
    wanted = {name: list(tensor.shape) for name, tensor in component.state_dict().items()}
    if isinstance(component, MetadataEmbedder):
        _check_tables(folder, component, found)
    require_shapes(found, wanted, folder / "config.json")


def require_shapes(found: dict[str, list[int]], wanted: dict[str, list[int]], config: Path) -> None:
    """Raises:
    CheckpointError: the weights beside a configuration are not those it describes; names the first that differs.
    """
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise CheckpointError(
                f"{_short(config)} and the weights beside it do not belong together: {name} is "
                f"{found.get(name, 'not there')}, expected {wanted.get(name, 'none')}; {ADVICE}"
            )


def _check_tables(folder: Path, embedder: MetadataEmbedder, found: dict[str, list[int]]) -> None:
    """Each embedding table must have one row a value, and the null row."""
    vocabulary = embedder.vocabulary
    num_tables = sum(name.startswith("tables.") for name in found)
    if num_tables != len(vocabulary.attributes):
        raise CheckpointError(
            f"{_short(folder / 'config.json')}: the vocabulary has {len(vocabulary.attributes)} attributes, the "
            f"weights {num_tables}; they do not belong together: {ADVICE}"
        )
    for i, attribute in enumerate(vocabulary.attributes):
        num_values, num_rows = len(vocabulary.values[attribute]), found.get(f"tables.{i}.weight", [0])[0]
        if num_rows != num_values + 1:
            raise CheckpointError(
                f"{_short(folder / 'config.json')}: the vocabulary has {num_values} values of {attribute}, the "
                f"weights {num_rows - 1}; they do not belong together: {ADVICE}"
            )


def _read_all_shapes(folder: Path) -> dict[str, list[int]]:
    """Weight → shape, from the headers of the shards; a header also tells how long its file must be."""
    index = folder / f"{WEIGHTS}.index.json"
    shards = [WEIGHTS]
    if index.exists():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise CheckpointError(f"{_short(index)} is damaged: it maps no weights to shards; {ADVICE}")
        shards = sorted(set(weight_map.values()))
    shapes: dict[str, list[int]] = {}
    for shard in shards:
        shapes |= read_shapes(folder / shard)
    return shapes


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Weight → shape, from the header of one safetensors file.

    Raises:
        CheckpointError: it is missing, cut short or something else.
    """
    if not path.is_file():
        raise CheckpointError(f"{_short(path)} is missing; {ADVICE}")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{_short(path)} is damaged or no safetensors file ({first_line(error)}); {ADVICE}"
        ) from error


def _short(path: Path) -> str:
    """`medi-128/denoiser/config.json`, `medi-128/model_index.json`."""
    in_component = path.parent.name in (*COMPONENTS, "scheduler")
    return "/".join(path.parts[-3 if in_component else -2 :])


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
