"""Filling missing cells helps where a center gives the class away, if the tiles show the class; the books are kept."""

import argparse
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medi_core.commands.experiment import add_experiment_commands
from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.services.experiment import ExperimentService, run_experiment
from medi_core.services.experiment_config import (
    ADDING,
    ARMS,
    CORRELATION,
    DUPLICATED,
    JITTERED,
    LEAVE_ONE_OUT,
    LOW_DATA,
    MEDI,
    NEIGHBOURS,
    PRESETS,
    RARE_CENTER,
    REAL,
    SHORTCUT,
    ExperimentConfig,
)
from medi_core.services.experiment_result import WORST
from medi_core.services.experiment_robustness import FEATURES, robustness_by_arm
from tests.toy_experiment import CENTERS, TYPES, build_toy_reference

SHORTCUT_CONFIG = ExperimentConfig(TYPES, SHORTCUT, num_seeds=3)


@pytest.fixture(scope="module")
def reference():
    return build_toy_reference()


@pytest.fixture(scope="module")
def shortcut(reference):
    return run_experiment(reference, SHORTCUT_CONFIG)


def part(reference, keep):
    return reference.part(keep(reference.tiles) | (reference.tiles["origin"] != "real"))


def difference(result, arm: str, reference: str = REAL, subgroup: str = WORST) -> pd.Series:
    rows = result.differences
    return rows[(rows["arm"] == arm) & (rows["reference"] == reference) & (rows["subgroup"] == subgroup)].iloc[0]


def value(result, arm: str, subgroup: str = WORST) -> float:
    rows = result.accuracy
    return rows[(rows["arm"] == arm) & (rows["subgroup"] == subgroup)]["value"].iloc[0]


def test_filling_the_missing_cells_breaks_a_shortcut_and_the_interval_excludes_0(shortcut):
    assert value(shortcut, REAL) < 0.6  # the center is taken for the class: all of one, none of the other
    gain = difference(shortcut, MEDI)
    assert gain["value"] > 0.15
    assert gain["ci_low"] > 0
    assert gain["n_patients"] == shortcut.facts["num_patients"]
    sentence = shortcut.sentences()[0]
    assert sentence.startswith("MeDi tiles changed worst-center balanced accuracy by +0.")
    counts = f"3 seeds, {shortcut.facts['num_patients']} test patients"
    assert f"over real only ({counts}); the interval excludes 0." in sentence


def test_synthetic_tiles_that_do_not_show_the_class_do_not_make_it_known():
    noise = run_experiment(build_toy_reference(shows_class=False, shows_center=False), SHORTCUT_CONFIG)
    assert difference(noise, MEDI)["value"] < 0.05
    assert difference(noise, MEDI)["ci_low"] <= 0
    # tiles that show their center alone break a shortcut, but there is none when a center is left out
    center_only = run_experiment(
        build_toy_reference(shows_class=False), ExperimentConfig(TYPES, LEAVE_ONE_OUT, num_seeds=2)
    )
    assert difference(center_only, MEDI)["ci_low"] <= 0


def test_a_null_result_is_said_as_plainly(shortcut):
    null = difference(shortcut, DUPLICATED)
    assert null["value"] == pytest.approx(0, abs=0.05)
    [said] = [s for s in shortcut.sentences() if s.startswith("Real duplicated") and "over real only" in s]
    assert "the interval holds 0, so no difference is shown." in said


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "training centers"])
def test_adding_arms_have_the_same_number_of_tiles_and_no_test_patient_is_trained_on(reference, preset, monkeypatch):
    from medi_core.services import experiment

    folds = []
    original = experiment.arms_of_fold

    def watched(rows, ids, stock, fold, config):
        arms = original(rows, ids, stock, fold, config)
        folds.append((rows, fold, arms))
        return arms

    monkeypatch.setattr(experiment, "arms_of_fold", watched)
    result = run_experiment(reference, ExperimentConfig(TYPES, preset, num_seeds=2))
    patients = reference.tiles["patient_id"]
    for rows, fold, arms in folds:
        tested = set(rows["patient_id"].iloc[fold.test])
        assert tested
        for training in arms.sets.values():
            assert not tested & set(patients.iloc[training.tiles].dropna())
        assert len({arms.sets[arm].num_added for arm in ADDING}) == 1
        assert {len(arms.sets[arm].tiles) - len(arms.sets[REAL].tiles) for arm in ADDING} == {arms.sets[MEDI].num_added}
    assert set(result.training["arm"]) == set(ARMS)
    assert result.training.set_index("arm").loc[MEDI, "added"] > 0
    assert result.accuracy["value"].between(0, 1).all()


def test_ratio_1_of_duplicates_is_real_only_because_weights_are_balanced(reference):
    config = ExperimentConfig(TYPES, LEAVE_ONE_OUT, (REAL, DUPLICATED), num_seeds=1)
    result = run_experiment(reference, config)
    assert result.training["total"].tolist() == [192, 384]
    of_arm = result.accuracy.groupby("arm")["value"].agg(list)
    np.testing.assert_allclose(of_arm[REAL], of_arm[DUPLICATED], atol=0.011)  # a tile on the border may turn


