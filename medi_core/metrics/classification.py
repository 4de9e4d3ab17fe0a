"""Measures of a classifier as functions of how often each patient counts. Knows no subgroups, models or images.

A bootstrap over patients gives each patient a weight, the number of times it is drawn. Each measure here turns sums
over patients into a function of such weights, so that a thousand resamples are one matrix product; the plain value
is that of all weights 1. The weighted value is the one that scikit-learn gives with `sample_weight`.
"""

from collections.abc import Callable

import numpy as np

from medi_core.errors import InvalidRequestError
from medi_core.metrics.intervals import sums_by_code
from medi_core.metrics.outcomes import Outcomes

Statistic = Callable[[np.ndarray], np.ndarray]
"""Weights of the G patients, `(R, G)` → the measure of each resample, `(R,)`; NaN where it is not defined."""
NUM_BINS = 15
"""Equal-width bins of confidence in the ECE, as in Guo et al. 2017."""


def accuracy(outcomes: Outcomes) -> Statistic:
    """Share of tiles that are right."""
    hits = (outcomes.true == outcomes.predicted).astype(np.float64)
    return _of_sums(outcomes, np.column_stack([hits, np.ones(len(hits))]), lambda sums: sums[:, 0] / sums[:, 1])


def balanced_accuracy(outcomes: Outcomes) -> Statistic:
    """Mean recall of the true classes that occur, in each resample those that were drawn."""
    num, is_true = len(outcomes.classes), _one_hot(outcomes.true, outcomes)
    hits = is_true * (outcomes.true == outcomes.predicted)[:, None]
    return _of_sums(outcomes, np.hstack([hits, is_true]), lambda sums: _mean_known(sums[:, :num] / sums[:, num:]))


def macro_f1(outcomes: Outcomes) -> Statistic:
    """Mean F1 over the classes that are true or predicted of any tile."""
    num, is_true = len(outcomes.classes), _one_hot(outcomes.true, outcomes)
    hits = is_true * (outcomes.true == outcomes.predicted)[:, None]
    both = is_true + _one_hot(outcomes.predicted, outcomes)
    return _of_sums(outcomes, np.hstack([hits, both]), lambda sums: _mean_known(2 * sums[:, :num] / sums[:, num:]))


def expected_calibration_error(outcomes: Outcomes) -> Statistic:
    """How far confidence in what was predicted is from how often that was right, by 15 equal-width bins; 0 to 1.

    Biased upwards where bins hold few tiles: a perfectly calibrated model does not get 0.

    Source: Guo et al. 2017, "On calibration of modern neural networks" (top-label ECE).
    """
    confidence = _probabilities(outcomes)[np.arange(len(outcomes)), outcomes.predicted]
    bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    excess = np.eye(NUM_BINS)[bins] * (confidence - (outcomes.true == outcomes.predicted))[:, None]
    terms = np.column_stack([excess, np.ones(len(outcomes))])
    return _of_sums(outcomes, terms, lambda sums: np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1])


def macro_auc(outcomes: Outcomes) -> Statistic:
    """Mean area under the ROC curve, each true class that occurs against the rest; NaN for one class only.

    A class' area is a sum over pairs of patients, one row for each with tiles of the class: the cost of a resample
    grows with the square of the number of patients.
    """
    areas = [_area_of_class(outcomes, place) for place in outcomes.true_classes]
    return lambda weights: _mean_known(np.column_stack([area(weights) for area in areas]))


MEASURES: dict[str, Callable[[Outcomes], Statistic]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": macro_f1,
    "auc": macro_auc,
    "ece": expected_calibration_error,
}
NEEDS_PROBABILITIES = ("auc", "ece")
NEEDS_TWO_CLASSES = ("f1", "auc")
LOWER_IS_BETTER = ("ece",)


def value_of(statistic: Statistic, num_patients: int) -> float:
    """The measure of the tiles as they are."""
    return float(resampled(statistic, np.ones((1, num_patients)))[0])


def resampled(statistic: Statistic, weights: np.ndarray) -> np.ndarray:
    """The statistic of each row of weights; what a resample cannot tell is NaN, without a warning."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return statistic(weights)


def rate(is_hit: np.ndarray, is_counted: np.ndarray, outcomes: Outcomes) -> Statistic:
    """Share of the tiles counted that are hit; both bool `(N,)`. True and false positive rates are such shares."""
    terms = np.column_stack([is_hit & is_counted, is_counted]).astype(np.float64)
    return _of_sums(outcomes, terms, lambda sums: sums[:, 0] / sums[:, 1])


def _area_of_class(outcomes: Outcomes, place: int) -> Statistic:
    scores, is_positive = _probabilities(outcomes)[:, place], outcomes.true == place
    num = outcomes.num_patients
    own, row = np.unique(outcomes.patients[is_positive], return_inverse=True)
    wins = sums_by_code(_wins(scores, is_positive, outcomes.patients, num), row, len(own))  # (P, G)
    counts = sums_by_code(np.column_stack([is_positive, ~is_positive]).astype(np.float64), outcomes.patients, num)

    def area(weights: np.ndarray) -> np.ndarray:
        pairs = np.prod(weights @ counts, axis=1)
        return ((weights[:, own] @ wins) * weights).sum(axis=1) / pairs

    return area


def _wins(scores: np.ndarray, is_positive: np.ndarray, patients: np.ndarray, num: int) -> np.ndarray:
    """For each positive tile, how many negative ones of each patient score lower; a tie is half a win: `(P, num)`."""
    positive, negative, owner = scores[is_positive], np.sort(scores[~is_positive]), patients[~is_positive]
    order = np.argsort(positive, kind="stable")
    owner = owner[np.argsort(scores[~is_positive], kind="stable")]
    wins = np.zeros((len(positive), num))
    for side in ("left", "right"):
        # a negative at place i is below every positive whose place among the negatives is above i
        first = np.searchsorted(np.searchsorted(negative, positive[order], side), np.arange(len(negative)), "right")
        steps = np.zeros((len(positive) + 1, num))
        np.add.at(steps, (first, owner), 0.5)
        wins += steps[:-1].cumsum(axis=0)
    unsorted = np.empty_like(wins)
    unsorted[order] = wins
    return unsorted


def _of_sums(outcomes: Outcomes, terms: np.ndarray, formula: Callable[[np.ndarray], np.ndarray]) -> Statistic:
    """A formula `(R, M)` → `(R,)` of the sums of terms `(N, M)` over tiles, weighted by patient."""
    sums = sums_by_code(terms, outcomes.patients, outcomes.num_patients)
    return lambda weights: formula(weights @ sums)


def _one_hot(codes: np.ndarray, outcomes: Outcomes) -> np.ndarray:
    return np.eye(len(outcomes.classes))[codes]


def _mean_known(values: np.ndarray) -> np.ndarray:
    """`(R, K)` → the mean of each row over what is not NaN."""
    is_known = ~np.isnan(values)
    return np.where(is_known, values, 0).sum(axis=1) / is_known.sum(axis=1)


def _probabilities(outcomes: Outcomes) -> np.ndarray:
    if outcomes.probabilities is None:
        raise InvalidRequestError(
            f"{' and '.join(NEEDS_PROBABILITIES)} need the probability of each class, and these predictions have none: "
            "give a column p:<class> for each"
        )
    return outcomes.probabilities
