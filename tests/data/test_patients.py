"""Whom a tile is like is known of every tile."""

import pandas as pd

from medi_core.data.patients import held_out_patients, patients_of


def test_a_tile_without_a_patient_is_like_its_slide_and_without_that_like_its_data_set():
    tiles = pd.DataFrame(
        {
            "patient_id": ["P1", None, None, float("nan")],
            "slide": ["S1", "S2", None, None],
            "dataset": ["d", "d", "d", None],
        }
    )
    assert patients_of(tiles).tolist() == ["P1", "S2", "d", "not recorded"]


def test_held_out_patients_are_those_of_no_training_row():
    tiles = pd.DataFrame(
        {
            "patient_id": ["P1", "P2", "P3", None, None, None],
            "slide": None,
            "dataset": ["d", "d", "d", "shared", "shared", "own"],
            "split": ["train", "val", "test", None, "test", "test"],
        }
    )
    assert held_out_patients(tiles) == {"val": ["P2"], "test": ["P3", "own"]}
