"""Whose tile is it: what a resampling must keep together. Knows columns of metadata and nothing else of a tile."""

import numpy as np
import pandas as pd

from medi_core.data.manifest import HELD_OUT_SPLITS


def patients_of(tiles: pd.DataFrame) -> pd.Series:
    """Whom a tile is like: its patient or, if not recorded, its slide or data set; never missing.

    Args:
        tiles: rows with `patient_id`, `slide` and `dataset`.
    """
    whom = tiles["patient_id"].astype(object)
    for name in ("slide", "dataset"):
        whom = whom.where(whom.notna(), tiles[name])
    return whom.where(whom.notna(), "not recorded")


def held_out_patients(manifest: pd.DataFrame) -> dict[str, list[str]]:
    """Split → whom a training on this manifest never sees, sorted; plain JSON, for a checkpoint's record.

    A slide or data set that stands in for patients who are not recorded is left out where training rows share it.
    """
    split, whom = manifest["split"].fillna("train"), patients_of(manifest).astype(str)
    seen = set(whom[split == "train"])
    return {name: sorted(set(whom[split == name]) - seen) for name in HELD_OUT_SPLITS}


def in_turns(tiles: pd.DataFrame, keys: list[str], random_state: int | np.random.Generator) -> pd.DataFrame:
    """Tiles in random order, but no second one of a group before a first one of all.

    Args:
        tiles: any rows.
        keys: columns that name the group, e.g. one that holds `patients_of`; none of them missing.
        random_state: of the order, as pandas takes it.
    """
    shuffled = tiles.sample(frac=1, random_state=random_state)
    turn = shuffled.groupby(keys).cumcount()
    return shuffled.loc[turn.sort_values(kind="stable").index]