def test_the_same_seeds_give_the_same_result_and_others_do_not(reference, shortcut):
    again = run_experiment(reference, SHORTCUT_CONFIG)
    pd.testing.assert_frame_equal(again.accuracy, shortcut.accuracy)
    pd.testing.assert_frame_equal(again.differences, shortcut.differences)
    fewer = run_experiment(reference, dataclasses.replace(SHORTCUT_CONFIG, num_seeds=2))
    assert not fewer.accuracy["value"].equals(shortcut.accuracy["value"])


def test_a_bank_that_is_too_small_is_said_with_counts_and_limits_every_adding_arm():
    result = run_experiment(build_toy_reference(bank=3), SHORTCUT_CONFIG)
    assert result.cells[["asked", "bank", "drawn"]].to_numpy().tolist() == [[24, 3, 3], [24, 3, 3]]
    adding = result.training.set_index("arm").loc[list(ADDING), "added"]
    assert adding.tolist() == [6, 6, 6, 6]
    [line] = [line for line in result.limits() if "added" in line]
    assert line.startswith("Every adding arm added 6 of 48 tiles asked for")
    assert "asked 24, bank has 3" in line


def test_an_arm_without_tiles_is_left_out_and_listed_with_the_reason():
    result = run_experiment(build_toy_reference(jitter=False), SHORTCUT_CONFIG)
    assert JITTERED not in set(result.accuracy["arm"])
    assert (
        f"{JITTERED}: left out, the reference set holds no re-stained copies of these training tiles" in result.limits()
    )
    assert result.training.set_index("arm").loc[MEDI, "added"] == 48
    nothing = run_experiment(build_toy_reference(bank=0, jitter=False), ExperimentConfig(TYPES, SHORTCUT, (REAL, MEDI)))
    assert nothing.sentences() == ("No arm but real only could be trained: there is nothing to compare.",)


def test_held_out_patients_alone_make_an_experiment_clean(reference, shortcut):
    assert not shortcut.is_clean
    assert shortcut.mark.startswith("In-sample generator: it was trained on 16 of the 30 test patients")
    clean = run_experiment(reference, dataclasses.replace(SHORTCUT_CONFIG, held_out_only=True))
    assert clean.is_clean
    assert clean.mark == "Clean: the generator was trained on none of the 16 test patients."


def test_a_center_of_one_class_is_called_recall(reference):
    one_class = part(reference, lambda t: (t["center"] != "Rome") | (t["cancer_type"] == "lung"))
    result = run_experiment(one_class, ExperimentConfig(TYPES, LEAVE_ONE_OUT, (REAL,), num_seeds=1))
    measures = result.accuracy.set_index("subgroup")["measure"]
    assert measures[list(CENTERS)].tolist() == ["balanced accuracy", "balanced accuracy", "recall of lung"]
    assert "In 1 of 3 compared centers one class is tested: recall of it." in result.limits()


def test_nearest_neighbours_see_the_same_shortcut(reference):
    config = dataclasses.replace(SHORTCUT_CONFIG, probe=NEIGHBOURS, num_seeds=1, arms=(REAL, MEDI))
    result = run_experiment(reference, config)
    assert value(result, MEDI) > value(result, REAL) + 0.1


def test_a_patient_without_id_is_never_tested_and_not_trained_on_where_its_center_is(reference):
    tiles = reference.tiles.copy()
    unnamed = (tiles["patient_id"] == "lung-Rome-0").to_numpy()
    tiles.loc[unnamed, "patient_id"] = None
    changed = dataclasses.replace(reference, tiles=tiles)
    out = run_experiment(changed, ExperimentConfig(TYPES, LEAVE_ONE_OUT, (REAL,), center="Rome", num_seeds=1))
    assert (out.facts["num_tiles"], out.facts["num_patients"]) == (90, 15)
    low = run_experiment(changed, ExperimentConfig(TYPES, LOW_DATA, (REAL,), size=1000, num_seeds=1))
    full = run_experiment(reference, ExperimentConfig(TYPES, LOW_DATA, (REAL,), size=1000, num_seeds=1))
    assert full.training["real"][0] + full.facts["num_tiles"] == 288
    assert low.training["real"][0] + low.facts["num_tiles"] == 288 - 6


def test_work_can_be_stopped_and_is_told(reference):
    done = []

    def stop(fold: int, total: int) -> None:
        done.append((fold, total))
        if fold == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(reference, SHORTCUT_CONFIG, stop)
    assert done == [(0, 3), (1, 3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cancer_types": ("lung",)}, "at least 2 different cancer types, given: lung"),
        ({"cancer_types": ("lung", "liver")}, "cancer type 'liver' has no real tile here; there are: colon, lung"),
        (
            {"center": "Oslo", "preset": LEAVE_ONE_OUT},
            "center 'Oslo' has no real tile here; there are: Lyon, Paris, Rome",
        ),
        ({"preset": "shift"}, "preset 'shift' is unknown; known: training centers, leave one center out"),
        ({"arms": ("all",)}, "arm 'all' is unknown; known: real only"),
        ({"ratio": 5}, "ratio = 5: it must be from 0 to 4"),
        ({"num_seeds": 0}, "num_seeds = 0: it must be from 1 to 50"),
        ({"training_centers": ("Lyon",)}, "needs 2 different training centers"),
        ({"preset": "training centers"}, "needs training centers: name at least one"),
        ({"preset": "random training centers", "size": 3}, "size = 3 training centers: it must be from 1 to 2"),
        ({"min_patients": 1}, "min_patients = 1: it must be from 2"),
    ],
)
def test_bad_input_is_refused_by_name(reference, changes, message):
    with pytest.raises(InvalidRequestError, match=message):
        run_experiment(reference, ExperimentConfig(**{"cancer_types": TYPES, "preset": SHORTCUT} | changes))


