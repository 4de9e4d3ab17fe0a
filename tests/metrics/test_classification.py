"""Each measure is scikit-learn's, with and without weights on patients."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score

from medi_core.errors import InvalidRequestError
from medi_core.metrics import classification
from medi_core.metrics.classification import MEASURES, NUM_BINS, value_of
from medi_core.metrics.outcomes import Outcomes, build_outcomes

CLASSES = ("colon", "kidney", "lung")


def outcomes_of(num: int = 240, num_patients: int = 30, seed: int = 0, digits: int = 3) -> Outcomes:
    """A model that is right more often than not; rounded probabilities give ties."""
    rng = np.random.default_rng(seed)
    true = rng.choice(len(CLASSES), num, p=[0.5, 0.3, 0.2])
    logits = rng.normal(0, 1, (num, len(CLASSES))) + 1.2 * np.eye(len(CLASSES))[true]
    probabilities = np.round(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), digits)
    predicted = probabilities.argmax(axis=1)
    names = np.array(CLASSES, dtype=object)
    patients = [f"P{i}" for i in rng.integers(num_patients, size=num)]
    return build_outcomes(names[true], names[predicted], patients, CLASSES, probabilities)


def oracle(name: str, outcomes: Outcomes, weights: np.ndarray) -> float:
    given = {"y_true": outcomes.true, "sample_weight": weights[outcomes.patients]}
    if name == "auc":
        areas = [
            roc_auc_score(outcomes.true == k, outcomes.probabilities[:, k], sample_weight=given["sample_weight"])
            for k in np.unique(outcomes.true)
        ]
        return float(np.mean(areas))
    given["y_pred"] = outcomes.predicted
    if name == "f1":
        return f1_score(**given, average="macro", zero_division=0)
    return {"accuracy": accuracy_score, "balanced_accuracy": balanced_accuracy_score}[name](**given)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "f1", "auc"])
@pytest.mark.parametrize("digits", [1, 6])
def test_plain_and_weighted_values_are_those_of_scikit_learn(name, digits):
    outcomes = outcomes_of(digits=digits)
    weights = np.random.default_rng(1).integers(0, 4, (5, outcomes.num_patients)).astype(float)
    statistic = MEASURES[name](outcomes)
    assert value_of(statistic, outcomes.num_patients) == pytest.approx(
        oracle(name, outcomes, np.ones(outcomes.num_patients))
    )
    expected = [oracle(name, outcomes, row) for row in weights]
    np.testing.assert_allclose(statistic(weights), expected)


def test_a_weight_is_how_often_the_tiles_of_a_patient_are_there():
    outcomes = outcomes_of(60, 6)
    weights = np.array([2.0, 0, 1, 3, 0, 1])
    repeated = outcomes.part(np.repeat(np.arange(60), weights[outcomes.patients].astype(int)))
    for name, measure in MEASURES.items():
        weighted = float(measure(outcomes)(weights[None])[0])
        assert weighted == pytest.approx(value_of(measure(repeated), repeated.num_patients)), name


def test_calibration_is_confidence_less_accuracy_by_bin_written_out():
    outcomes = outcomes_of(500)
    confidence = outcomes.probabilities.max(axis=1)
    hits = outcomes.true == outcomes.predicted
    expected = 0.0
    for i in range(NUM_BINS):
        high = (i + 1) / NUM_BINS if i < NUM_BINS - 1 else 2
        own = (confidence >= i / NUM_BINS) & (confidence < high)
        if own.any():
            expected += own.mean() * abs(confidence[own].mean() - hits[own].mean())
    assert value_of(MEASURES["ece"](outcomes), outcomes.num_patients) == pytest.approx(expected)


def test_a_model_that_is_sure_and_right_has_no_calibration_error_and_one_that_is_sure_and_wrong_has_all():
    sure = build_outcomes(["a", "b"], ["a", "b"], [1, 2], ["a", "b"], np.eye(2))
    wrong = build_outcomes(["b", "a"], ["a", "b"], [1, 2], ["a", "b"], np.eye(2))
    assert [value_of(MEASURES["ece"](side), 2) for side in (sure, wrong)] == [0, 1]


def test_a_class_that_a_resample_did_not_draw_is_left_out_of_the_mean():
    outcomes = build_outcomes(["a", "a", "b"], ["a", "b", "b"], ["P", "P", "Q"])
    weights = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    with np.errstate(invalid="ignore"):
        balanced = MEASURES["balanced_accuracy"](outcomes)(weights)
    np.testing.assert_array_equal(balanced, [0.5, 1, np.nan])


def test_an_area_over_too_many_patients_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(classification, "MAX_PAIRED_PATIENTS", 20)
    with pytest.raises(InvalidRequestError, match="at most 20 of them; given 30: choose another measure"):
        MEASURES["auc"](outcomes_of(num_patients=30))


def test_what_needs_probabilities_says_so():
    outcomes = build_outcomes(["a", "b"], ["a", "a"], [1, 2])
    for name in ("auc", "ece"):
        with pytest.raises(InvalidRequestError, match="auc and ece need the probability of each class"):
            MEASURES[name](outcomes)
