"""Whom a tile is like is known of every tile."""

import pandas as pd

from medi_core.data.patients import patients_of


def test_a_tile_without_a_patient_is_like_its_slide_and_without_that_like_its_data_set():
    tiles = pd.DataFrame(
        {
            "patient_id": ["P1", None, None, float("nan")],
            "slide": ["S1", "S2", None, None],
            "dataset": ["d", "d", "d", None],
        }
    )
    assert patients_of(tiles).tolist() == ["P1", "S2", "d", "not recorded"]
