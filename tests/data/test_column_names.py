"""Columns are guessed by their names, each once; a column with our name is always taken for it."""

import pytest

from medi_core.data.column_names import SYNONYMS, guess_columns
from medi_core.data.manifest import COLUMNS


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        *(("Image Path", "path"), ("FILENAME", "path"), ("hospital", "center"), ("Tumour-Type", "cancer_type")),
        *(("case_id", "patient_id"), ("slide_id", "slide"), ("sex", "gender"), ("license", "licence")),
    ],
)
def test_usual_names_are_understood_whatever_their_spelling(theirs, ours):
    assert guess_columns([theirs]) == {ours: theirs}


def test_our_own_name_wins_and_no_column_is_used_twice():
    assert guess_columns(["hospital", "center"]) == {"center": "center"}
    guessed = guess_columns(["site", "hospital", "file", "image"])
    assert guessed == {"path": "file", "center": "hospital"}
    assert len(set(guessed.values())) == len(guessed)


def test_other_columns_are_left_alone():
    assert guess_columns(["remarks", "", "#"]) == {}


def test_a_name_means_one_column_of_a_manifest():
    names = [name for others in SYNONYMS.values() for name in others]
    assert len(set(names)) == len(names)
    assert set(SYNONYMS) <= set(COLUMNS)
