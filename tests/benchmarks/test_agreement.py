"""Variance within cells is that of generated tiles over that of real ones of the same pair."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.agreement import MIN_REAL, beside_real, variance_within_cells
from medi_core.data.reference_set import COLUMNS, ReferenceSet


def rows(origin: str, group: str, cancer_type: str, num: int) -> pd.DataFrame:
    known = {"origin": origin, "group": group, "cancer_type": cancer_type, "center": "A"}
    return pd.DataFrame([known] * num).reindex(columns=list(COLUMNS))


def test_a_share_of_the_real_variance_whatever_the_mean_and_few_real_tiles_do_not_count():
    rng = np.random.default_rng(0)
    tiles = pd.concat(
        [rows("real", "real", "X", 400), rows("synthetic", "seen", "X", 400), rows("real", "real", "Y", MIN_REAL - 1)],
        ignore_index=True,
    )
    stored = rng.normal(size=(len(tiles), 4)).astype(np.float32)
    reference = ReferenceSet(tiles, stored, {})
    asked = pd.concat([rows("synthetic", "seen", "X", 400), rows("synthetic", "rare", "Y", 400)])
    half = rng.normal(loc=9, scale=0.5, size=(800, 4)).astype(np.float32)
    compared = beside_real(reference, asked, half)
    assert len(compared.tiles) == 400 + MIN_REAL - 1 + 800, "the set's own generated tiles are left out"
    share, num_pairs = variance_within_cells(compared)
    assert num_pairs == 1
    assert share == pytest.approx(0.25, abs=0.04)
