"""What a design may hold. Run: pytest tests/review/test_study.py"""

import json

import pytest

from medi_core.errors import InvalidRequestError
from medi_core.review.checklists import GENERAL, SPECIFIC, checklist_of
from medi_core.review.study import StudyDesign


def test_a_design_survives_json():
    design = StudyDesign("A", ("realism", "origin"), cancer_types=("X",), centers=("Y",), share_real=0.25, seed=7)
    assert StudyDesign.from_dict(json.loads(json.dumps(design.to_dict()))) == design


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "  "}, "the name has 0 characters"),
        ({"tasks": ()}, "give one or more of origin"),
        ({"tasks": ("realism", "taste")}, "tasks = taste"),
        ({"tasks": ("cancer_type", "morphology")}, "two studies"),
        ({"tasks": ("origin",), "share_real": 0}, "needs real tiles"),
        ({"num_tiles": 1}, "num_tiles = 1"),
        ({"share_real": 1.5}, "share_real = 1.5"),
        ({"num_repeats": 41}, "num_repeats = 41"),
        ({"display_px": 10}, "display_px = 10"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_what_makes_no_study_is_named(given, message):
    with pytest.raises(InvalidRequestError, match=message):
        StudyDesign(**{"name": "A", "tasks": ("realism",)} | given)


def test_tasks_are_asked_in_one_order_whatever_the_order_given():
    assert StudyDesign("A", ("comment", "center_pair", "realism")).tile_tasks == ("realism", "comment")


def test_a_checklist_has_no_feature_twice_and_every_type_has_one():
    for cancer_type in (*SPECIFIC, "Unheard_of", None):
        features = checklist_of(cancer_type)
        assert len(set(features)) == len(features)
        assert set(GENERAL) <= set(features)
