"""What may be published: which files, which images, and whether the front matter fits the platform. Knows no hub.

Each check returns its faults as sentences that name the file; none = good. What the platform accepts is from the Hub's
documentation (spaces-config-reference, spaces-zerogpu), as of September 2026.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from huggingface_hub import metadata_load
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from PIL import Image

from medi_core.data.feature_cache import tile_digest
from medi_core.data.tile_files import read_provenance

CARD = "README.md"
LARGE_BYTES = 10_000_000
"""From here on the hub wants a file in its large file storage; `upload_folder` sees to that."""
ZERO_GPU_TORCH = ("2.8.0", "2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.13.0")
"""ZeroGPU installs the newest of these that requirements.txt allows, and refuses a Space that allows none."""
ZERO_GPU_PYTHON = ("3.12.12", "3.10.13")
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
HARDWARE = ("cpu-basic", "cpu-upgrade", "zero-a10g", "t4-small", "t4-medium", "l4x1", "a10g-small", "a100-large")
"""Flavours on offer here; zero-a10g is what the API calls ZeroGPU, whatever card it has."""
SPACE_KEYS = ("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "license")
MODEL_KEYS = ("license", "library_name", "pipeline_tag", "tags")
DESCRIPTION_CHARS = 60
MODEL_SUFFIXES = {".json", ".safetensors", ".md", ""}
EXECUTABLE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".onnx"}
"""Formats of weights that are not safetensors, most of which run code when they are read."""
PACKED_SUFFIXES = {".zip", ".tar", ".gz", ".tgz", ".7z"}
IMAGE_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".svs", ".ndpi", ".mrxs", ".scn", ".czi"),
    *(".jp2", ".dcm"),
}
SCREENSHOTS = ("assets/screenshot.png", "docs/screenshots/")
"""Pictures of the app, which show synthetic tiles only: a person has looked."""
IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"RIFF", b"GIF8", b"BM")
SECRET = re.compile(r"\bhf_[A-Za-z0-9]{30,}|-----BEGIN [A-Z ]*PRIVATE KEY-----")
TEXT_SUFFIXES = {".py", ".md", ".txt", ".json", ".yaml", ".yml", ".toml", ".csv", ".css", ".js", ".sh", ""}


def files_of(folder: Path) -> list[Path]:
    """All files below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())


def space_faults(folder: Path) -> list[str]:
    """What keeps a folder from being a Space of this project."""
    return [*file_faults(folder), *image_faults(folder), *space_card_faults(folder)]


def model_faults(folder: Path) -> list[str]:
    """What keeps a folder from being a model repository: weights as safetensors, configurations, licence and card."""
    names = {path: path.relative_to(folder).as_posix() for path in files_of(folder)}
    strange = [name for path, name in names.items() if path.suffix not in MODEL_SUFFIXES]
    faults = [
        f"{name}: a model repository holds .json, .safetensors, its card and its licence only" for name in strange
    ]
    if not any(path.suffix == ".safetensors" for path in names):
        faults.append("no .safetensors: there are no weights")
    return [*faults, *file_faults(folder), *_card_faults(folder, MODEL_KEYS)]


