"""Subgroup tables: point values of fairlearn, intervals over patients, and the plain word where there is none."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

from medi_core.errors import InvalidRequestError
from medi_core.metrics import subgroup
from medi_core.metrics.intervals import cluster_bootstrap, proportion_interval, wilson_interval
from medi_core.metrics.outcomes import Outcomes, build_outcomes
from medi_core.metrics.subgroup import (
    BY_PATIENT,
    NO_SPREAD,
    NO_TILE,
    ONE_CLASS,
    ONE_PATIENT,
    WILSON,
    Resampling,
    compare_models,
    rank_subgroups,
    subgroup_table,
)

CLASSES, CENTERS = ("colon", "lung"), ("Lyon", "Paris", "Rome")


def audited(num: int = 400, num_patients: int = 40, seed: int = 0) -> tuple[Outcomes, pd.DataFrame]:
    """Patients belong to one center; some are hard for the model; some tiles have no stain bin."""
    rng = np.random.default_rng(seed)
    patients = rng.integers(num_patients, size=num)
    centers = np.array(CENTERS, dtype=object)[patients % 3]
    true = rng.integers(2, size=num)
    is_hit = rng.random(num) < rng.beta(4, 1.5, num_patients)[patients] - 0.3 * (centers == "Rome")
    predicted = np.where(is_hit, true, 1 - true)
    stain = rng.choice(np.array(["1", "2", None], dtype=object), num)
    names = np.array(CLASSES, dtype=object)
    attributes = pd.DataFrame({"center": centers, "stain": stain, "true": names[true]})
    p_hit = rng.uniform(0.5, 1, num)
    p_lung = np.where(predicted == 1, p_hit, 1 - p_hit)
    return build_outcomes(
        names[true], names[predicted], patients, CLASSES, np.column_stack([1 - p_lung, p_lung])
    ), attributes


def column(table: pd.DataFrame, *names: str) -> dict:
    return table.set_index("subgroup")[list(names)].T.to_dict("list")


@pytest.mark.parametrize(
    ("measure", "oracle"),
    [
        ("accuracy", lambda true, predicted: float((true == predicted).mean())),
        ("balanced_accuracy", balanced_accuracy_score),
        ("f1", lambda true, predicted: f1_score(true, predicted, average="macro")),
    ],
)
@pytest.mark.parametrize("by", [["center"], ["center", "stain"]])
def test_point_values_and_counts_are_those_of_fairlearns_metric_frame(measure, oracle, by):
    outcomes, attributes = audited()
    known = attributes[by].notna().all(axis=1).to_numpy()
    frame = MetricFrame(
        metrics=oracle,
        y_true=outcomes.true[known],
        y_pred=outcomes.predicted[known],
        sensitive_features=attributes.loc[known, by],
    )
    table = subgroup_table(outcomes, attributes[by], measure, Resampling(num=10)).set_index(by)
    assert len(table) == (3 if len(by) == 1 else 6)
    np.testing.assert_allclose(table["value"], frame.by_group.loc[table.index].astype(float))
    assert table["n"].sum() == known.sum(), "a tile without the attribute is in no subgroup"
    (overall,) = subgroup_table(outcomes, attributes[[]], measure, Resampling(num=10)).to_dict("records")
    assert (overall["subgroup"], overall["n"], overall["n_patients"]) == ("overall", 400, 40)


def test_recall_of_each_class_is_the_table_by_true_class():
    outcomes, attributes = audited()
    table = subgroup_table(outcomes, attributes[["true"]], "balanced_accuracy")
    assert set(table["measure"]) == {"recall"}
    expected = recall_score(outcomes.true, outcomes.predicted, average=None)
    np.testing.assert_allclose(table["value"], expected)


def test_an_interval_is_the_cluster_bootstrap_of_the_subgroups_own_patients():
    outcomes, attributes = audited()
    table = subgroup_table(outcomes, attributes[["center"]], "accuracy", Resampling(300, seed=4, level=0.9))
    for center, low, high in table[["center", "ci_low", "ci_high"]].itertuples(index=False):
        own = (attributes["center"] == center).to_numpy()
        hits = (outcomes.true == outcomes.predicted)[own].astype(float)
        expected = cluster_bootstrap(hits, outcomes.patients[own], num=300, seed=4, level=0.9)
        assert (low, high) == pytest.approx(expected)
    assert set(table["interval"]) == {BY_PATIENT}


def test_intervals_over_patients_are_wider_than_over_tiles():
    outcomes, attributes = audited(2000, 30)
    as_if = build_outcomes(attributes["true"], np.array(CLASSES)[outcomes.predicted], range(2000), CLASSES)
    for measure in ("balanced_accuracy", "f1"):
        widths = [
            float(np.diff(subgroup_table(side, attributes[[]], measure)[["ci_low", "ci_high"]].to_numpy()[0])[0])
            for side in (outcomes, as_if)
        ]
        assert widths[0] > 1.5 * widths[1]


@pytest.mark.parametrize("measure", ["accuracy", "balanced_accuracy", "f1", "auc", "ece"])
def test_the_seed_decides_and_the_interval_is_about_the_value(measure):
    outcomes, attributes = audited()
    first, again, other = (
        subgroup_table(outcomes, attributes[["center"]], measure, Resampling(200, seed)) for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert (first["ci_low"] != other["ci_low"]).all()
    assert (first["value"] == other["value"]).all()
    assert (first["ci_low"] <= first["value"] + 0.03).all()  # ECE is biased upwards in resamples
    assert (first["value"] <= first["ci_high"]).all()


def test_one_tile_a_patient_gives_wilsons_interval_and_so_does_a_share_of_all():
    names = ["lung"] * 12 + ["colon"] * 8
    outcomes = build_outcomes(names, ["lung"] * 15 + ["colon"] * 5, range(20))
    attributes = pd.DataFrame({"center": ["Lyon"] * 20})
    row = subgroup_table(outcomes, attributes, "accuracy").iloc[0]
    assert (row["ci_low"], row["ci_high"], row["interval"]) == (*wilson_interval(17, 20), WILSON)
    perfect = build_outcomes(names, names, [i // 4 for i in range(20)])
    row = subgroup_table(perfect, attributes, "accuracy").iloc[0]
    expected = proportion_interval(np.ones(20), [i // 4 for i in range(20)])
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(expected)
    assert subgroup_table(perfect, attributes, "f1").iloc[0]["interval"] == NO_SPREAD


def test_a_subgroup_with_one_true_class_is_recall_and_called_so():
    outcomes = build_outcomes(
        ["lung"] * 4 + ["colon", "lung"], ["lung", "lung", "colon", "lung", "colon", "colon"], list("aabbcc")
    )
    attributes = pd.DataFrame({"center": ["Lyon"] * 4 + ["Rome"] * 2})
    for measure in ("accuracy", "balanced_accuracy"):
        table = subgroup_table(outcomes, attributes, measure)
        assert table["measure"].tolist() == ["recall", measure]
        assert table["value"].tolist() == [0.75, 0.5]
    lyon = subgroup_table(outcomes, attributes, "f1").iloc[0]
    assert (lyon["n"], lyon["measure"], lyon["interval"]) == (4, "f1", ONE_CLASS)
    assert np.isnan(lyon["value"])


def test_an_empty_subgroup_is_nan_with_n_0_and_one_patient_has_no_interval():
    outcomes = build_outcomes(["lung", "lung", "colon"], ["lung", "colon", "colon"], ["a", "a", "b"])
    attributes = pd.DataFrame({"center": ["Lyon", "Lyon", "Rome"]})
    wanted = [("Lyon",), ("Mars",)]
    lyon, mars = subgroup_table(outcomes, attributes, "accuracy", subgroups=wanted).to_dict("records")
    assert (lyon["value"], lyon["n_patients"], lyon["interval"]) == (0.5, 1, ONE_PATIENT)
    assert (mars["n"], mars["n_patients"], mars["interval"]) == (0, 0, NO_TILE)
    assert np.isnan([lyon["ci_low"], lyon["ci_high"], mars["value"], mars["ci_low"]]).all()


def test_the_worst_comes_first_and_small_subgroups_are_no_candidates():
    table = pd.DataFrame(
        {
            "subgroup": list("abcde"),
            "n": [100, 100, 3, 100, 0],
            "n_patients": [9, 9, 3, 1, 0],
            "value": [0.9, 0.4, 0.0, 0.1, np.nan],
        }
    )
    ranked = rank_subgroups(table, "accuracy", min_tiles=10, min_patients=2)
    assert ranked["subgroup"].tolist()[:2] == ["b", "a"]
    assert ranked["is_ranked"].tolist() == [True, True, False, False, False]
    assert rank_subgroups(table, "ece", 10, 2)["subgroup"].tolist()[:2] == ["a", "b"]
    assert rank_subgroups(table, "accuracy", 1, 1)["subgroup"].tolist()[:4] == ["c", "d", "b", "a"]


def test_paired_differences_are_narrower_than_those_of_two_separate_intervals_suggest():
    outcomes, attributes = audited()
    flipped = outcomes.predicted.copy()
    wrong = np.flatnonzero(flipped != outcomes.true)[::4]
    flipped[wrong] = outcomes.true[wrong]
    names = np.array(CLASSES, dtype=object)
    better = build_outcomes(names[outcomes.true], names[flipped], outcomes.patients, CLASSES)
    plain = build_outcomes(names[outcomes.true], names[outcomes.predicted], outcomes.patients, CLASSES)
    for by in ([], ["center"]):
        for measure in ("accuracy", "f1"):
            table = compare_models(plain, better, attributes[by], measure)
            np.testing.assert_allclose(table["difference"], table["second"] - table["first"])
            assert (table["difference"] > 0).all()
            own = subgroup_table(plain, attributes[by], measure)
            assert (table["ci_high"] - table["ci_low"] < 0.8 * (own["ci_high"] - own["ci_low"])).all()
            assert (table["ci_low"] > -1e-9).all(), "no patient is worse off"
    same = compare_models(plain, plain, attributes[["center"]], "accuracy")
    assert (same["difference"] == 0).all()
    assert set(same["interval"]) == {NO_SPREAD}


def test_more_subgroups_than_anybody_reads_are_refused(monkeypatch):
    monkeypatch.setattr(subgroup, "MAX_SUBGROUPS", 5)
    outcomes, attributes = audited()
    assert len(subgroup_table(outcomes, attributes[["center"]], "accuracy")) == 3
    with pytest.raises(InvalidRequestError, match="center × stain has 6 subgroups, at most 5 are measured"):
        subgroup_table(outcomes, attributes[["center", "stain"]], "accuracy")


def test_models_on_other_tiles_and_unknown_measures_are_refused():
    first = build_outcomes(["lung", "colon"], ["lung", "colon"], [1, 2])
    second = build_outcomes(["colon", "lung"], ["lung", "colon"], [1, 2])
    attributes = pd.DataFrame(index=range(2))
    with pytest.raises(InvalidRequestError, match="compared on the same tiles"):
        compare_models(first, second, attributes, "accuracy")
    with pytest.raises(InvalidRequestError, match="measure = 'smell': it must be one of accuracy, balanced_accuracy"):
        subgroup_table(first, attributes, "smell")
