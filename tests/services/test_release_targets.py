"""Goals are met by tiles like real ones and missed by others; what cannot be measured says so."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from medi_core.data.reference_set import COLUMNS, ReferenceSet
from medi_core.services.distance_targets import distance_targets
from medi_core.services.probe_targets import copy_targets, probe_targets
from medi_core.services.release_targets import AT_LEAST, AT_MOST, WITHIN, Target, target_table

SEEN = [("lung", "Lyon"), ("lung", "Paris"), ("colon", "Lyon")]
NEVER = ("colon", "Paris")
AXES = {"lung": 0, "colon": 1, "Lyon": 2, "Paris": 3}


def part(cell, num, rng, **facts) -> tuple[pd.DataFrame, np.ndarray]:
    """Tiles that show their cancer type and their center, one a channel, in noise."""
    features = rng.normal(0, 1, (num, 8)) + 5 * np.eye(8)[[AXES[value] for value in cell]].sum(axis=0)
    return pd.DataFrame({"cancer_type": cell[0], "center": cell[1], **facts}, index=range(num)), features


def build(moved: float = 0.0, swapped: bool = False) -> ReferenceSet:
    """Real tiles of 6 patients a cell and split, a never-seen cell in test alone, and synthetic ones of each."""
    rng, parts = np.random.default_rng(0), []
    for cell in [*SEEN, NEVER]:
        for split in ("train", "test"):
            patients = [f"{cell}-{split}-{i % 6}" for i in range(36)]
            if (cell, split) != (NEVER, "train"):
                parts.append(part(cell, 36, rng, origin="real", group="real", split=split, patient_id=patients))
        shown = (cell[0], {"Lyon": "Paris", "Paris": "Lyon"}[cell[1]]) if swapped else cell
        group = "never seen" if cell == NEVER else "seen"
        tiles, features = part(shown, 24, rng, origin="synthetic", group=group, requested="{}")
        parts.append((tiles.assign(center=cell[1]), features + moved))
    tiles = pd.concat([frame for frame, _ in parts], ignore_index=True).reindex(columns=COLUMNS)
    features = np.concatenate([features for _, features in parts]).astype(np.float32)
    return ReferenceSet(tiles, features, {"checkpoint": "toy@1", "encoder": "toy"})


def class_only(num: int = 40) -> ReferenceSet:
    """Tiles of the types, of no center."""
    rng, parts = np.random.default_rng(1), []
    for name in ("lung", "colon"):
        features = rng.normal(0, 1, (num, 8)) + 5 * np.eye(8)[AXES[name]]
        tiles = pd.DataFrame({"cancer_type": name, "origin": "synthetic", "group": "class only"}, index=range(num))
        parts.append((tiles, features))
    tiles = pd.concat([frame for frame, _ in parts], ignore_index=True).reindex(columns=COLUMNS)
    return ReferenceSet(tiles, np.concatenate([f for _, f in parts]).astype(np.float32), {"checkpoint": "class@2"})


def by_name(targets: list[Target]) -> dict[str, Target]:
    return {target.what: target for target in targets}


@pytest.fixture(scope="module")
def good() -> dict[str, Target]:
    return by_name(distance_targets(build(), class_only()))


def test_a_verdict_says_how_far_a_goal_is_missed():
    assert Target("", AT_MOST, 0.75, 0.7).verdict == "met"
    assert Target("", AT_MOST, 0.75, 0.9).verdict == "missed by 0.15"
    assert Target("", AT_LEAST, 0.8, 0.5).verdict == "missed by 0.3"
    assert Target("", WITHIN, 0.1, -0.4).verdict == "missed by 0.3"
    assert Target("", WITHIN, 0.1, -0.05).verdict == "met"
    assert Target("", AT_LEAST, 0.8, 0.85, (0.7, 1.0)).verdict == "met, but the interval holds the goal"
    assert Target("", AT_LEAST, 0.8).verdict == Target("", AT_MOST, float("nan"), 1.0).verdict == "not measured"


def test_tiles_like_real_ones_reach_the_distances_and_cannot_be_told(good):
    for name in ("precision less that of real tiles", "coverage less that of real tiles"):
        assert abs(good[name].value) < 0.2
    assert good["real or synthetic, accuracy of a probe"].verdict.startswith("met")
    assert good["KID, seen and rare pairs"].interval[0] < 0 < good["KID, seen and rare pairs"].interval[1]


def test_tiles_that_lie_elsewhere_miss_them_and_are_told(good):
    far = by_name(distance_targets(build(moved=2.0)))
    assert far["KID, seen and rare pairs"].verdict.startswith("missed by")
    assert far["KID, seen and rare pairs"].value > 10 * abs(good["KID, seen and rare pairs"].value)
    assert far["real or synthetic, accuracy of a probe"].value > 0.9


def test_every_cell_with_five_test_patients_has_a_target_and_one_never_seen_has_none(good):
    cells = {name: t for name, t in good.items() if " at " in name and "never seen" not in name}
    assert set(cells) == {f"KID, {t} at {c}" for t, c in [*SEEN, NEVER]}
    assert cells["KID, colon at Paris"].verdict == "not measured"
    for cancer_type, center in SEEN:
        target = cells[f"KID, {cancer_type} at {center}"]
        assert (target.n, target.n_patients) == (24, 6)
        assert np.isfinite([*target.interval, target.goal]).all()
        assert target.goal >= 0
    few = build()
    few.tiles.loc[few.tiles["split"] == "test", "patient_id"] = "one"
    assert not [t for t in distance_targets(few) if " at " in t.what and "never seen" not in t.what]


def test_a_never_seen_pair_is_read_against_the_nearest_seen_cell_and_a_class_only_checkpoint(good):
    nearest = good["KID, never seen colon at Paris, against the nearest seen cell"]
    assert nearest.verdict == "met"
    assert nearest.note.startswith("nearest of 2: ")
    assert good["KID, never seen colon at Paris, against a class-only checkpoint"].verdict == "met"
    assert good["KID, seen and rare pairs, against a class-only checkpoint"].verdict == "met"


def test_without_a_class_only_checkpoint_nothing_is_measured_against_it():
    alone = [t for t in distance_targets(build()) if "class-only" in t.what]
    assert len(alone) == 2
    assert {t.verdict for t in alone} == {"not measured"}


def test_one_patient_gives_an_interval_over_his_tiles_and_the_row_says_so():
    one = build()
    is_never = (one.tiles["split"] == "test") & (one.tiles["cancer_type"] == "colon") & (one.tiles["center"] == "Paris")
    one.tiles.loc[is_never, "patient_id"] = "one"
    target = by_name(distance_targets(one))["KID, never seen colon at Paris, against the nearest seen cell"]
    assert target.n_patients == 1
    assert "1 patient" in target.note
    assert np.isfinite(target.interval).all()


def test_a_patient_with_nearly_all_tiles_leaves_the_distance_without_an_interval():
    uneven = build()
    is_never = (uneven.tiles["split"] == "test") & (uneven.tiles["cancer_type"] == "colon")
    rows = uneven.tiles.index[is_never & (uneven.tiles["center"] == "Paris")]
    uneven.tiles.loc[rows, "patient_id"] = ["two", *["one"] * (len(rows) - 1)]
    target = by_name(distance_targets(uneven))["KID, never seen colon at Paris, against the nearest seen cell"]
    assert target.n_patients == 2
    assert np.isfinite(target.value)
    assert np.isnan(target.interval).all()


def test_a_floor_of_too_few_tiles_is_called_not_measured():
    few = build()
    is_train = (few.tiles["split"] == "train") & (few.tiles["cancer_type"] == "lung")
    rows = few.tiles.index[is_train & (few.tiles["center"] == "Paris")][4:]
    few.tiles.loc[rows, "split"] = "val"
    target = by_name(distance_targets(few))["KID, lung at Paris"]
    assert target.note == "real, other patients: not measured"
    assert target.verdict == "not measured"


def test_validation_patients_have_no_say():
    reference = build()
    as_validation = reference.tiles.assign(split=reference.tiles["split"].replace("test", "val"))
    targets = distance_targets(dataclasses.replace(reference, tiles=as_validation))
    assert {t.verdict for t in targets if t.rule == AT_MOST} == {"not measured"}


def test_probes_see_what_was_asked_for_or_do_not():
    good, bad = by_name(probe_targets(build())), by_name(probe_targets(build(swapped=True)))
    ratio = "center probe, seen and rare pairs: agreement ÷ that on real tiles"
    assert good[ratio].value == pytest.approx(1, abs=0.1)
    assert good[ratio].n == 72
    assert good[ratio].n_patients == 24
    assert good["cancer type probe, never-seen pairs: agreement"].value > 0.9
    assert bad[ratio].value < 0.1
    assert bad["center probe, never-seen pairs: agreement"].verdict == "missed by 0.7"
    assert good["hematoxylin asked for and measured, Spearman's correlation"].verdict == "not measured"


def test_stains_that_follow_have_their_correlation_and_interval():
    reference = build()
    is_made = reference.tiles["origin"] == "synthetic"
    bins = np.arange(is_made.sum()) % 5 + 1
    asked = [f'{{"metadata": {{"eosin": "{b}"}}}}' for b in bins]
    reference.tiles.loc[is_made, "requested"] = asked
    reference.tiles["eosin"] = reference.tiles["eosin"].astype(float)
    reference.tiles.loc[is_made, "eosin"] = bins + np.random.default_rng(0).normal(0, 0.2, len(bins))
    target = by_name(probe_targets(reference))["eosin asked for and measured, Spearman's correlation"]
    assert target.verdict == "met"
    assert 0.9 < target.interval[0] < target.value < target.interval[1]
    assert target.n == is_made.sum()


def test_copies_are_counted_in_the_whole_bank():
    assert copy_targets(build())[0].verdict == "not measured"
    reference = build()
    is_made, is_test = reference.tiles["origin"] == "synthetic", reference.tiles["split"] == "test"
    reference.tiles.loc[is_test, "window_similarity"] = np.linspace(0.1, 0.5, is_test.sum())
    reference.tiles.loc[is_made, "window_similarity"] = 0.2
    reference.tiles.loc[is_made & (reference.tiles.index % 4 == 0), "window_similarity"] = 0.9
    (target,) = copy_targets(reference)
    assert target.value == pytest.approx(0.25, abs=0.02)
    assert target.interval[0] < target.value < target.interval[1]
    assert (target.n, target.n_patients) == (96, 24)


def test_the_table_has_a_row_a_target(good):
    table = target_table(list(good.values()))
    assert table["target"].tolist() == list(good)
    assert table["verdict"].notna().all()
