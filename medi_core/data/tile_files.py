"""Synthetic tiles as files: PNG with provenance in its text chunks, folders and zips with a manifest.

Knows neither models nor services: a tile is an image and a mapping of plain facts.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from medi_core.data.manifest import COLUMNS, write_manifest
from medi_core.errors import InvalidImageError, StorageError
from medi_core.metadata.schema import ATTRIBUTE

PNG_KEY = "medi"
NOTICE = "Synthetic image made by a diffusion model. For research only, not for diagnosis."
LICENCE = "CC BY-NC-SA 4.0"
MANIFEST_NAME = "manifest.csv"
MAX_UPLOAD_BYTES = 10_000_000
MAX_UPLOAD_SIDE_PX = 20_000
UPLOAD_FORMATS = ("PNG", "JPEG", "TIFF")


@dataclass(frozen=True)
class TileFile:
    """A tile ready to be written."""

    name: str
    """File name without folder, ending in .png."""
    image: np.ndarray
    """uint8 `(H, W, 3)`, RGB."""
    provenance: Mapping[str, Any]
    """Plain JSON; goes into the PNG and the manifest."""
    hematoxylin: float
    eosin: float


def encode_png(image: np.ndarray, provenance: Mapping[str, Any]) -> bytes:
    """A lossless PNG whose text says that it is synthetic and how it was made.

    Args:
        image: uint8 `(H, W, 3)`, RGB.
        provenance: plain JSON.
    """
    chunks = PngImagePlugin.PngInfo()
    for key, text in png_text(provenance).items():
        chunks.add_text(key, text)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def png_text(provenance: Mapping[str, Any]) -> dict[str, str]:
    """The text chunks of a synthetic tile's PNG."""
    return {
        "Description": NOTICE,
        "Copyright": LICENCE,
        PNG_KEY: json.dumps(provenance, sort_keys=True),  # ASCII: every reader of PNG text can show it
    }


def read_provenance(png: bytes) -> dict[str, Any] | None:
    """What `encode_png` wrote, or `None` for any other image."""
    with Image.open(io.BytesIO(png)) as image:
        text = getattr(image, "text", {})
    return json.loads(text[PNG_KEY]) if PNG_KEY in text else None


def write_tile_folder(tiles: Sequence[TileFile], folder: Path) -> Path:
    """PNGs and `manifest.csv`; returns the manifest's path.

    Raises:
        StorageError: the folder cannot be written, e.g. because the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for tile in tiles:
            (folder / tile.name).write_bytes(encode_png(tile.image, tile.provenance))
    except OSError as error:
        raise StorageError(
            f"could not write to {folder}: {error.strerror or error}; free space or give another folder"
        ) from error
    write_manifest(_manifest(tiles, folder), folder / MANIFEST_NAME)
    return folder / MANIFEST_NAME


def encode_zip(tiles: Sequence[TileFile], extra: Mapping[str, bytes]) -> bytes:
    """The same as a zip in memory; `extra` adds files, name → content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNGs do not shrink further
        for tile in tiles:
            archive.writestr(tile.name, encode_png(tile.image, tile.provenance))
        manifest = _manifest(tiles, None).reindex(columns=COLUMNS).dropna(axis="columns", how="all")
        archive.writestr(MANIFEST_NAME, manifest.to_csv(index=False))
        for name, content in extra.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def read_upload(path: str | Path) -> np.ndarray:
    """An image a user hands in, cut to the largest centred multiple of 32 px, at most 512 px a side.

    Returns:
        uint8 `(H, W, 3)`, RGB.

    Raises:
        InvalidImageError: too large, too small, damaged or of another type.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_UPLOAD_BYTES:
        raise InvalidImageError(f"the file has {size / 1e6:.1f} MB; at most {MAX_UPLOAD_BYTES / 1e6:.0f} MB are read")
    try:
        with Image.open(path, formats=UPLOAD_FORMATS) as image:
            if max(image.size) > MAX_UPLOAD_SIDE_PX:
                raise InvalidImageError(f"the image is {image.width}×{image.height} px; cut out a tile first")
            return crop_to_multiple(np.asarray(_centre(image).convert("RGB")))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise InvalidImageError(
            f"the file is not a readable image of type {', '.join(UPLOAD_FORMATS)}; save the tile as PNG"
        ) from error


def crop_to_multiple(image: np.ndarray, multiple_px: int = 32, max_px: int = 512) -> np.ndarray:
    """The largest centred part whose sides are multiples of `multiple_px`, at most `max_px`."""
    height, width = (min(side // multiple_px * multiple_px, max_px) for side in image.shape[:2])
    if min(height, width) == 0:
        raise InvalidImageError(
            f"the image is {image.shape[1]}×{image.shape[0]} px; at least {multiple_px} px a side are needed"
        )
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def _centre(image: Image.Image, side_px: int = 512) -> Image.Image:
    """Cut before decoding to RGB: a large scan must not fill the memory."""
    left, top = max(0, (image.width - side_px) // 2), max(0, (image.height - side_px) // 2)
    return image.crop((left, top, min(image.width, left + side_px), min(image.height, top + side_px)))


def _manifest(tiles: Sequence[TileFile], folder: Path | None) -> pd.DataFrame:
    """One row a tile; measured stains in the stain columns, what was asked for in `requested`."""
    rows = []
    for tile in tiles:
        asked = tile.provenance["metadata"]
        rows.append(
            {name: value for name, value in asked.items() if ATTRIBUTE[name].kind == "categorical"}
            | {
                "path": str(folder / tile.name) if folder else tile.name,
                "hematoxylin": tile.hematoxylin,
                "eosin": tile.eosin,
                "mpp": 0.5,
                "origin": "synthetic",
                "checkpoint": tile.provenance["checkpoint"],
                "seed": tile.provenance["seed"],
                "requested": json.dumps(tile.provenance, ensure_ascii=False, sort_keys=True),
                "dataset": "medi-synthetic",
                "licence": LICENCE,
            }
        )
    return pd.DataFrame(rows)
