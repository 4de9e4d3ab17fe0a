"""Any folder of images and a CSV → the rows of a manifest. Opens no image.

A second table may be joined, e.g. a list of tiles to the metadata of the regions they lie in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from medi_core.data.manifest import COLUMNS, ROWS_SHOWN, read_table, validate_manifest
from medi_core.data.splits import split_by_patient
from medi_core.errors import ManifestError


@dataclass(frozen=True)
class ImportedTable:
    """What became of a table."""

    frame: pd.DataFrame
    """As `read_manifest` returns it, ready for `write_manifest`."""
    dropped: tuple[str, ...]
    """Columns that have no place in a manifest, in the order of the table."""


def import_table(
    csv: str | Path,
    root: str | Path,
    column_map: Mapping[str, str] | None = None,
    join: tuple[str | Path, str] | None = None,
    seed: int = 0,
) -> ImportedTable:
    """Bring a table into the manifest's columns and check every row.

    Args:
        csv: `.csv` or `.parquet`; rows are counted from 1 in messages.
        root: the folder that relative image paths start from.
        column_map: the table's column → ours, e.g. `{"file": "path"}`. Columns that already have one
            of our names need no entry; all others are dropped.
        join: another table and the column that both have; its row is looked up for each row of `csv`.
        seed: of the split by patient that is drawn if the table has none.

    Raises:
        ManifestError: a column, key or value that cannot be used; one message.
    """
    csv = Path(csv)
    table = read_table(csv)
    if join is not None:
        other, key = join
        table = _join(table, csv.name, read_table(Path(other)), Path(other).name, key)
    column_of = resolve_columns(list(table.columns), dict(column_map or {}), csv.name)
    frame = pd.DataFrame({ours: table[theirs] for ours, theirs in column_of.items()})
    frame = validate_manifest(frame, Path(root).resolve(), csv.name)
    if frame["split"].isna().all():
        frame = split_by_patient(frame, seed=seed)
    used = set(column_of.values())
    return ImportedTable(frame, tuple(c for c in table.columns if c not in used))


def _join(table: pd.DataFrame, name: str, other: pd.DataFrame, other_name: str, key: str) -> pd.DataFrame:
    """Each row of `table` with the one row of `other` of the same key; row order is kept."""
    for frame, its_name in ((table, name), (other, other_name)):
        if key not in frame.columns:
            raise ManifestError(f"{its_name} has no column {key!r} to join by; it has: {', '.join(frame.columns)}")
    both = sorted(set(table.columns) & set(other.columns) - {key})
    if both:
        raise ManifestError(f"{name} and {other_name} both have the columns {', '.join(both)}; rename them in one")
    twice = other.loc[other[key].duplicated(), key].unique()
    if len(twice):
        raise ManifestError(f"{other_name} lists {key} {_some(twice)} more than once; the join would be ambiguous")
    absent = table.loc[~table[key].isin(other[key]), key].unique()
    if len(absent):
        raise ManifestError(f"{other_name} has no row with {key} {_some(absent)}, which {name} asks for")
    return table.merge(other, on=key, how="left", validate="many_to_one")


def resolve_columns(
    columns: list[str], column_map: dict[str, str], name: str, required: str = "path"
) -> dict[str, str]:
    """Ours → the table's; an entry of the map wins over a column that merely has our name.

    Raises:
        ManifestError: the map names a column that there is none of, one twice, or nothing is `required`.
    """
    absent = [theirs for theirs in column_map if theirs not in columns]
    if absent:
        raise ManifestError(f"{name} has no column {_some(absent)}; it has: {', '.join(columns)}")
    foreign = [ours for ours in column_map.values() if ours not in COLUMNS]
    if foreign:
        raise ManifestError(f"{_some(foreign)} is no column of a manifest; allowed: {', '.join(COLUMNS)}")
    column_of: dict[str, str] = {}
    for theirs, ours in column_map.items():
        if ours in column_of:
            raise ManifestError(f"{column_of[ours]!r} and {theirs!r} are both mapped to {ours!r}; drop one")
        column_of[ours] = theirs
    for column in columns:
        if column in COLUMNS and column not in column_map:
            column_of.setdefault(column, column)
    if required not in column_of:
        raise ManifestError(f"{name} has no column {required!r}; map one of: {', '.join(columns)}")
    return column_of


def _some(values) -> str:
    shown = ", ".join(repr(str(v)) for v in values[:ROWS_SHOWN])
    return shown + (f" … ({len(values)} in all)" if len(values) > ROWS_SHOWN else "")
