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
    CLASS_ONLY,
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
from medi_core.services.experiment_result import GAP, OVERALL, WORST
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
    levels = f"from {value(shortcut, REAL):.2f} to {value(shortcut, MEDI):.2f} (chance 0.50); all centers +0."
    assert levels in sentence
    smallest, num = shortcut.facts["smallest_patients"], shortcut.facts["num_patients"]
    counts = f"(worst of 2 centers, the smallest of {smallest} patients; 3 seeds, {num} test patients)"
    assert f"{counts}; the interval excludes 0." in sentence


def test_synthetic_tiles_that_do_not_show_the_class_do_not_make_it_known():
    noise = run_experiment(build_toy_reference(shows_class=False, shows_center=False), SHORTCUT_CONFIG)
    assert difference(noise, MEDI)["value"] < 0.05
    assert not difference(noise, MEDI)["ci_low"] > 0
    # tiles that show their center alone break a shortcut, but there is none when a center is left out
    center_only = run_experiment(
        build_toy_reference(shows_class=False), ExperimentConfig(TYPES, LEAVE_ONE_OUT, num_seeds=2)
    )
    assert not difference(center_only, MEDI)["ci_low"] > 0


def test_a_null_result_is_said_as_plainly(shortcut):
    null = difference(shortcut, DUPLICATED)
    assert null["value"] == pytest.approx(0, abs=0.05)
    [said] = [s for s in shortcut.sentences() if s.startswith("Real duplicated") and "over real only" in s]
    assert null["n_changed"] == 0
    assert said.endswith("no tested tile changed.")
    [said] = [s for s in shortcut.sentences() if s.startswith("MeDi") and f"over {CLASS_ONLY}" in s]
    row = difference(shortcut, MEDI, CLASS_ONLY)
    assert ("the interval holds 0, so no difference is shown." in said) == (row["ci_low"] <= 0 <= row["ci_high"])


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
    assert result.accuracy["value"].dropna().between(0, 1).all()


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
        f"{JITTERED}: left out, in 3 of 3 folds the reference set holds no re-stained copies of these training tiles"
        in result.limits()
    )
    assert result.training.set_index("arm").loc[MEDI, "added"] == 48
    nothing = run_experiment(build_toy_reference(bank=0, jitter=False), ExperimentConfig(TYPES, SHORTCUT, (REAL, MEDI)))
    assert nothing.sentences() == ("No arm but real only could be trained: there is nothing to compare.",)


def test_a_fold_without_tiles_leaves_out_its_center_and_not_the_arm(reference):
    thin = reference.part((reference.tiles["origin"] != "synthetic") | (reference.tiles["center"] != "Rome"))
    result = run_experiment(thin, ExperimentConfig(TYPES, LEAVE_ONE_OUT, (REAL, MEDI), num_seeds=2))
    assert set(result.accuracy["arm"]) == {REAL, MEDI}
    assert result.facts["num_folds"] == 4
    assert "Rome" not in set(result.accuracy["subgroup"])
    assert (
        f"Rome is not tested: {MEDI} cannot be trained, the bank holds no tile of the cells to fill" in result.limits()
    )
    thin = thin.part((thin.tiles["origin"] != "synthetic") | (thin.tiles["center"] != "Paris"))
    result = run_experiment(thin, ExperimentConfig(TYPES, LEAVE_ONE_OUT, (REAL, DUPLICATED, MEDI), num_seeds=2))
    assert set(result.accuracy["arm"]) == {REAL, DUPLICATED}
    assert f"{MEDI}: left out, in 4 of 6 folds the bank holds no tile of the cells to fill" in result.limits()
    assert set(CENTERS) <= set(result.accuracy["subgroup"])


