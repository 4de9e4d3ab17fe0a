"""Which tiles a study shows. Run: pytest tests/services/test_study_plan.py"""

from collections import Counter

import pandas as pd
import pytest

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metadata.vocabulary import Support, Vocabulary, pair_key
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
            **{"slide": None, "path": f"{cancer_type}-{center}-{i}.png"},
        }
        for cancer_type, center in ((BREAST, "Lyon"), (BREAST, "Paris"), (LUNG, "Rome"), (LUNG, "Lyon"))
        for i in range(num_a_cell)
    ]
    return pd.DataFrame(rows)


def tiles_of_types(num_types: int) -> tuple[pd.DataFrame, Vocabulary]:
    """30 patients a cell, two centers a cancer type, and a vocabulary that knows just these."""
    rows = [
        {
            "cancer_type": f"Type_{i}",
            "center": center,
            "patient_id": f"{i}-{center}-{j}",
            "split": "test",
            "path": "",
            "slide": None,
        }
        for i in range(num_types)
        for center in ("Lyon", "Paris")
        for j in range(30)
    ]
    names = tuple(f"Type_{i}" for i in range(num_types))
    values = {"cancer_type": names, "center": ("Lyon", "Paris")}
    support = {name: dict.fromkeys(known, Support(60, 30)) for name, known in values.items()}
    pairs = {pair_key(name, center): Support(30, 30) for name in names for center in values["center"]}
    return pd.DataFrame(rows).assign(origin=None), Vocabulary(values, {}, support, pairs, Support(60, 60))


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


@pytest.mark.parametrize("share_real", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("num_types", [2, 3, 4])
@pytest.mark.parametrize("num", [8, 17, 40])
def test_the_cancer_type_does_not_tell_the_origin(share_real, num_types, num):
    manifest, vocabulary = tiles_of_types(num_types)
    given = {"share_real": share_real, "num_tiles": num, "num_pairs": num, "num_practice": 0}
    plan = plan_study(design(tasks=("realism", "center_pair"), **given), vocabulary, manifest)
    for block in (TILES, PAIRS):
        shown = [item.tiles[0] for item in plan if item.block == block]
        assert len(shown) == num
        for cancer_type in {tile.cell[0] for tile in shown}:
            assert {tile.origin for tile in shown if tile.cell[0] == cancer_type} == {"real", "synthetic"}
        if num == 40:
            assert len({tile.cell[0] for tile in shown}) == num_types
            assert abs(sum(tile.origin == "real" for tile in shown) - share_real * num) <= num_types / 2


def test_practice_shows_no_patient_of_the_study(toy_vocabulary):
    manifest = real_tiles()
    manifest["patient_id"] = manifest["cancer_type"] + manifest["patient_id"]
    wanted = design(tasks=("realism", "center_pair"), share_real=0.5, num_pairs=6)
    patients = {PRACTICE: set(), TILES: set(), PAIRS: set()}
    for item in plan_study(wanted, toy_vocabulary, manifest):
        patients[item.block] |= {manifest["patient_id"][tile.row] for tile in item.tiles if tile.row is not None}
    assert patients[PRACTICE]
    assert not patients[PRACTICE] & (patients[TILES] | patients[PAIRS])
    with pytest.raises(TooFewTilesError, match="no patient is left for practice"):
        plan_study(design(share_real=0.5), toy_vocabulary, manifest.assign(patient_id="one"))
    assert plan_study(design(share_real=0.5, num_practice=0), toy_vocabulary, manifest.assign(patient_id="one"))


def test_without_chosen_types_those_of_the_real_tiles_are_drawn(toy_vocabulary):
    lung_alone = real_tiles()[lambda rows: rows["cancer_type"] == LUNG]
    for centers in ((), ("Rome", "Lyon")):
        plan = plan_study(design(share_real=0.5, centers=centers), toy_vocabulary, lung_alone)
        assert {tile.cell[0] for tile in tiles_of(plan, TILES)} == {LUNG}
    with pytest.raises(InvalidRequestError, match="none of the attached real tiles is of a cancer type"):
        plan_study(design(share_real=0.5), toy_vocabulary, lung_alone.assign(cancer_type="Unheard_of"))


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
