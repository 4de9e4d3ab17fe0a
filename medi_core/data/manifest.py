"""The manifest: one row a tile (or a region to crop tiles from), read and validated. Opens no image.

Columns: `path` (required; relative to the manifest), `x`, `y` (upper left corner of a grid tile in a
larger region, px), the attributes of `metadata/schema.py`, `patient_id`, `slide`, `mpp`, `split`,
`tissue` (tumor or benign), `dataset`, `licence`, `source`. Binned attributes hold numbers.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from medi_core.errors import ManifestError, StorageError
from medi_core.metadata.schema import ATTRIBUTES

SPLITS = ("train", "val", "test")
TISSUES = ("tumor", "benign")
OTHER_COLUMNS = ("patient_id", "slide", "mpp", "split", "tissue", "dataset", "licence", "source")
COLUMNS = ("path", "x", "y", *(a.name for a in ATTRIBUTES), *OTHER_COLUMNS)
NUMERIC = {"x": (0, 1e6), "y": (0, 1e6), "mpp": (0.01, 20.0)} | {
    a.name: a.bounds for a in ATTRIBUTES if a.kind == "binned"
}
ALLOWED = {"split": SPLITS, "tissue": TISSUES} | {a.name: a.allowed for a in ATTRIBUTES if a.allowed}
ROWS_SHOWN = 5


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read and validate a manifest.

    Args:
        path: a `.csv` or `.parquet` file.

    Returns:
        One row a tile with all of `COLUMNS`; empty cells are `None` (text) or NaN (numbers), and
        `path` is absolute.

    Raises:
        ManifestError: one message with every fault found and the rows it is in (1 = first data row).
    """
    path = Path(path)
    frame = _read_table(path)
    unknown = [c for c in frame.columns if c not in COLUMNS]
    if unknown:
        raise ManifestError(
            f"{path.name} has unknown columns: {', '.join(map(repr, unknown))}; allowed: {', '.join(COLUMNS)}. "
            "Rename or drop them, or let `python -m medi_core data import` do so"
        )
    if "path" not in frame.columns:
        raise ManifestError(f"{path.name} has no column 'path'; it names the image of each row")
    if frame.empty:
        raise ManifestError(f"{path.name} has no rows")
    frame = frame.reindex(columns=COLUMNS)
    faults = list(_convert_numbers(frame))
    for column in set(COLUMNS) - set(NUMERIC):
        text = frame[column].astype(object)
        frame[column] = text.where(text.notna() & (text != ""), None)
    folder = path.resolve().parent
    frame["path"] = [str(folder / p) if p else None for p in frame["path"]]
    faults += list(_faults(frame))
    if faults:
        raise ManifestError(f"{path.name} cannot be used: " + "; ".join(faults))
    return frame


def write_manifest(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a manifest; paths below its folder become relative, columns without content are left out."""
    path = Path(path)
    folder = path.resolve().parent
    out = frame.reindex(columns=COLUMNS).dropna(axis="columns", how="all")
    out["path"] = [_relative(Path(p), folder) for p in out["path"]]
    try:
        if path.suffix == ".parquet":
            out.to_parquet(path, index=False)
        else:
            out.to_csv(path, index=False)
    except OSError as error:
        raise StorageError(f"could not write {path}: {error.strerror or error}") from error


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ManifestError(f"manifest {path} does not exist")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        # utf-8-sig: spreadsheets write a byte order mark that would hide the first column
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError, pd.errors.ParserError) as error:
        raise ManifestError(f"{path.name} cannot be read as a table: {error}; save it as UTF-8 CSV") from error


def _convert_numbers(frame: pd.DataFrame) -> Iterable[str]:
    for column, (low, high) in NUMERIC.items():
        given = frame[column]
        present = given.notna() & (given.astype(str).str.strip() != "")
        numbers = pd.to_numeric(given.where(present), errors="coerce")
        bad = present & ~numbers.between(low, high)
        if bad.any():
            yield f"{column} must be a number from {low:g} to {high:g}, {_rows(bad, given)}"
        frame[column] = numbers.astype(float)


def _faults(frame: pd.DataFrame) -> Iterable[str]:
    no_path = frame["path"].isna()
    if no_path.any():
        yield f"path is empty, {_rows(no_path)}"
    exists = {p: Path(p).is_file() for p in frame["path"].dropna().unique()}
    missing = ~no_path & ~frame["path"].map(exists).fillna(False).astype(bool)
    if missing.any():
        yield f"file not found, {_rows(missing, frame['path'])}"
    half = frame["x"].isna() != frame["y"].isna()
    if half.any():
        yield f"x and y must be given together, {_rows(half)}"
    duplicate = frame.duplicated(["path", "x", "y"]) & ~no_path
    if duplicate.any():
        yield f"the same tile is listed twice, {_rows(duplicate, frame['path'])}"
    for column, allowed in ALLOWED.items():
        bad = frame[column].notna() & ~frame[column].isin(allowed)
        if bad.any():
            yield f"{column} must be one of {', '.join(allowed)}, {_rows(bad, frame[column])}"
    yield from _split_faults(frame)


def _split_faults(frame: pd.DataFrame) -> Iterable[str]:
    """Patients, and unsplit regions, must not straddle splits."""
    for column, noun in (("patient_id", "patient"), ("path", "image")):
        known = frame.dropna(subset=[column, "split"])
        num_splits = known.groupby(column)["split"].nunique()
        mixed = num_splits.index[num_splits > 1]
        if len(mixed):
            rows = frame[column].isin(mixed)
            yield f"a {noun} must be in one split only, but {', '.join(map(str, mixed[:3]))} is in several, {_rows(rows)}"


def _rows(mask: pd.Series, given: pd.Series | None = None) -> str:
    """`rows 3, 8 … (12 in all), e.g. 'Mayo'`, counted from 1."""
    numbers = [i + 1 for i, bad in enumerate(mask) if bad]
    shown = ", ".join(map(str, numbers[:ROWS_SHOWN]))
    more = f" … ({len(numbers)} in all)" if len(numbers) > ROWS_SHOWN else ""
    example = f", e.g. {given.iloc[numbers[0] - 1]!r}" if given is not None else ""
    return f"{'row' if len(numbers) == 1 else 'rows'} {shown}{more}{example}"


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
