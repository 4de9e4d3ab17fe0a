"""Tiles into a folder: many, made and written part by part, so that a stop loses little; or a comparison's grid."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path

from medi_core.data.tile_files import MANIFEST_NAME, TileFile, open_tile_folder, write_tile_folder
from medi_core.services.comparison import ComparisonRequest, ComparisonService
from medi_core.services.contact_sheet import sheet_png
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest
from medi_core.storage import translate_write_errors, whole_file

TILES_A_PART = 64
SHEET_NAME = "grid.png"


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


@dataclass(frozen=True)
class WrittenCell:
    """A cell of a comparison on the disk."""

    metadata: dict[str, str]
    support: str
    """Real training tiles and patients of it, in words."""
    files: list[str]
    """Names in the folder, one a seed."""


@dataclass(frozen=True)
class GridExport:
    """What a folder got of a comparison."""

    manifest: Path
    sheet: Path
    """All tiles with labels, as one PNG."""
    cells: list[WrittenCell]
    """Row by row."""


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
        files = [_file(tile) for tile in progress.tiles]
        write_tile_folder(files, folder)
        for file, t in zip(files, progress.tiles, strict=True):
            written.append(WrittenTile(file.name, t.seed, strength_or_none(t.hematoxylin), strength_or_none(t.eosin)))
    return Export(folder / MANIFEST_NAME, written)


def compare_into(
    generation: GenerationService,
    request: ComparisonRequest,
    folder: Path,
    on_progress: Callable[[float, int], None] = lambda *_: None,
) -> GridExport:
    """Make a comparison's tiles and write them, with a manifest and the labelled sheet of all of them.

    Args:
        on_progress: called with (tiles done, tiles in all); the first is fractional.

    Raises:
        UnknownValueError: a value that the checkpoint does not know; nothing is made.
        StorageError: the folder cannot be written.
    """
    service = ComparisonService(generation)
    records = [record for row in request.records() for record in row]
    for record in records:
        generation.check(replace(request.base, record=record))
    num = len(records) * len(request.base.seeds)
    open_tile_folder(folder)  # as in `generate_into`
    grid = service.compare(request, lambda report: on_progress(num * report.done / report.total, num))
    cells = [cell for row in grid for cell in row]
    tiles = {tile.id: tile for cell in cells for tile in cell.tiles}
    manifest = write_tile_folder([_file(tile) for tile in tiles.values()], folder)
    with translate_write_errors(str(folder)), whole_file(folder / SHEET_NAME) as unfinished:
        unfinished.write_bytes(sheet_png(generation.vocabulary, request, grid, generation.checkpoint.id))
    written = [
        WrittenCell(cell.record.to_dict(), cell.support.describe(), [_file(tile).name for tile in cell.tiles])
        for cell in cells
    ]
    return GridExport(manifest, folder / SHEET_NAME, written)


def _file(tile: GeneratedTile) -> TileFile:
    return TileFile(f"{tile.id}.png", tile.image, tile.provenance(), tile.hematoxylin, tile.eosin)


def strength_or_none(strength: float) -> float | None:
    return None if isnan(strength) else strength
