"""What every handler needs: errors as messages, tiles as PNGs with provenance, files to download."""

import atexit
import base64
import functools
import inspect
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import TypeVar

import gradio as gr
import numpy as np
from PIL import Image

from medi_core.data.tile_files import TileFile, encode_png, png_text
from medi_core.errors import InvalidRequestError, MediError
from medi_core.metadata.schema import ATTRIBUTE, MetadataRecord
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation import GenerationProgress
from medi_core.storage import translate_write_errors

DOWNLOAD_SECONDS = 3600
PREVIEW_EVERY_SECONDS = 0.3

T = TypeVar("T")


def reported(handler: Callable) -> Callable:
    """Show a `MediError` as a message; anything else is a bug and stays one."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def wrapped(*args, **kwargs):
            try:
                yield from handler(*args, **kwargs)
            except MediError as error:
                raise gr.Error(str(error), print_exception=False) from error
    elif inspect.iscoroutinefunction(handler):

        @functools.wraps(handler)
        async def wrapped(*args, **kwargs):
            try:
                return await handler(*args, **kwargs)
            except MediError as error:
                raise gr.Error(str(error), print_exception=False) from error
    else:

        @functools.wraps(handler)
        def wrapped(*args, **kwargs):
            try:
                return handler(*args, **kwargs)
            except MediError as error:
                raise gr.Error(str(error), print_exception=False) from error

    return wrapped


def throttled(reports: Iterator[T], progress_of: Callable[[T], GenerationProgress] = lambda r: r) -> Iterator[T]:
    """Reports with finished tiles, and no more than a few a second of the others: each one costs PNGs."""
    shown = 0.0
    for report in reports:
        if progress_of(report).tiles or time.monotonic() - shown >= PREVIEW_EVERY_SECONDS:
            shown = time.monotonic()
            yield report


def progress_html(done: int, total: int, what: str) -> str:
    """A progress bar with words, readable by a screen reader."""
    return (
        f'<label class="medi-progress">{what} <progress value="{done}" max="{total}"></progress> {done}/{total}</label>'
    )


def gallery_image(tile: GeneratedTile) -> Image.Image:
    """A tile for an image component; the PNG that a browser gets carries the provenance."""
    image = Image.fromarray(tile.image)
    image.info.update(png_text(tile.provenance()))  # Gradio writes `info` into the PNG
    return image


def preview_image(estimate: np.ndarray) -> Image.Image:
    """An unfinished tile: synthetic all the same, and its PNG says so."""
    image = Image.fromarray(estimate)
    image.info.update(png_text({"origin": "synthetic", "state": "unfinished"}))
    return image


def tile_file(tile: GeneratedTile, name: str | None = None) -> TileFile:
    """The tile as `data/tile_files.py` writes it."""
    return TileFile(name or tile_name(tile), tile.image, tile.provenance(), tile.hematoxylin, tile.eosin)


def tile_name(tile: GeneratedTile) -> str:
    """`Breast_invasive_carcinoma_Indivumed_seed12.png`"""
    return f"{slug(tile.record)}_seed{tile.seed}.png"


def slug(record: MetadataRecord) -> str:
    """A file name's worth of a record."""
    parts = [
        f"{name}{value}" if ATTRIBUTE[name].kind == "binned" else value for name, value in record.to_dict().items()
    ]
    text = "_".join(parts) or "unconditioned"
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in text)


def seeds_from(first: int | None, num: int) -> tuple[int, ...]:
    """`num` seeds in a row; an empty field is an error, not a 0."""
    if first is None:
        raise InvalidRequestError("the seed is empty: enter a whole number, or press New seed")
    return tuple(range(int(first), int(first) + int(num)))


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def png_of(tile: GeneratedTile) -> bytes:
    return encode_png(tile.image, tile.provenance())


def write_download(name: str, content: bytes) -> str:
    """A file for a `gr.DownloadButton`; those older than an hour are deleted.

    Raises:
        StorageError: e.g. the disk is full.
    """
    with translate_write_errors("the download"):
        root = _download_root()
        for old in root.iterdir():
            with suppress(FileNotFoundError):  # another request may be deleting it
                if time.time() - old.stat().st_mtime > DOWNLOAD_SECONDS:
                    shutil.rmtree(old, ignore_errors=True)
        path = Path(tempfile.mkdtemp(dir=root)) / name
        path.write_bytes(content)
    return str(path)


def alert_html(message: object) -> str:
    """In the place of what cannot be shown: why, read out at once by a screen reader."""
    return f'<p role="alert">{escape(str(message))}</p>'


def session_folder() -> Path:
    """An empty folder for a visitor's files; it goes with the downloads: after an hour, or with this process."""
    with translate_write_errors("the upload"):
        return Path(tempfile.mkdtemp(dir=_download_root()))


@functools.cache
def _download_root() -> Path:
    """A folder of this process alone, deleted with it."""
    folder = Path(tempfile.mkdtemp(prefix="medi-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
