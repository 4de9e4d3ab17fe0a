"""The manifest: one row a tile (or a region to crop tiles from), read and validated. Opens no image.

Columns: `path` (required; relative to the manifest), `x`, `y` (upper left corner of a grid tile in a
larger region, px), the attributes of `metadata/schema.py`, `patient_id`, `slide`, `mpp`, `split`,
`tissue` (tumor or benign), `dataset`, `licence`, `source`, and of synthetic tiles `origin`, `checkpoint`,
`seed` and `requested` (what was asked for, JSON), and what was measured of them: `verdict` (of the classifier) with
its `verdict_probability`, `trust` in the combination, and `train_distance` to the nearest training tile. Binned
attributes hold numbers.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medi_core.data.column_names import guess_columns
from medi_core.errors import ManifestError, StorageError
from medi_core.metadata.schema import ATTRIBUTES
from medi_core.metadata.vocabulary import close_names

SPLITS = ("train", "val", "test")
HELD_OUT_SPLITS = ("val", "test")
"""Whose patients the generator never saw."""
TISSUES = ("tumor", "benign")
MEASURED_COLUMNS = ("verdict", "verdict_probability", "trust", "train_distance")
"""What bulk generation measures of each tile (services/tile_measures.py)."""
SYNTHETIC_COLUMNS = ("origin", "checkpoint", "seed", "requested", *MEASURED_COLUMNS)
OTHER_COLUMNS = ("patient_id", "slide", "mpp", "split", "tissue", "dataset", "licence", "source", *SYNTHETIC_COLUMNS)
COLUMNS = ("path", "x", "y", *(a.name for a in ATTRIBUTES), *OTHER_COLUMNS)
NUMERIC = {
    **{"x": (0, 1e6), "y": (0, 1e6), "mpp": (0.01, 20.0)},
    **{"verdict_probability": (0, 1), "trust": (0, 1), "train_distance": (0, 2)},
} | {a.name: a.bounds for a in ATTRIBUTES if a.kind == "binned"}
ALLOWED = {"split": SPLITS, "tissue": TISSUES, "origin": ("real", "synthetic")} | {
    a.name: a.allowed for a in ATTRIBUTES if a.allowed
}
ROWS_SHOWN = 5
COLUMNS_ALIKE = 0.7
"""Of a misspelled column: less, and `true` would be taken for `trust`."""
NO_PARQUET = "parquet files need the package pyarrow; install it, or use a .csv file"


@dataclass(frozen=True)
class Fault:
    """What is wrong with some rows of a table; as text, with their numbers and the first cell of them."""

    what: str
    rows: pd.Series
    """bool `(N,)`, never all false."""
    given: pd.Series | None = None
    """The cells at fault, `(N,)`."""
    allowed: Sequence[str] = ()
    """Values of which the first cell at fault may be one misspelled."""

    def __str__(self) -> str:
        return f"{self.what}, {describe_rows(self.rows, self.given)}{self._hint()}"

    def _hint(self) -> str:
        close = (
            close_names(str(self.given.iloc[self.rows.to_numpy().argmax()]), self.allowed, 1) if self.allowed else ()
        )
        return f" (did you mean {close[0]!r}?)" if close else ""


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
    return validate_manifest(read_table(path), path.resolve().parent, path.name)


def validate_manifest(frame: pd.DataFrame, folder: Path, name: str) -> pd.DataFrame:
    """What `read_manifest` does after reading; importers pass their rows through it too.

    Args:
        frame: cells may be text, numbers or empty; rows are counted from 1 in the order given.
        folder: absolute; relative paths are below it.
        name: what messages call the table.
    """
    frame, faults = check_manifest(frame, folder, name)
    if faults:
        raise ManifestError(f"{name} cannot be used: " + "; ".join(map(str, faults)))
    return frame


def check_manifest(frame: pd.DataFrame, folder: Path, name: str) -> tuple[pd.DataFrame, list[Fault]]:
    """The same, but faults of rows are returned beside all rows.

    Raises:
        ManifestError: it is no manifest at all: unknown columns, no `path`, or no row.
    """
    unknown = [c for c in frame.columns if c not in COLUMNS]
    if unknown:
        hinted = ", ".join(with_hints(unknown, frame.columns))
        raise ManifestError(
            f"{name} has unknown columns: {hinted}; allowed: {', '.join(COLUMNS)}. "
            "Rename or drop them, or let `python -m medi_core data import` do so"
        )
    if "path" not in frame.columns:
        raise ManifestError(f"{name} has no column 'path'; it names the image of each row")
    if frame.empty:
        raise ManifestError(f"{name} has no rows")
    frame = frame.reset_index(drop=True).reindex(columns=COLUMNS)
    faults = list(convert_numbers(frame))
    for column in set(COLUMNS) - set(NUMERIC):
        frame[column] = clean_text(frame[column])
    # normalised, so that a/../b.png and b.png are one image
    frame["path"] = pd.Series([os.path.normpath(folder / p) if p else None for p in frame["path"]], dtype=object)
    return frame, faults + list(_faults(frame))


def with_hints(unknown: Sequence[str], columns: Sequence[str]) -> Iterator[str]:
    """Unknown columns of a table, each with ours that it may be."""
    free = [name for name in COLUMNS if name not in columns]
    guessed = {theirs: ours for ours, theirs in guess_columns([*map(str, unknown)], free).items()}
    for name in map(str, unknown):
        close = [guessed[name]] if name in guessed else close_names(name, free, 1, COLUMNS_ALIKE)
        yield f"{name!r} (did you mean {close[0]!r}?)" if close else repr(name)


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
    except ImportError as error:
        raise ManifestError(f"{path.name}: {NO_PARQUET}") from error
    except OSError as error:
        raise StorageError(f"could not write {path}: {error.strerror or error}") from error


def summarize_manifest(frame: pd.DataFrame) -> dict[str, Any]:
    """Plain JSON: rows, images, patients, and how many rows have each value of what a subgroup is made of."""
    counts = {
        name: {str(k): int(v) for k, v in frame[name].value_counts(dropna=False).items()}
        for name in ("split", "cancer_type", "center", "preparation", "dataset")
    }
    return {"rows": len(frame), "images": frame["path"].nunique(), "patients": frame["patient_id"].nunique(), **counts}


def read_table(path: Path) -> pd.DataFrame:
    """Any `.csv` (all cells text, empty ones "") or `.parquet` file, unchecked."""
    if not path.is_file():
        raise ManifestError(f"manifest {path} does not exist")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        # utf-8-sig: spreadsheets write a byte order mark that would hide the first column
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ImportError as error:
        raise ManifestError(f"{path.name}: {NO_PARQUET}") from error
    except (ValueError, OSError) as error:
        raise ManifestError(f"{path.name} cannot be read as a table: {error}; save it as UTF-8 CSV") from error
    if not isinstance(frame.index, pd.RangeIndex):
        # pandas would take the first column for row names and shift all others
        raise ManifestError(f"{path.name} has more cells in a row than in its header; remove the surplus commas")
    return frame


def clean_text(given: pd.Series) -> pd.Series:
    """Stripped text, `None` where empty; whatever the dtype (pandas 2 and 3 differ in it)."""
    text = given.astype(object).where(given.notna(), "").astype(str).str.strip().astype(object)
    return text.where(text != "", None)


def convert_numbers(frame: pd.DataFrame) -> Iterable[Fault]:
    """Turn the columns of numbers that a table has into floats, in place; yields a fault for each that is none."""
    for column, (low, high) in NUMERIC.items():
        if column not in frame:
            continue
        given = frame[column]
        present = given.notna() & (given.astype(str).str.strip() != "")
        numbers = pd.to_numeric(given.where(present), errors="coerce")
        bad = present & ~numbers.between(low, high)
        if bad.any():
            yield Fault(f"{column} must be a number from {low:g} to {high:g}", bad, given)
        frame[column] = numbers.astype(float)


def _faults(frame: pd.DataFrame) -> Iterable[Fault]:
    no_path = frame["path"].isna()
    if no_path.any():
        yield Fault("path is empty", no_path)
    exists = {p: Path(p).is_file() for p in frame["path"].dropna().unique()}
    missing = ~no_path & ~frame["path"].isin([p for p, is_file in exists.items() if is_file])
    if missing.any():
        yield Fault("file not found", missing, frame["path"])
    half = frame["x"].isna() != frame["y"].isna()
    if half.any():
        yield Fault("x and y must be given together", half)
    duplicate = frame.duplicated(["path", "x", "y"]) & ~no_path
    if duplicate.any():
        yield Fault("the same tile is listed twice", duplicate, frame["path"])
    yield from value_faults(frame)
    yield from split_faults(frame)


def value_faults(frame: pd.DataFrame) -> Iterable[Fault]:
    """A fault for each column that a table has with a value that is not allowed in it."""
    for column, allowed in ALLOWED.items():
        if column not in frame:
            continue
        bad = frame[column].notna() & ~frame[column].isin(allowed)
        if bad.any():
            yield Fault(f"{column} must be one of {', '.join(allowed)}", bad, frame[column], allowed)


def split_faults(frame: pd.DataFrame) -> Iterable[Fault]:
    """Patients, slides, and unsplit regions, must not straddle splits; a row without a split is a training row."""
    if frame["split"].isna().all():
        return
    given = frame.assign(split=frame["split"].fillna("train"))
    for column, noun in (("patient_id", "a patient"), ("slide", "a slide"), ("path", "an image")):
        if column not in frame:
            continue
        known = given.dropna(subset=[column])
        num_splits = known.groupby(column)["split"].nunique()
        mixed = num_splits.index[num_splits > 1]
        if len(mixed):
            rows, some = frame[column].isin(mixed), ", ".join(map(str, mixed[:3]))
            unsplit = " (a row without a split is a training row)" if (rows & frame["split"].isna()).any() else ""
            yield Fault(f"{noun} must be in one split only, but {some} is in several{unsplit}", rows)


def describe_rows(mask: pd.Series, given: pd.Series | None = None) -> str:
    """`rows 3, 8 … (12 in all), e.g. 'Mayo'`, counted from 1."""
    numbers = [i + 1 for i, bad in enumerate(mask) if bad]
    shown = ", ".join(map(str, numbers[:ROWS_SHOWN]))
    more = f" … ({len(numbers)} in all)" if len(numbers) > ROWS_SHOWN else ""
    example = f", e.g. {given.iloc[numbers[0] - 1]!r}" if given is not None else ""
    return f"{'row' if len(numbers) == 1 else 'rows'} {shown}{more}{example}"


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
