"""Examples of a center beside a pair. Run: pytest tests/services/test_study_examples.py"""

import pytest

from medi_core.review.blinding import PAIRS, PRACTICE
from medi_core.services.study_examples import plan_examples
from medi_core.services.study_plan import plan_study, rows_of
from tests.services.test_study_plan import design, real_tiles


@pytest.fixture
def manifest():
    """Tiles of 40 patients a cell, none of whom has tiles in another."""
    rows = real_tiles()
    return rows.assign(patient_id=[f"P{i}" for i in range(len(rows))])


def asked_cells(plan) -> set:
    return {
        item.tiles[item.asked_side].cell
        for item in plan
        if item.block in (PAIRS, PRACTICE) and item.asked_side is not None
    }


def test_examples_are_of_the_cell_asked_about_and_of_patients_outside_the_study(toy_vocabulary, manifest):
    wanted = design(tasks=("realism", "center_pair"), share_real=0.5, num_pairs=8, num_tiles=16)
    plan = plan_study(wanted, toy_vocabulary, manifest)
    examples = plan_examples(wanted, plan, manifest)
    assert examples.keys() == asked_cells(plan)
    for cell, tiles in examples.items():
        assert [tile.origin for tile in tiles] == ["real"] * 3
        assert {tuple(manifest.loc[tile.row, ["cancer_type", "center"]]) for tile in tiles} == {cell}
    shown = [tile.row for tiles in examples.values() for tile in tiles]
    assert len(set(manifest["patient_id"][shown])) == len(shown)
    assert not set(manifest["patient_id"][shown]) & set(manifest["patient_id"][rows_of(plan)])


def test_where_patients_are_not_recorded_no_example_is_of_a_slide_of_the_study(toy_vocabulary, manifest):
    slides = manifest.assign(patient_id=None, slide=[f"S{i // 4}" for i in range(len(manifest))])
    wanted = design(tasks=("realism", "center_pair"), share_real=0.5, num_pairs=8, num_tiles=16)
    plan = plan_study(wanted, toy_vocabulary, slides)
    tiles = [tile for its in plan_examples(wanted, plan, slides).values() for tile in its]
    real = [tile.row for tile in tiles if tile.origin == "real"]
    assert real
    assert not set(slides["slide"][real]) & set(slides["slide"][rows_of(plan)])


def test_they_are_real_where_tiles_are_attached_though_the_study_itself_has_none(toy_vocabulary, manifest):
    wanted = design(tasks=("center_pair",), num_pairs=8)
    tiles = plan_examples(wanted, plan_study(wanted, toy_vocabulary, None), manifest)
    origins = {tile.origin for its in tiles.values() for tile in its}
    assert len(origins) == 1, "one kind in a study"
    known = {tuple(row) for row in manifest[["cancer_type", "center"]].to_numpy()}
    assert origins == ({"real"} if tiles.keys() <= known else {"synthetic"})


@pytest.mark.parametrize("attached", ["none", "one patient"])
def test_without_real_tiles_of_other_patients_all_are_synthetic_with_seeds_of_their_own(
    toy_vocabulary, manifest, attached
):
    real = None if attached == "none" else manifest.assign(patient_id="one")
    wanted = design(tasks=("center_pair",), share_real=0 if real is None else 0.5, num_pairs=6, num_practice=0)
    plan = plan_study(wanted, toy_vocabulary, real)
    examples = [tile for tiles in plan_examples(wanted, plan, real).values() for tile in tiles]
    assert {tile.origin for tile in examples} == {"synthetic"}
    seeds = {tile.seed for tile in examples}
    assert len(seeds) == len(examples)
    assert not seeds & {tile.seed for item in plan for tile in item.tiles}


def test_none_are_drawn_where_none_are_wanted_or_no_pair_is_asked(toy_vocabulary, manifest):
    for wanted in (design(tasks=("center_pair",), num_examples=0), design(tasks=("realism",))):
        assert plan_examples(wanted, plan_study(wanted, toy_vocabulary, None), manifest) == {}