def test_an_own_cell_that_is_not_tested_is_said_and_no_such_center_is_chosen(reference):
    is_few = (reference.tiles["cancer_type"] == "colon") & (reference.tiles["center"] == "Lyon")
    few = part(reference, lambda t: ~is_few | t["patient_id"].astype(str).str.contains("-[0-2]$"))
    line = "own cell colon at Lyon is not tested: a reversed shortcut would look like a gain"
    given = ExperimentConfig(TYPES, SHORTCUT, (REAL,), training_centers=("Lyon", "Paris"), num_seeds=2)
    assert line in run_experiment(few, given).limits()
    chosen = run_experiment(few, dataclasses.replace(given, training_centers=()))
    assert line not in chosen.limits()
    assert line not in run_experiment(reference, given).limits()


def test_held_out_patients_alone_make_an_experiment_clean(reference, shortcut):
    assert not shortcut.is_clean
    assert shortcut.mark.startswith("In-sample generator: it was trained on 16 of the 30 test patients")
    clean = run_experiment(reference, dataclasses.replace(SHORTCUT_CONFIG, held_out_only=True))
    assert clean.is_clean
    assert clean.mark == (
        "Clean: the generator was trained on none of the 16 test patients, "
        "by the reference set's split; its checkpoint declares nobody."
    )


def test_the_word_of_the_checkpoint_decides_whether_an_experiment_is_clean(reference):
    config = dataclasses.replace(SHORTCUT_CONFIG, held_out_only=True)
    held_out = frozenset(reference.real.tiles.query("split == 'test'")["patient_id"])
    clean = run_experiment(reference, config, declared=held_out)
    assert clean.is_clean
    assert clean.mark.endswith("by its checkpoint's own list of held-out patients.")
    doubtful = run_experiment(reference, config, declared=frozenset())
    assert not doubtful.is_clean
    assert doubtful.mark.startswith("Not shown to be clean: 16 of the 16 test patients are held out by the reference")


def test_the_service_asks_the_loaded_checkpoint_whom_it_held_out(reference):
    config = dataclasses.replace(SHORTCUT_CONFIG, held_out_only=True, num_seeds=1)
    source = SimpleNamespace(load=lambda: reference, held_out_patients=frozenset())
    assert not ExperimentService(source).run(config).is_clean


def test_a_center_of_one_class_is_called_recall(reference):
    one_class = part(reference, lambda t: (t["center"] != "Rome") | (t["cancer_type"] == "lung"))
    result = run_experiment(one_class, ExperimentConfig(TYPES, LEAVE_ONE_OUT, (REAL,), num_seeds=1))
    measures = result.accuracy.set_index("subgroup")["measure"]
    assert measures[list(CENTERS)].tolist() == ["balanced accuracy", "balanced accuracy", "recall of lung"]
    compared = result.accuracy.set_index("subgroup")["is_compared"]
    assert compared[list(CENTERS)].tolist() == [True, True, False]
    [line] = [line for line in result.limits() if line.startswith("1 of 3 tested centers cannot be the worst one")]
    assert "1 of them have one class, and in their own row recall of it." in line


def constant(pool, counts, test, num_real):
    """Logits of a probe that is mostly wrong on real tiles alone, and else says lung of everything."""
    logits = np.zeros((len(counts), len(test), pool.num_labels), np.float32)
    logits[:, :, 1] = 1
    is_right = np.random.default_rng(0).random(len(test)) < 0.2
    logits[0, :, 0] = np.where((pool.labels[test] == 1) == is_right, 0, 2)
    return logits


