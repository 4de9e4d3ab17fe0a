"""The gap between subgroups, and equalized odds as fairlearn has it."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, true_positive_rate
from fairlearn.metrics import equalized_odds_difference as fairlearns

from medi_core.metrics.disparity import equalized_odds_difference, gap
from medi_core.metrics.outcomes import build_outcomes
from medi_core.metrics.subgroup import Resampling, rank_subgroups, subgroup_table
from tests.metrics.test_subgroup import audited


def ranked_by(outcomes, attributes, measure="accuracy", least=(10, 2)):
    return rank_subgroups(subgroup_table(outcomes, attributes, measure), measure, *least)


def test_the_gap_is_best_less_worst_and_its_interval_draws_all_patients_at_once():
    outcomes, attributes = audited()
    by_center = attributes[["center"]]
    found = gap(outcomes, by_center, ranked_by(outcomes, by_center), "accuracy", Resampling(200, seed=3))
    hits = (outcomes.true == outcomes.predicted).astype(float)
    values = pd.Series(hits).groupby(attributes["center"]).mean()
    assert (found.lowest, found.highest) == (values.idxmin(), values.idxmax()) == ("Rome", values.idxmax())
    assert found.value == pytest.approx(values.max() - values.min())
    rng = np.random.default_rng(3)
    differences = []
    for row in rng.multinomial(40, np.full(40, 1 / 40), size=200):
        weights = row[outcomes.patients]
        sides = [attributes["center"] == center for center in (found.lowest, found.highest)]
        low, high = (np.average(hits[own], weights=weights[own]) for own in sides)
        differences.append(high - low)
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))


def test_for_calibration_the_highest_error_is_the_far_end():
    outcomes, attributes = audited()
    ranked = ranked_by(outcomes, attributes[["center"]], "ece")
    found = gap(outcomes, attributes[["center"]], ranked, "ece")
    assert found.highest == ranked["subgroup"][0]
    assert found.value > 0


def test_one_center_only_has_no_gap_and_no_odds_to_compare():
    outcomes, attributes = audited()
    alone = attributes[["center"]].assign(center="Lyon")
    assert gap(outcomes, alone, ranked_by(outcomes, alone), "accuracy") is None
    assert equalized_odds_difference(outcomes, alone, 1, 1) is None
    assert (
        gap(outcomes, attributes[["center"]], ranked_by(outcomes, attributes[["center"]], least=(10_000, 2)), "f1")
        is None
    )


def test_the_gap_is_of_what_was_measured_at_its_two_ends():
    true = ["a", "a", "b", "b"] * 4
    outcomes = build_outcomes(true, ["a", "b", "b", "b"] * 2 + ["b", "b", "b", "b"] * 2, np.arange(16) // 2)
    classes = pd.DataFrame({"true": true})
    halves = pd.DataFrame({"center": ["Lyon"] * 8 + ["Rome"] * 8})
    mixed = pd.DataFrame({"center": np.where(np.array(true) == "a", "Oslo", ["Lyon"] * 8 + ["Rome"] * 8)})
    mixed.iloc[0] = "Lyon"  # two classes there, one at Oslo and at Rome
    names = {}
    for kind, attributes in (("classes", classes), ("halves", halves), ("mixed", mixed)):
        ranked = ranked_by(outcomes, attributes, "balanced_accuracy", least=(1, 1))
        if kind == "mixed":
            ranked = ranked[ranked["subgroup"] != "Rome"]
        names[kind] = gap(outcomes, attributes, ranked, "balanced_accuracy", Resampling(20)).of
    assert names == {
        "classes": "recall",
        "halves": "balanced_accuracy",
        "mixed": "recall of a against balanced_accuracy",
    }


@pytest.mark.parametrize("seed", range(4))
def test_equalized_odds_of_two_classes_are_those_of_fairlearn(seed):
    outcomes, attributes = audited(seed=seed)
    found = equalized_odds_difference(outcomes, attributes[["center"]], 1, 1, Resampling(20))
    expected = fairlearns(outcomes.true, outcomes.predicted, sensitive_features=attributes["center"])
    assert found.value == pytest.approx(expected)
    assert found.ci_low < found.value < found.ci_high


def test_of_more_classes_it_is_the_largest_over_each_against_the_rest_with_enough_tiles():
    rng = np.random.default_rng(0)
    num, names = 900, np.array(["colon", "kidney", "lung"], dtype=object)
    true, centers = rng.integers(3, size=num), rng.choice(["Lyon", "Paris", "Rome"], num)
    predicted = np.where(rng.random(num) < 0.7, true, rng.integers(3, size=num))
    true[0], predicted[0], centers[0] = 1, 0, "Mars"  # one tile, all wrong: no rate of it counts
    outcomes = build_outcomes(names[true], names[predicted], rng.integers(60, size=num))
    found = equalized_odds_difference(outcomes, pd.DataFrame({"center": centers}), 5, 2)
    here = centers != "Mars"
    expected = max(
        fairlearns(true[here] == k, predicted[here] == k, sensitive_features=centers[here]) for k in range(3)
    )
    assert found.value == pytest.approx(expected)
    assert "Mars" not in (found.lowest, found.highest)
    if found.of.startswith("true positive"):
        place = list(names).index(found.of.rsplit(" ", 1)[1])
        rates = MetricFrame(
            metrics=true_positive_rate, y_true=true == place, y_pred=predicted == place, sensitive_features=centers
        ).by_group
        assert found.value == pytest.approx(rates[found.highest] - rates[found.lowest])


def test_where_a_class_occurs_in_one_subgroup_only_its_recall_is_compared_with_nothing():
    outcomes = build_outcomes(["a"] * 4 + ["b"] * 4, ["a", "a", "b", "a", "b", "b", "b", "a"], list("uuvvwwxx"))
    attributes = pd.DataFrame({"center": ["Lyon"] * 4 + ["Rome"] * 4})
    assert equalized_odds_difference(outcomes, attributes, 1, 1) is None
