"""Which tiles a study shows. Run: pytest tests/services/test_study_plan.py"""

from collections import Counter

import pandas as pd
import pytest

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.review.blinding import PAIRS, PRACTICE, REPEATS, TILES
from medi_core.review.study import StudyDesign
from medi_core.services.study_plan import plan_study

BREAST, LUNG = "Breast_invasive_carcinoma", "Lung_adenocarcinoma"


def real_tiles(num_a_cell: int = 40) -> pd.DataFrame:
    """Tiles of 10 patients a cell, half of them held out."""
    rows = [
        {
            **{"cancer_type": cancer_type, "center": center, "patient_id": f"{center}-{i % 10}"},
            **{"split": "test" if i % 2 else "train", "origin": None},
        }
        for cancer_type, center in ((BREAST, "Lyon"), (BREAST, "Paris"), (LUNG, "Rome"), (LUNG, "Lyon"))
        for i in range(num_a_cell)
    ]
    return pd.DataFrame(rows)


def design(**given) -> StudyDesign:
    return StudyDesign(**{"name": "A", "tasks": ("realism",), "share_real": 0} | given)


def tiles_of(plan, block):
    return [item.tiles[0] for item in plan if item.block == block]


def test_the_plan_is_a_function_of_design_and_manifest(toy_vocabulary):
    wanted = design(share_real=0.5, num_repeats=5)
    assert plan_study(wanted, toy_vocabulary, real_tiles()) == plan_study(wanted, toy_vocabulary, real_tiles())
    assert plan_study(design(seed=1), toy_vocabulary, None) != plan_study(design(), toy_vocabulary, None)


@pytest.mark.parametrize("num_tiles", [8, 40, 41])
def test_real_and_synthetic_are_balanced_within_every_cancer_type_and_center(toy_vocabulary, num_tiles):
    plan = plan_study(design(share_real=0.5, num_tiles=num_tiles), toy_vocabulary, real_tiles())
    counts = Counter((tile.cell, tile.origin) for tile in tiles_of(plan, TILES))
    assert sum(counts.values()) == num_tiles
    for cell in {cell for cell, _ in counts}:
        assert abs(counts[cell, "real"] - counts[cell, "synthetic"]) <= 1
    assert abs(sum(n if kind == "real" else -n for (_, kind), n in counts.items())) <= 1


def test_no_tile_comes_twice_but_repeats_and_practice_is_outside_the_study(toy_vocabulary):
    plan = plan_study(design(share_real=0.5, num_repeats=6), toy_vocabulary, real_tiles())
    shown, practice = tiles_of(plan, TILES), tiles_of(plan, PRACTICE)
    assert len(set(shown)) == 40
    assert len(set(practice)) == 4
    assert not {tile.row for tile in practice if tile.row is not None} & {tile.row for tile in shown}
    assert not {tile.seed for tile in practice} & {tile.seed for tile in shown}
    repeats = tiles_of(plan, REPEATS)
    assert len(set(repeats)) == 6
    assert set(repeats) <= set(shown)


def test_real_tiles_come_from_many_patients_and_from_held_out_ones_first(toy_vocabulary):
    manifest = real_tiles()
    plan = plan_study(design(share_real=0.5, num_tiles=40, num_practice=0), toy_vocabulary, manifest)
    chosen = manifest.loc[[tile.row for tile in tiles_of(plan, TILES) if tile.row is not None]]
    assert set(chosen["split"]) == {"test"}
    assert chosen.groupby(["cancer_type", "center"])["patient_id"].nunique().min() == 5, "all held-out patients"


def test_pairs_are_two_centers_of_one_type_from_the_same_noise(toy_vocabulary):
    wanted = design(tasks=("center_pair",), num_pairs=30)
    pairs = [item for item in plan_study(wanted, toy_vocabulary, None) if item.block == PAIRS]
    assert len(pairs) == 30
    for left, right in (item.tiles for item in pairs):
        assert left.cell[0] == right.cell[0]
        assert left.cell[1] != right.cell[1]
        assert left.seed == right.seed
    assert 5 < sum(item.asked_side for item in pairs) < 25


def test_chosen_centers_are_crossed_with_chosen_types_even_where_never_seen(toy_vocabulary):
    wanted = design(cancer_types=(LUNG,), centers=("Paris", "Rome"), num_tiles=10)
    cells = {tile.cell for tile in tiles_of(plan_study(wanted, toy_vocabulary, None), TILES)}
    assert cells == {(LUNG, "Paris"), (LUNG, "Rome")}


def test_what_cannot_be_drawn_is_explained(toy_vocabulary):
    with pytest.raises(InvalidRequestError, match="none is attached"):
        plan_study(design(share_real=0.5), toy_vocabulary, None)
    with pytest.raises(TooFewTilesError, match="not enough real tiles of"):
        plan_study(design(share_real=0.5), toy_vocabulary, real_tiles(3))
    with pytest.raises(InvalidRequestError, match="Londn is not known"):
        plan_study(design(centers=("Londn",)), toy_vocabulary, None)
    with pytest.raises(InvalidRequestError, match="at least 2 cancer types"):
        plan_study(design(tasks=("cancer_type",), cancer_types=(LUNG,)), toy_vocabulary, None)
    with pytest.raises(InvalidRequestError, match="two centers"):
        plan_study(design(tasks=("center_pair",), cancer_types=(LUNG,), centers=("Rome",)), toy_vocabulary, None)
