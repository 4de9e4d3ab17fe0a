"""Tiles that another tool cut out of whole slides, a folder a slide, and a table of the slides → rows of a manifest.

The names of the files say where on the slide a tile lies; they are read as TIAToolbox, CLAM, Histolab and QuPath write
them. The place becomes the row's `source`, not its x and y: those are a place in the image file. Opens no image.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from medi_core.data.archive_checks import IMAGE_SUFFIXES
from medi_core.data.import_table import resolve_columns
from medi_core.data.manifest import COLUMNS, ROWS_SHOWN, clean_text, read_table, validate_manifest
from medi_core.data.splits import split_by_patient
from medi_core.errors import ManifestError

SLIDE_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".svslide", ".qptiff")
NAMES = (
    re.compile(r"\[.*?\bx=(?P<x>\d+),\s*y=(?P<y>\d+)\b.*\]"),  # QuPath: slide [d=1,x=512,y=1024,w=256,h=256]
    re.compile(r"(?:^|[_-])(?P<x>\d+)-(?P<y>\d+)-\d+-\d+$"),  # Histolab: tile_3_level0_512-1024-768-1280
    re.compile(r"(?:^|[_\W])x[_=-]?(?P<x>\d+)[_,\s-]+y[_=-]?(?P<y>\d+)(?!\d)"),  # …_x512_y1024, x=512,y=1024
    re.compile(r"(?:^|[_-])(?P<x>\d+)[_,-](?P<y>\d+)$"),  # CLAM: slide_512_1024; TIAToolbox: Tile_20_512_1024
)
"""Of a file name without its suffix; the first that fits counts."""
EXPECTED = "x_y.png, …_x512_y1024.png, [x=512,y=1024,w=256,h=256].png or tile_0_level0_512-1024-768-1280.png"


@dataclass(frozen=True)
class ImportedSlides:
    """What became of a folder of slides."""

    frame: pd.DataFrame
    """As `read_manifest` returns it, ready for `write_manifest`."""
    dropped: tuple[str, ...]
    """Columns of the slides' table that have no place in a manifest."""
    without_tiles: tuple[str, ...]
    """Slides of the table that have no folder."""


def tile_place(stem: str) -> tuple[int, int] | None:
    """(x, y) on the slide, px, by the name of a tile without its suffix; `None` where the name does not say."""
    found = next(filter(None, (pattern.search(stem) for pattern in NAMES)), None)
    return None if found is None else (int(found["x"]), int(found["y"]))


def import_wsi_tiles(
    root: str | Path,
    slides: str | Path,
    column_map: Mapping[str, str] | None = None,
    defaults: Mapping[str, str] | None = None,
    seed: int = 0,
) -> ImportedSlides:
    """A manifest of the tiles below `root/<slide>/`, at any depth, with the metadata of their slides.

    Args:
        root: holds one folder a slide, named as the slide is in the table (`.svs` and the like may be missing).
        slides: `.csv` or `.parquet`, one row a slide.
        column_map: the table's column → ours, e.g. `{"slide_id": "slide"}`.
        defaults: our columns that are the same for every tile, e.g. `{"mpp": "0.5"}`.
        seed: of the split by patient that is drawn if the table has none.

    Raises:
        ManifestError: a folder without a slide, a slide twice, a name without a place, a place twice, or a value that
            cannot be used; one message.
    """
    root, slides = Path(root).resolve(), Path(slides)
    if not root.is_dir():
        raise ManifestError(f"{root} is not a folder; give the one that holds a folder a slide")
    table, dropped = _slide_table(slides, dict(column_map or {}))
    tiles = _tiles(root)
    absent = sorted(set(tiles["key"]) - set(table["key"]))
    if absent:
        raise ManifestError(
            f"{slides.name} has no row for the slide {_some(absent)}, which has a folder in {root.name}; its slides "
            f"are called {_some(sorted(table['key']))}"
        )
    frame = tiles.merge(table, on="key", how="left", validate="many_to_one")
    frame["source"] = frame["slide"] + " at x=" + frame["x"].astype(str) + ", y=" + frame["y"].astype(str)
    unknown = sorted(set(defaults or {}) - set(COLUMNS))
    if unknown:
        raise ManifestError(f"--default {_some(unknown)}: no column of a manifest; allowed: {', '.join(COLUMNS)}")
    frame = frame.drop(columns=["key", "x", "y"]).assign(**(defaults or {}))
    frame = validate_manifest(frame, root, root.name)
    if frame["split"].isna().all():
        frame = split_by_patient(frame, seed=seed)
    return ImportedSlides(frame, dropped, tuple(sorted(set(table["key"]) - set(tiles["key"]))))


def _slide_table(path: Path, column_map: dict[str, str]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One row a slide with our columns and `key`, and the columns that are left out."""
    given = read_table(path)
    column_of = resolve_columns(list(given.columns), column_map, path.name, required="slide")
    if given.empty:
        raise ManifestError(f"{path.name} has no rows: it needs one a slide")
    table = pd.DataFrame({ours: given[theirs] for ours, theirs in column_of.items() if ours not in ("path", "x", "y")})
    table["slide"] = clean_text(table["slide"])
    if table["slide"].isna().any():
        raise ManifestError(f"{path.name}: {column_of['slide']} is empty in {int(table['slide'].isna().sum())} rows")
    table["key"] = [_key(slide) for slide in table["slide"]]
    twice = sorted(table.loc[table["key"].duplicated(), "key"].unique())
    if twice:
        raise ManifestError(f"{path.name} lists the slide {_some(twice)} more than once; keep one row a slide")
    used = set(column_of.values())
    return table, tuple(column for column in given.columns if column not in used)


def _tiles(root: Path) -> pd.DataFrame:
    """`path`, `key` of the slide, and x, y on it."""
    rows, nameless = [], []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if len(parts) < 2 or path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        place = tile_place(path.stem)
        if place is None:
            nameless.append("/".join(parts))
            continue
        rows.append((str(path), _key(parts[0]), *place))
    if nameless:
        raise ManifestError(
            f"{len(nameless):,} files in {root.name} do not say in their name where on the slide they lie: "
            f"{_some(nameless)}; expected {EXPECTED}. Move other images, e.g. thumbnails, elsewhere"
        )
    if not rows:
        raise ManifestError(f"no tiles in {root}; expected <slide>/{EXPECTED}")
    tiles = pd.DataFrame(rows, columns=["path", "key", "x", "y"])
    twice = tiles.duplicated(["key", "x", "y"])
    if twice.any():
        raise ManifestError(
            f"{int(twice.sum()):,} tiles lie where another one of their slide does: {_some(list(tiles[twice]['path']))}"
        )
    return tiles


def _key(slide: str) -> str:
    """The name without the suffix of a slide file: tools keep it in folders, or do not."""
    return slide[: -len(Path(slide).suffix)] if Path(slide).suffix.lower() in SLIDE_SUFFIXES else slide


def _some(values: list[str]) -> str:
    shown = ", ".join(map(repr, values[:ROWS_SHOWN]))
    return shown + (f" … ({len(values)} in all)" if len(values) > ROWS_SHOWN else "")