def test_too_little_to_learn_from_or_to_test_is_refused_with_the_reason(reference):
    one_center = part(reference, lambda t: t["center"] == "Lyon")
    with pytest.raises(InvalidRequestError, match="come from one center"):
        run_experiment(one_center, ExperimentConfig(TYPES))
    no_colon = part(reference, lambda t: (t["center"] == "Rome") | (t["cancer_type"] == "lung"))
    with pytest.raises(TooFewTilesError, match="no training tile of colon when Rome is left out"):
        run_experiment(no_colon, ExperimentConfig(TYPES, LEAVE_ONE_OUT, center="Rome"))
    lonely = part(reference, lambda t: (t["center"] != "Rome") | t["patient_id"].str.endswith("-1"))
    with pytest.raises(TooFewTilesError, match="colon at Rome is not tested: fewer than 2 test patients"):
        run_experiment(lonely, ExperimentConfig(TYPES, LEAVE_ONE_OUT, center="Rome"))
    with pytest.raises(TooFewTilesError, match="no center has 2 test patients of any of these cancer types"):
        run_experiment(
            part(reference, lambda t: t["split"] == "train"), dataclasses.replace(SHORTCUT_CONFIG, held_out_only=True)
        )


def test_a_rare_center_keeps_so_many_patients_of_each_class(reference):
    config = ExperimentConfig(TYPES, RARE_CENTER, (REAL, MEDI), center="Rome", size=2, num_seeds=2)
    result = run_experiment(reference, config)
    assert result.training["real"][0] == 2 * 2 * 6 + 2 * 2 * 4 * 6  # 2 patients at Rome, half of 8 at the others
    assert set(result.cells["center"]) == {"Rome"}


def test_a_result_is_plain_json_and_files(reference, monkeypatch, tmp_path):
    services = SimpleNamespace(reference=SimpleNamespace(load=lambda: reference))
    monkeypatch.setattr("medi_core.bootstrap.build_services", lambda _: services)
    parser = argparse.ArgumentParser()
    add_experiment_commands(parser.add_subparsers())
    out = tmp_path / "out"
    line = ["experiment", "--types", *TYPES, "--preset", "shortcut", "--arms", "real", "medi", "--seeds", "2"]
    flags = parser.parse_args([*line, "--json", "--out", str(out)])
    answer = flags.run(flags)
    assert json.loads((out / "experiment.json").read_text())["sentences"] == answer["sentences"]
    table = pd.read_csv(out / "accuracy.csv")
    assert set(table["arm"]) == {REAL, MEDI}
    assert {"n", "n_patients", "ci_low", "ci_high"} <= set(table)
    assert "toImageButtonOptions" in (out / "experiment.html").read_text()
    text = flags.text(answer)
    assert "- MeDi tiles changed worst-center balanced accuracy by" in text
    assert "seeds 0 to 1, 1,000 resamples; logistic regression on toy-encoder" in text


def test_the_service_knows_which_cells_have_how_many_patients(reference):
    cells = ExperimentService(SimpleNamespace(load=lambda: reference)).cells()
    assert cells[["n", "n_patients", "n_held_out"]].drop_duplicates().to_numpy().tolist() == [[48, 8, 4]]
    assert len(cells) == 6


def test_the_number_of_training_tiles_is_the_same_at_every_correlation(reference):
    def trained(correlation: float) -> float:
        config = ExperimentConfig(TYPES, CORRELATION, (REAL,), num_seeds=1, correlation=correlation)
        return run_experiment(reference, config).training["real"][0]

    assert len({trained(correlation) for correlation in (0.0, 0.25, 0.5, 0.75, 1.0)}) == 1


def test_the_robustness_of_what_a_probe_sees_is_measured_on_test_tiles(reference):
    table = robustness_by_arm(reference, dataclasses.replace(SHORTCUT_CONFIG, num_seeds=1)).set_index("space")
    assert set(table.index) == {FEATURES, *ARMS}
    assert table.loc[REAL, "value"] < table.loc[MEDI, "value"], (
        "a probe that goes by the center brings centers together"
    )
    assert table["n"].nunique() == 1
    one = robustness_by_arm(reference, ExperimentConfig(TYPES, LEAVE_ONE_OUT, (REAL,), center="Rome", num_seeds=1))
    assert one.empty  # all test tiles come from one center