def file_faults(folder: Path) -> list[str]:
    """Links, weights in formats that run code, archives, and secrets."""
    faults = []
    for path in files_of(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            faults.append(f"{name}: a link; put the file itself there")
        elif path.suffix.lower() in EXECUTABLE_SUFFIXES:
            faults.append(f"{name}: weights are published as safetensors only")
        elif path.suffix.lower() in PACKED_SUFFIXES:
            faults.append(f"{name}: nobody can see what is in an archive; publish its files")
        elif path.name == ".env" or (
            path.suffix in TEXT_SUFFIXES and SECRET.search(path.read_text("utf-8", "replace"))
        ):
            faults.append(f"{name}: it holds a token or a private key; take it out, and revoke it")
    return faults


def image_faults(folder: Path) -> list[str]:
    """Images that are not shown to be synthetic: a PNG must carry the provenance that this project writes.

    An image hidden in a table counts, and so does one whose pixels the reference set knows as a real tile.
    """
    faults, images, real = [], {}, set()
    for path in files_of(folder):
        name, suffix = path.relative_to(folder).as_posix(), path.suffix.lower()
        if suffix == ".parquet":
            table = pd.read_parquet(path)
            faults += [f"{name}: column {column} holds images" for column in _image_columns(table)]
            real |= _real_tiles(table)
        elif suffix in IMAGE_SUFFIXES and not name.startswith(SCREENSHOTS):
            images[name] = path
    for name, path in images.items():
        provenance = read_provenance(path.read_bytes())
        if provenance is None or provenance.get("origin") != "synthetic":
            faults.append(f"{name}: an image without the provenance of a synthetic tile; real tiles are not published")
        elif real:
            with Image.open(path) as image:
                digest = tile_digest(np.asarray(image.convert("RGB")))
            if digest in real:
                faults.append(f"{name}: its pixels are those of a real tile of the reference set")
    return faults


def space_card_faults(folder: Path) -> list[str]:
    """Front matter that is incomplete, or that does not fit requirements.txt, pyproject.toml or ZeroGPU."""
    faults = _card_faults(folder, SPACE_KEYS)
    if faults:
        return faults
    card, wanted = metadata_load(folder / CARD), _requirements(folder)
    if card["sdk"] != "gradio":
        faults.append(f"{CARD}: sdk is {card['sdk']}; it must be gradio")
    faults += [f"{CARD}: {key} is {card[key]}; allowed: {', '.join(sorted(COLORS))}" for key in _wrong_colors(card)]
    if not (folder / str(card["app_file"])).is_file():
        faults.append(f"{CARD}: app_file {card['app_file']} is not there")
    if len(str(card.get("short_description", ""))) > DESCRIPTION_CHARS:
        faults.append(f"{CARD}: short_description has more than {DESCRIPTION_CHARS} characters")
    if card.get("suggested_hardware", HARDWARE[0]) not in HARDWARE:
        faults.append(f"{CARD}: suggested_hardware {card['suggested_hardware']}; allowed: {', '.join(HARDWARE)}")
    if "gradio" not in wanted or str(card["sdk_version"]) not in wanted["gradio"]:
        faults.append(
            f"{CARD}: sdk_version {card['sdk_version']} is not what requirements.txt asks for: "
            f"{wanted.get('gradio', 'none')}"
        )
    if "torch" not in wanted or not any(version in wanted["torch"] for version in ZERO_GPU_TORCH):
        faults.append(
            f"requirements.txt: ZeroGPU has torch {', '.join(ZERO_GPU_TORCH)}; allow one of them "
            f"(now: {wanted.get('torch', 'none')})"
        )
    return [*faults, *_python_faults(folder, str(card["python_version"]))]


def _python_faults(folder: Path, version: str) -> Iterator[str]:
    if version not in ZERO_GPU_PYTHON:
        yield f"{CARD}: python_version {version}; ZeroGPU has {' and '.join(ZERO_GPU_PYTHON)}"
    project = folder / "pyproject.toml"
    if project.is_file():
        needed = tomllib.loads(project.read_text("utf-8")).get("project", {}).get("requires-python", "")
        if version not in SpecifierSet(needed):
            yield f"{CARD}: python_version {version} is not what pyproject.toml asks for: {needed}"


def _card_faults(folder: Path, keys: tuple[str, ...]) -> list[str]:
    if not (folder / CARD).is_file():
        return [f"{CARD} is missing"]
    try:
        card = metadata_load(folder / CARD) or {}
    except Exception as error:  # whatever the parser of YAML raises
        return [f"{CARD}: its front matter cannot be read: {' '.join(str(error).split())}"]
    return [f"{CARD}: its front matter lacks {key}" for key in keys if not card.get(key)]


def _wrong_colors(card: Mapping[str, Any]) -> list[str]:
    return [key for key in ("colorFrom", "colorTo") if card[key] not in COLORS]


def _requirements(folder: Path) -> dict[str, SpecifierSet]:
    path = folder / "requirements.txt"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    wanted = [Requirement(text) for line in lines if (text := line.split("#")[0].strip())]
    return {requirement.name: requirement.specifier for requirement in wanted}


def _image_columns(table: pd.DataFrame) -> list[str]:
    texts = table.select_dtypes("object")
    return [name for name in texts if any(isinstance(v, bytes) and v.startswith(IMAGE_STARTS) for v in texts[name])]


def _real_tiles(table: pd.DataFrame) -> set[str]:
    """Content hashes of the real tiles of a reference set; of any other table, none."""
    if not {"id", "origin"} <= set(table):
        return set()
    return set(table.loc[table["origin"] == "real", "id"])
