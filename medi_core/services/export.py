"""Many tiles into a folder: made and written part by part, so that a stop loses little and memory stays small."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path

from medi_core.data.tile_files import MANIFEST_NAME, TileFile, open_tile_folder, write_tile_folder
from medi_core.services.generation import GenerationRequest, GenerationService

TILES_A_PART = 64


@dataclass(frozen=True)
class WrittenTile:
    """A tile on the disk."""

    file: str
    """Name in the folder."""
    seed: int
    hematoxylin: float | None
    """Measured strength; `None` without tissue, for JSON knows no NaN."""
    eosin: float | None


@dataclass(frozen=True)
class Export:
    """What a folder got."""

    manifest: Path
    tiles: list[WrittenTile]


def generate_into(
    service: GenerationService,
    request: GenerationRequest,
    folder: Path,
    on_progress: Callable[[float, int], None] = lambda *_: None,
) -> Export:
    """Make a request's tiles and write them, with a manifest, as they come.

    Args:
        on_progress: called with (tiles done, tiles in all); the first is fractional within a part.

    Raises:
        UnknownValueError: the record holds what the checkpoint does not know; nothing is made.
        StorageError: the folder cannot be written; what was written before is whole, and in the manifest.
    """
    service.check(request)
    open_tile_folder(folder)  # a folder that cannot be used is refused before any waiting
    num, written = len(request.seeds), []
    for first in range(0, num, TILES_A_PART):
        part = replace(request, seeds=request.seeds[first : first + TILES_A_PART])
        for progress in service.stream(part):
            on_progress(first + len(part.seeds) * progress.done / progress.total, num)
        files = [TileFile(f"{t.id}.png", t.image, t.provenance(), t.hematoxylin, t.eosin) for t in progress.tiles]
        write_tile_folder(files, folder)
        for file, t in zip(files, progress.tiles, strict=True):
            written.append(WrittenTile(file.name, t.seed, strength_or_none(t.hematoxylin), strength_or_none(t.eosin)))
    return Export(folder / MANIFEST_NAME, written)


def strength_or_none(strength: float) -> float | None:
    return None if isnan(strength) else strength
