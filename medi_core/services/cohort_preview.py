"""What a cohort is made of: tiles and patients by subgroup, with a few tiles of each to look at. Knows no widgets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medi_core.data.patients import in_turns, patients_of
from medi_core.data.tile_dataset import STAINS, read_grid_tile, read_image
from medi_core.errors import InvalidRequestError
from medi_core.metadata.schema import ATTRIBUTES
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.services.cohort import Cohort
from medi_core.services.subgroup_columns import subgroup_columns

BY = (*(attribute.name for attribute in ATTRIBUTES), "tissue", "dataset", "split")
NOT_RECORDED = "not recorded"
TILES_A_SUBGROUP, SUBGROUPS_SHOWN = 4, 30
SEED = 0
"""Of the tiles that are shown."""


@dataclass(frozen=True)
class SubgroupPreview:
    """One subgroup of a cohort."""

    values: tuple[str, ...]
    """One a column, `not recorded` where there is none; numbers as bins."""
    num_tiles: int
    num_patients: int
    tiles: tuple[np.ndarray, ...]
    """uint8 `(H, W, 3)` each, of different patients where there are several; of the largest subgroups only."""


def recorded(cohort: Cohort) -> list[str]:
    """Of `BY`, what is recorded for some tile."""
    return [name for name in BY if cohort.tiles[name].notna().any()]


def cohort_columns(tiles: pd.DataFrame, by: Sequence[str], vocabulary: Vocabulary) -> pd.DataFrame:
    """Text of the columns `by`, object `(N, A)`: numbers fall into the checkpoint's bins, where it has any.

    Raises:
        InvalidRequestError: a column that there is none of, or one twice.
    """
    if unknown := [name for name in by if name not in BY]:
        raise InvalidRequestError(f"by {', '.join(unknown)}: it must be made of {', '.join(BY)}")
    columns = subgroup_columns(tiles, by, tiles)
    for name in by:
        if vocabulary.bin_edges.get(name):
            columns[name] = tiles[name].map(
                lambda number, name=name: vocabulary.label(name, vocabulary.bin_of(name, number)), na_action="ignore"
            )
    return columns.astype(object).where(columns.notna(), NOT_RECORDED)


def preview(cohort: Cohort, by: Sequence[str], vocabulary: Vocabulary) -> list[SubgroupPreview]:
    """The subgroups by one column or the crossing of several, most tiles first.

    Raises:
        InvalidRequestError: as `cohort_columns`, or no column at all.
        ManifestError: an image is gone.
    """
    if not by:
        raise InvalidRequestError("choose what subgroups are made of")
    tiles = cohort.tiles
    columns = cohort_columns(tiles, by, vocabulary)
    patient = patients_of(tiles)
    found = []
    groups = sorted(columns.groupby(list(by)).groups.items(), key=lambda item: (-len(item[1]), str(item[0])))
    for values, rows in groups:
        shown = _examples(tiles.loc[rows], patient[rows]) if len(found) < SUBGROUPS_SHOWN else ()
        names = values if isinstance(values, tuple) else (values,)
        found.append(SubgroupPreview(tuple(map(str, names)), len(rows), int(patient[rows].nunique()), shown))
    return found


def stain_bins(cohort: Cohort, vocabulary: Vocabulary) -> pd.DataFrame:
    """How the measured stains fall into the checkpoint's bins: attribute, value, n, n_patients, by bin.

    A tile with too little tissue has no stain, and is `not recorded`.
    """
    rows = []
    for name in (name for name in STAINS if vocabulary.bin_edges.get(name)):
        column = cohort_columns(cohort.tiles, [name], vocabulary)[name]
        for value in (*(vocabulary.label(name, value) for value in vocabulary.values[name]), NOT_RECORDED):
            inside = column == value
            rows.append((name, value, int(inside.sum()), int(patients_of(cohort.tiles[inside]).nunique())))
    return pd.DataFrame(rows, columns=["attribute", "value", "n", "n_patients"])


def _examples(tiles: pd.DataFrame, patient: pd.Series) -> tuple[np.ndarray, ...]:
    chosen = in_turns(tiles.assign(patient=patient), ["patient"], SEED).head(TILES_A_SUBGROUP)
    return tuple(read_grid_tile(row, read_image(row["path"])) for _, row in chosen.iterrows())
