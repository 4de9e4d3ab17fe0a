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
MAX_PAIRED_PATIENTS = 5000
"""Whose AUC is resampled: 200 MB a class."""


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

    A class' area is a sum over pairs of patients: memory and time grow with the square of their number.

    Raises:
        InvalidRequestError: no probabilities, or more than `MAX_PAIRED_PATIENTS`.
    """
    if outcomes.num_patients > MAX_PAIRED_PATIENTS:
        raise InvalidRequestError(
            f"AUC compares patients pair by pair, at most {MAX_PAIRED_PATIENTS:,} of them; given "
            f"{outcomes.num_patients:,}: choose another measure, or fewer tiles"
        )
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
    """The measure of the tiles as they are; NaN, without a warning, where it is not defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(statistic(np.ones((1, num_patients)))[0])


def rate(is_hit: np.ndarray, is_counted: np.ndarray, outcomes: Outcomes) -> Statistic:
    """Share of the tiles counted that are hit; both bool `(N,)`. True and false positive rates are such shares."""
    terms = np.column_stack([is_hit & is_counted, is_counted]).astype(np.float64)
    return _of_sums(outcomes, terms, lambda sums: sums[:, 0] / sums[:, 1])


def _area_of_class(outcomes: Outcomes, place: int) -> Statistic:
    scores, is_positive, num = _probabilities(outcomes)[:, place], outcomes.true == place, outcomes.num_patients
    own = np.unique(outcomes.patients[is_positive])
    wins = _wins(scores, is_positive, outcomes.patients, num)
    counts = sums_by_code(np.column_stack([is_positive, ~is_positive]).astype(np.float64), outcomes.patients, num)

    def area(weights: np.ndarray) -> np.ndarray:
        pairs = np.prod(weights @ counts, axis=1)
        return ((weights[:, own] @ wins) * weights).sum(axis=1) / pairs

    return area


def _wins(scores: np.ndarray, is_positive: np.ndarray, patients: np.ndarray, num: int) -> np.ndarray:
    """In how many pairs of tiles a patient's positive one scores above another's negative one; a tie is half a win.

    Returns:
        `(P, num)`, a row a patient with positive tiles, in their order.
    """
    row = np.unique(patients[is_positive], return_inverse=True)[1]
    order = np.lexsort((scores[~is_positive], patients[~is_positive]))
    lower, owners = scores[~is_positive][order], patients[~is_positive][order]
    wins, positive = np.zeros((row.max() + 1, num)), scores[is_positive]
    for patient, start, end in zip(*_runs(owners), strict=True):
        below = sum(lower[start:end].searchsorted(positive, side) for side in ("left", "right")) / 2
        wins[:, patient] = np.bincount(row, below)
    return wins


def _runs(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted codes → each code, and where its run starts and ends."""
    names, starts = np.unique(codes, return_index=True)
    return names, starts, np.append(starts[1:], len(codes))


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
