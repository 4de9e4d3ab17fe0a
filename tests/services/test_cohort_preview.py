"""Subgroups of a cohort add up to it, and its stains fall into the checkpoint's bins."""

import numpy as np
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.services.attached_tiles import AttachedTiles
from medi_core.services.cohort import Cohort, CohortService
from medi_core.services.cohort_preview import NOT_RECORDED, TILES_A_SUBGROUP, preview, recorded, stain_bins
from tests.toy_upload import NUM_GOOD, write_cohort


@pytest.fixture
def cohort(toy_vocabulary, tmp_path) -> Cohort:
    service = CohortService(toy_vocabulary, AttachedTiles())
    upload = service.unpack(write_cohort(tmp_path / "mine.zip"), tmp_path / "session")
    return service.check(upload, upload.guess())


def test_tiles_and_patients_of_a_crossing_are_counted_and_all_tiles_are_in_it(cohort, toy_vocabulary):
    found = preview(cohort, ["cancer_type", "center"], toy_vocabulary)
    assert sum(subgroup.num_tiles for subgroup in found) == NUM_GOOD
    counted = {subgroup.values: (subgroup.num_tiles, subgroup.num_patients) for subgroup in found}
    assert counted["Lung_adenocarcinoma", "Xanadu"] == (2, 2)
    assert len(counted) == 6


def test_what_is_not_recorded_is_a_subgroup_of_its_own(cohort, toy_vocabulary):
    counted = {subgroup.values: subgroup.num_tiles for subgroup in preview(cohort, ["preparation"], toy_vocabulary)}
    assert counted == {("FFPE",): NUM_GOOD - 1, (NOT_RECORDED,): 1}


def test_a_few_tiles_are_shown_of_different_patients(cohort, toy_vocabulary):
    largest = preview(cohort, ["cancer_type"], toy_vocabulary)[0]
    assert len(largest.tiles) == TILES_A_SUBGROUP
    assert all(tile.shape == (128, 128, 3) and tile.dtype == np.uint8 for tile in largest.tiles)
    assert len({tile.tobytes() for tile in largest.tiles}) == TILES_A_SUBGROUP


def test_stains_are_counted_in_the_bins_of_the_checkpoint(cohort, toy_vocabulary):
    bins = stain_bins(cohort, toy_vocabulary)
    for name in ("hematoxylin", "eosin"):
        table = bins[bins["attribute"] == name].set_index("value")
        assert table["n"].sum() == NUM_GOOD
        expected = [toy_vocabulary.label(name, toy_vocabulary.bin_of(name, x)) for x in cohort.tiles[name].dropna()]
        assert all(table.loc[value, "n"] == expected.count(value) for value in set(expected))
    subgroups = preview(cohort, ["eosin"], toy_vocabulary)
    counted = bins[bins["attribute"] == "eosin"].set_index("value")["n"]
    assert {subgroup.values[0]: subgroup.num_tiles for subgroup in subgroups} == counted[counted > 0].to_dict()


def test_only_recorded_columns_are_offered_and_others_refused(cohort, toy_vocabulary):
    assert recorded(cohort) == ["cancer_type", "center", "preparation", "hematoxylin", "eosin"]
    with pytest.raises(InvalidRequestError, match="by path: it must be made of"):
        preview(cohort, ["path"], toy_vocabulary)
    with pytest.raises(InvalidRequestError, match="choose what subgroups"):
        preview(cohort, [], toy_vocabulary)
