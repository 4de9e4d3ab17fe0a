"""What an upload of strangers holds: its table within bounds, its tiles read once and measured. Knows no vocabulary."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from medi_core.data.feature_cache import tile_digest
from medi_core.data.manifest import COLUMNS, Fault, clean_text, convert_numbers, read_table, value_faults, with_hints
from medi_core.data.tile_dataset import STAINS, read_grid_tile, read_image
from medi_core.errors import ManifestError
from medi_core.stain.separation import stain_strengths

MAX_ROWS, MAX_COLUMNS = 20_000, 100


def read_bounded_table(csv: Path) -> pd.DataFrame:
    """`read_table` of a CSV of at most `MAX_ROWS` and `MAX_COLUMNS`.

    Raises:
        ManifestError: too large, or no table.
    """
    # counted before it is parsed: a cell costs far more memory than its two bytes of text
    content = csv.read_bytes()
    header = content.split(b"\n", 1)[0]
    if header.count(b",") >= MAX_COLUMNS:
        raise ManifestError(f"{csv.name} has {header.count(b',') + 1:,} columns; at most {MAX_COLUMNS} are read")
    if content.count(b"\n") > MAX_ROWS + 1:
        raise ManifestError(
            f"{csv.name} has more than {MAX_ROWS:,} rows: upload fewer tiles, or use the command line on the folder"
        )
    return read_table(csv)


def read_metadata(csv: Path) -> pd.DataFrame:
    """The rows of a table of tiles without their images, as a plan counts them: no path in it is looked up.

    Args:
        csv: columns of a manifest, in any number.

    Returns:
        Text (`None` where empty) and numbers (NaN), as `read_manifest` gives them.

    Raises:
        ManifestError: too large, no table, an unknown column, or one message with every cell that is not allowed.
    """
    frame = read_bounded_table(csv)
    if unknown := [column for column in frame if column not in COLUMNS]:
        hinted = ", ".join(with_hints(unknown, frame.columns))
        raise ManifestError(
            f"{csv.name} has unknown columns: {hinted}; allowed: {', '.join(COLUMNS)}. Rename or drop them"
        )
    if frame.empty:
        raise ManifestError(f"{csv.name} has no rows")
    faults = list(convert_numbers(frame))
    for column in frame.select_dtypes(exclude="number"):
        frame[column] = clean_text(frame[column])
    faults += value_faults(frame)
    if faults:
        raise ManifestError(f"{csv.name} cannot be used: " + "; ".join(map(str, faults)))
    return frame


def require_inside(paths: Iterable[object], name: str) -> None:
    """Refuse paths out of the folder, before anything is looked up: nobody must learn which files this machine has.

    Raises:
        ManifestError: the first such path.
    """
    for named in map(PurePosixPath, map(str, paths)):
        if named.is_absolute() or ".." in named.parts:
            raise ManifestError(f"{name} names an image outside itself, {str(named)!a}; pack it with the rest")


def measure_tiles(
    rows: pd.DataFrame, on_progress: Callable[[int, int], None] = lambda *_: None
) -> tuple[pd.DataFrame, list[str], list[Fault]]:
    """Read every tile once.

    Args:
        rows: of a manifest, `path` absolute.
        on_progress: called with (images read, images in all).

    Returns:
        The rows whose tile can be read, with stains where not given; the content hash of each; what is wrong with the
        other rows, a mask over `rows` each.
    """
    reasons: dict[int, str] = {}
    digests: dict[int, str] = {}
    seen: set[str] = set()
    measured = rows.copy()
    for done, (path, part) in enumerate(rows.groupby("path", sort=False)):
        on_progress(done, rows["path"].nunique())
        for i, tile in _read_tiles(path, part):
            if isinstance(tile, ManifestError):
                reasons[i] = str(tile)
            elif (digest := tile_digest(tile)) in seen:
                reasons[i] = "the same pixels as an earlier row"
            else:
                seen.add(digest)
                digests[i] = digest
                strengths = zip(STAINS, stain_strengths(tile), strict=True)
                measured.loc[i, list(STAINS)] = [
                    own if pd.notna(own := rows.at[i, name]) else strength for name, strength in strengths
                ]
    on_progress(rows["path"].nunique(), rows["path"].nunique())
    kept = measured.loc[[i for i in rows.index if i in digests]]
    whats: dict[str, list[int]] = {}
    for i, reason in reasons.items():
        whats.setdefault(reason, []).append(i)
    faults = [Fault(what, pd.Series(rows.index.isin(where), rows.index)) for what, where in whats.items()]
    return kept, [digests[i] for i in kept.index], faults


def _read_tiles(path: str, rows: pd.DataFrame) -> Iterator[tuple[int, np.ndarray | ManifestError]]:
    """Each tile of one image, or why it is none."""
    try:
        image = read_image(path)
    except ManifestError as error:
        yield from ((i, error) for i in rows.index)
        return
    for i, row in rows.iterrows():
        try:
            yield i, read_grid_tile(row, image)
        except ManifestError as error:
            yield i, error
