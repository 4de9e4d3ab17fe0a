"""Synthetic tiles as files: PNG with provenance in its text chunks, folders and zips with a manifest.

Knows neither models nor services: a tile is an image and a mapping of plain facts.
"""

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, PngImagePlugin

from medi_core.data.manifest import COLUMNS, read_manifest, write_manifest
from medi_core.errors import InvalidImageError, ManifestError, StorageError
from medi_core.metadata.schema import ATTRIBUTE
from medi_core.storage import translate_write_errors, whole_file

PNG_KEY = "medi"
NOTICE = "Synthetic image made by a diffusion model. For research only, not for diagnosis."
LICENCE = "CC BY-NC-SA 4.0"
MANIFEST_NAME = "manifest.csv"
MAX_UPLOAD_BYTES = 10_000_000
MAX_UPLOAD_PX = 4096**2
"""By its header: a small file can announce gigabytes of pixels, and all are decoded to cut out the centre.

64 times the largest part that is used, and more than an H&E image of 10 MB holds without loss (about 2 bytes a pixel);
decoded, at most 70 MB. A larger image is not shrunk instead: its µm per px would no longer be the tile's.
"""
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


def encode_image(image: np.ndarray) -> bytes:
    """A lossless PNG without any text: a real tile of the user's own, shown back to them."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def encode_blind(image: np.ndarray) -> bytes:
    """A PNG without text and without compression: its length is a function of height and width alone."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def provenance_json(provenance: Mapping[str, Any]) -> str:
    """What a table keeps of it, in one cell."""
    return json.dumps(provenance, ensure_ascii=False, sort_keys=True)


def png_text(provenance: Mapping[str, Any]) -> dict[str, str]:
    """The text chunks of a synthetic tile's PNG."""
    return {
        "Description": NOTICE,
        "Copyright": LICENCE,
        PNG_KEY: json.dumps(provenance, sort_keys=True),  # ASCII: every reader of PNG text can show it
    }


def read_provenance(png: bytes) -> dict[str, Any] | None:
    """What `encode_png` wrote, or `None` for any other, or a damaged, file."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            image.load()  # the text of half an image is worth nothing
            provenance = json.loads(image.text[PNG_KEY])
    except Exception:  # whatever a damaged file makes Pillow raise
        return None
    return provenance if isinstance(provenance, dict) else None


def open_tile_folder(folder: Path) -> pd.DataFrame | None:
    """Make a folder, or see that tiles can be added to it; returns the rows of the manifest already in it.

    Raises:
        StorageError: it cannot be made, or what is there as `manifest.csv` is none.
    """
    with translate_write_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    if not (folder / MANIFEST_NAME).exists():
        return None
    try:
        return read_manifest(folder / MANIFEST_NAME)
    except ManifestError as error:
        raise StorageError(f"{folder} holds a manifest that tiles cannot be added to: {error}") from error


def decode_png(png: bytes) -> np.ndarray:
    """The pixels, uint8 `(H, W, 3)`, RGB.

    Raises:
        InvalidImageError: damaged.
    """
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise InvalidImageError(f"the PNG cannot be read: {error}") from error


def write_tile_folder(tiles: Sequence[TileFile], folder: Path) -> Path:
    """PNGs, and a row each in `manifest.csv`, beside the rows already in it; returns the manifest's path.

    Raises:
        StorageError: the folder cannot be written, e.g. because the disk is full. Files there are whole.
    """
    folder = folder.resolve()  # as the manifest will be read
    present = open_tile_folder(folder)
    frame = _manifest(tiles, folder)
    if present is not None:
        kept = present[~present["path"].isin(frame["path"])].dropna(axis="columns", how="all")
        frame = pd.concat([kept, frame], ignore_index=True)
    with translate_write_errors(str(folder)):
        for tile in tiles:
            with whole_file(folder / tile.name) as unfinished:
                unfinished.write_bytes(encode_png(tile.image, tile.provenance))
        with whole_file(folder / MANIFEST_NAME) as unfinished:
            write_manifest(frame, unfinished)
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
    if not path.is_file():
        raise InvalidImageError(f"there is no file {path}")
    size = path.stat().st_size
    if size > MAX_UPLOAD_BYTES:
        raise InvalidImageError(f"the file has {size / 1e6:.1f} MB; at most {MAX_UPLOAD_BYTES / 1e6:.0f} MB are read")
    try:
        with Image.open(path, formats=UPLOAD_FORMATS) as image:
            if image.width * image.height > MAX_UPLOAD_PX:
                raise Image.DecompressionBombError(f"{image.width}×{image.height} px")
            tile = np.asarray(_to_rgb(_centre(image)))
    except Image.DecompressionBombError as error:
        raise InvalidImageError(
            f"the image has more pixels than {isqrt(MAX_UPLOAD_PX)}×{isqrt(MAX_UPLOAD_PX)}; cut out a tile first"
        ) from error
    except Exception as error:  # whatever a damaged file makes Pillow raise, the file is at fault
        raise InvalidImageError(
            f"the file is not a readable image of type {', '.join(UPLOAD_FORMATS)}; save the tile as 8-bit PNG"
        ) from error
    return crop_to_multiple(tile)


def crop_to_multiple(image: np.ndarray, multiple_px: int = 32, max_px: int = 512) -> np.ndarray:
    """The largest centred part whose sides are multiples of `multiple_px`, at most `max_px`."""
    height, width = (min(side // multiple_px * multiple_px, max_px) for side in image.shape[:2])
    if min(height, width) == 0:
        raise InvalidImageError(
            f"the image is {image.shape[1]}×{image.shape[0]} px; at least {multiple_px} px a side are needed"
        )
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as 8-bit RGB."""
    if image.mode.startswith("I;16"):  # Pillow would clip these at 255, not scale them
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel: which of them is white, nobody knows")
    if image.has_transparency_data:  # where a slide is cut out, it is empty glass, not black
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _centre(image: Image.Image, side_px: int = 512) -> Image.Image:
    """Cut before decoding to RGB: a large scan must not fill the memory."""
    left, top = max(0, (image.width - side_px) // 2), max(0, (image.height - side_px) // 2)
    return image.crop((left, top, min(image.width, left + side_px), min(image.height, top + side_px)))


def manifest_row(provenance: Mapping[str, Any], hematoxylin: float | None, eosin: float | None) -> dict[str, Any]:
    """Row of a synthetic tile but for its path: what was asked for, its measured stains and its provenance."""
    asked = provenance["metadata"]
    return {name: value for name, value in asked.items() if ATTRIBUTE[name].kind == "categorical"} | {
        "hematoxylin": hematoxylin,
        "eosin": eosin,
        "mpp": 0.5,
        "origin": "synthetic",
        "checkpoint": provenance["checkpoint"],
        "seed": provenance["seed"],
        "requested": provenance_json(provenance),
        "dataset": "medi-synthetic",
        "licence": LICENCE,
    }


def _manifest(tiles: Sequence[TileFile], folder: Path | None) -> pd.DataFrame:
    """One row a tile; measured stains in the stain columns, what was asked for in `requested`."""
    rows = [
        manifest_row(tile.provenance, tile.hematoxylin, tile.eosin)
        | {"path": str(folder / tile.name) if folder else tile.name}
        for tile in tiles
    ]
    return pd.DataFrame(rows)