def test_a_constant_answer_is_never_said_to_be_a_gain(reference, monkeypatch):
    """Where only the class that it names is tested its recall is perfect; elsewhere a bad probe may be worse."""
    monkeypatch.setattr("medi_core.services.experiment.regression_logits", constant)
    one_class = part(reference, lambda t: (t["center"] != "Rome") | (t["cancer_type"] == "lung"))
    config = ExperimentConfig(TYPES, LEAVE_ONE_OUT, (REAL, DUPLICATED, MEDI), num_seeds=2)
    result = run_experiment(one_class, config)
    assert value(result, MEDI, "Rome") == 1
    assert value(result, REAL, "Rome") < 0.5
    assert difference(result, MEDI)["ci_low"] > 0, "better than a bad probe, and yet no gain"
    assert value(result, MEDI) == pytest.approx(0.5)
    said = [s for s in result.sentences() if "over real only" in s]
    assert len(said) == 2
    for sentence in result.sentences():
        assert "excludes 0" not in sentence
    for sentence in said:
        assert "to 0.50 (chance 0.50)" in sentence
        assert sentence.endswith("what it reaches is not shown to be better than chance, so no gain is shown.")
    [equal] = [s for s in result.sentences() if f"over {DUPLICATED}" in s]
    assert equal.endswith("no tested tile changed.")


def test_where_no_center_tests_every_class_all_centers_are_compared_and_the_reason_is_said(reference):
    apart = part(reference, lambda t: (t["center"] == "Rome") == (t["cancer_type"] == "lung"))
    apart = part(apart, lambda t: (t["center"] != "Lyon") | (t["cancer_type"] == "colon"))
    result = run_experiment(apart, ExperimentConfig(TYPES, LOW_DATA, (REAL, DUPLICATED), size=40, num_seeds=2))
    assert result.facts["num_compared"] == 0
    assert result.facts["smallest_patients"] is None
    assert np.isnan(value(result, REAL))
    [sentence] = result.sentences()
    assert sentence.startswith("Real duplicated changed balanced accuracy of all centers by ")
    assert "(no center tests every class with enough tiles; 2 seeds, " in sentence
    assert f"to {value(result, DUPLICATED, OVERALL):.2f} (chance 0.50)" in sentence


def test_the_worst_center_has_the_counts_of_the_compared_centers_and_warns_of_the_smallest(reference):
    few = part(reference, lambda t: (t["center"] != "Lyon") | t["patient_id"].astype(str).str.contains("-[0-2]$"))
    few = part(few, lambda t: (t["center"] != "Rome") | (t["cancer_type"] == "lung"))
    result = run_experiment(few, ExperimentConfig(TYPES, LEAVE_ONE_OUT, (REAL, DUPLICATED), num_seeds=1))
    rows = result.accuracy[result.accuracy["arm"] == REAL].set_index("subgroup")
    for name, count in (("n", 22 * 6), ("n_patients", 6 + 16)):
        assert rows.loc[[WORST, GAP], name].tolist() == [count, count]
        assert rows.loc[OVERALL, name] > count
    assert difference(result, DUPLICATED)["n_patients"] == 22
    assert result.facts["smallest_patients"] == 6
    assert "worst of 2 centers, the smallest of 6 patients" in result.sentences()[0]
    assert any(line.startswith("The smallest compared center has 6 test patients") for line in result.limits())
    assert "The worst center is a minimum over centers, which is biased downwards." in result.limits()
    assert "1 comparison: of 20 without any effect, one would exclude 0." in result.limits()


def test_seeds_that_repeat_a_split_are_not_called_seeds(reference, shortcut):
    assert shortcut.facts["num_splits"] == 3
    left_out = run_experiment(reference, ExperimentConfig(TYPES, LEAVE_ONE_OUT, (REAL, MEDI), num_seeds=3))
    assert left_out.facts["num_splits"] == 1
    assert "1 split, training tiles drawn 3 times" in left_out.sentences()[0]
    assert "3 seeds" not in left_out.sentences()[0]


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
        (
            {"preset": "random training centers", "training_centers": ("Lyon",)},
            "draws its training centers by seed, given: Lyon; leave them out",
        ),
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
    services = SimpleNamespace(
        experiment=ExperimentService(SimpleNamespace(load=lambda: reference, held_out_patients=None))
    )
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
    cells = ExperimentService(SimpleNamespace(load=lambda: reference, held_out_patients=None)).cells()
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
