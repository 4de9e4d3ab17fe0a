"""Columns are guessed by their names, each once, and ours win."""

import pytest

from medi_core.data.column_names import SYNONYMS, guess_columns
from medi_core.data.manifest import COLUMNS


@pytest.mark.parametrize(
    ("theirs", "ours"), [("Patient ID", "patient_id"), ("SEX", "gender"), ("Centre", "center"), ("file_name", "path")]
)
def test_usual_names_are_recognised(theirs, ours):
    assert guess_columns([theirs, "whatever"], COLUMNS) == {ours: theirs}


def test_our_own_name_wins_and_nothing_is_used_twice():
    found = guess_columns(["site", "center", "label", "class"], COLUMNS)
    assert found["center"] == "center"
    assert found["cancer_type"] == "label"
    assert len(set(found.values())) == len(found)


def test_synonyms_belong_to_columns_of_a_manifest():
    assert set(SYNONYMS) <= set(COLUMNS)
