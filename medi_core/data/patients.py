"""Whose tile is it: what a resampling must keep together. Knows columns of metadata and nothing else of a tile."""

import pandas as pd


def patients_of(tiles: pd.DataFrame) -> pd.Series:
    """Whom a tile is like: its patient or, if not recorded, its slide or data set; never missing.

    Args:
        tiles: rows with `patient_id`, `slide` and `dataset`.
    """
    whom = tiles["patient_id"].astype(object)
    for name in ("slide", "dataset"):
        whom = whom.where(whom.notna(), tiles[name])
    return whom.where(whom.notna(), "not recorded")
