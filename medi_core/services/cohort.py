"""One's own cohort: an uploaded zip of images and a table → rows that can be used, and a report on all others.

Everything stays in a folder of the caller's, who deletes it. Knows no widgets, and no model but its vocabulary.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from medi_core.data.column_names import guess_columns
from medi_core.data.import_table import resolve_columns
from medi_core.data.manifest import COLUMNS, Fault, check_manifest, describe_rows, summarize_manifest
from medi_core.data.patients import patients_of
from medi_core.data.safe_zip import unpack_zip
from medi_core.data.uploaded_rows import measure_tiles, read_bounded_table, require_inside
from medi_core.errors import ManifestError
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.services.attached_tiles import AttachedTiles

OFFERED = tuple(name for name in COLUMNS if name not in ("origin", "checkpoint", "seed", "requested", "source"))
"""Columns of a manifest that a table of real tiles may be mapped to."""
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Upload:
    """A zip, unpacked; nothing in it is checked but its bounds."""

    name: str
    folder: Path
    csv: Path
    table: pd.DataFrame = field(repr=False)
    """As it was given: all cells text."""

    def guess(self) -> dict[str, str]:
        """Ours → the table's columns, by their names."""
        return {ours: theirs for ours, theirs in guess_columns(list(self.table), COLUMNS).items() if ours in OFFERED}

    def delete(self) -> None:
        """Delete all of it; the session is over, or has another one."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class UnknownValue:
    """A value that the checkpoint cannot be asked for."""

    attribute: str
    value: str
    num_tiles: int
    num_patients: int
    close: tuple[str, ...]
    """Values it knows that are spelled alike, most alike first."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """The tiles of one visitor that can be used."""

    name: str
    tiles: pd.DataFrame = field(repr=False)
    """Rows of a manifest, `path` absolute, stains measured where not given (NaN: too little tissue)."""
    digests: tuple[str, ...] = field(repr=False)
    """Content hash of each tile, as the `id` in a reference set; all different."""
    num_given: int
    """Rows of the table, those left out among them."""
    faults: tuple[Fault, ...] = field(repr=False)
    """Why rows were left out, each with the rows of the table."""
    dropped: tuple[str, ...]
    """Columns of the table that were mapped to nothing."""
    unknown: tuple[UnknownValue, ...]
    attached: AttachedTiles = field(repr=False)
    """Its images, for whoever shows a real tile."""

    @property
    def num_patients(self) -> int:
        """Tiles without a patient count as one patient a slide, or a data set."""
        return int(patients_of(self.tiles).nunique())

    def new_centers(self) -> list[UnknownValue]:
        """Centers that the checkpoint does not know."""
        return [unknown for unknown in self.unknown if unknown.attribute == "center"]


def cohort_report(cohort: Cohort) -> dict[str, Any]:
    """What can be used, and what cannot and why, as plain JSON."""
    faults = [
        {"what": fault.what, "rows": int(fault.rows.sum()), "where": describe_rows(fault.rows, fault.given)}
        for fault in cohort.faults
    ]
    return {
        "name": cohort.name,
        "rows_given": cohort.num_given,
        "dropped_columns": list(cohort.dropped),
        "faults": faults,
        "unknown_values": [asdict(unknown) | {"close": list(unknown.close)} for unknown in cohort.unknown],
        **summarize_manifest(cohort.tiles),
        "patients": cohort.num_patients,
    }


class CohortService:
    """Uploads and their checks; keeps none of them.

    Args:
        vocabulary: of the loaded checkpoint.
        attached: real tiles of the app, shown beside a visitor's own.
    """

    def __init__(self, vocabulary: Vocabulary, attached: AttachedTiles) -> None:
        self.vocabulary, self._attached = vocabulary, attached

    def unpack(self, path: Path, folder: Path, name: str | None = None) -> Upload:
        """Unpack a zip and read its table.

        Args:
            path: the zip.
            folder: an empty folder of the caller's, who also deletes it, whatever comes of this.
            name: what the zip is called, if its path does not say.

        Raises:
            ManifestError: the zip, or the table, is refused or too large.
            StorageError: no room on the disk.
        """
        csv = unpack_zip(path, folder).resolve()
        return Upload(name or path.name, folder.resolve(), csv, read_bounded_table(csv))

    def check(self, upload: Upload, column_of: Mapping[str, str], on_progress: OnProgress = lambda *_: None) -> Cohort:
        """The rows that can be used, and why the others cannot.

        Args:
            column_of: ours → the table's; `path` is needed.
            on_progress: called with (tiles read, tiles in all).

        Raises:
            ManifestError: no such column, or no row is left.
        """
        theirs = {column: ours for ours, column in column_of.items()}
        if len(theirs) < len(column_of):
            twice = sorted(column for column in theirs if list(column_of.values()).count(column) > 1)
            raise ManifestError(f"{', '.join(twice)} is chosen for several columns: choose another one, or none")
        resolve_columns(list(upload.table), theirs, upload.csv.name)
        frame = pd.DataFrame({ours: upload.table[column] for ours, column in column_of.items()})
        require_inside(frame["path"], upload.name)
        frame, faults = check_manifest(frame, upload.csv.parent, upload.csv.name)
        tiles, digests, bad_images = measure_tiles(frame[~_any(faults, frame.index)], on_progress)
        faults = [_told(fault, frame.index, upload.folder) for fault in (*faults, *bad_images)]
        if tiles.empty:
            raise ManifestError(
                f"none of the {len(frame):,} rows of {upload.csv.name} can be used: " + "; ".join(map(str, faults))
            )
        tiles = tiles.assign(origin="real").reset_index(drop=True)
        attached = AttachedTiles(besides=self._attached)
        attached.learn(tiles)
        return Cohort(
            name=upload.name,
            tiles=tiles,
            digests=tuple(digests),
            num_given=len(frame),
            faults=tuple(faults),
            dropped=tuple(column for column in upload.table if column not in theirs),
            unknown=tuple(unknown_values(tiles, self.vocabulary)),
            attached=attached,
        )


def unknown_values(tiles: pd.DataFrame, vocabulary: Vocabulary) -> Iterator[UnknownValue]:
    """Values of the vocabulary's named attributes that are not among its values; most tiles first an attribute."""
    patients = patients_of(tiles)
    for name in vocabulary.attributes:
        if name in vocabulary.bin_edges:
            continue
        counts = tiles[name].dropna().value_counts()
        for value in counts.index[~counts.index.isin(vocabulary.values[name])]:
            rows = tiles[name] == value
            close = tuple(vocabulary.close_values(name, value))
            yield UnknownValue(name, value, int(counts[value]), int(patients[rows].nunique()), close)


def _any(faults: Iterable[Fault], index: pd.Index) -> pd.Series:
    bad = pd.Series(False, index=index)
    for fault in faults:
        bad |= fault.rows
    return bad


def _told(fault: Fault, index: pd.Index, folder: Path) -> Fault:
    """With a row for each of the table's, and without the folder that we chose: the visitor knows nothing of it."""
    ours = f"{folder}{os.sep}"
    given = None if fault.given is None else fault.given.map(lambda cell: str(cell).replace(ours, ""))
    rows, given = fault.rows.reindex(index, fill_value=False), None if given is None else given.reindex(index)
    return replace(fault, what=fault.what.replace(ours, ""), rows=rows, given=given)
