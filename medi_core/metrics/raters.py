"""How well readers tell two kinds of tile apart, and how far they agree. Knows answers as arrays, and no study.

"Positive" is the kind to be detected. All statistics here are functions of sums over answers, so that
`crossed_bootstrap` can compute a thousand of them at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from medi_core.errors import InvalidRequestError
from medi_core.metrics.crossed_bootstrap import crossed_bootstrap, crossed_proportion, sums_of
from medi_core.metrics.intervals import NO_INTERVAL


@dataclass(frozen=True)
class Estimate:
    """A number with what it stands on."""

    value: float
    """NaN where there is nothing to compute it from."""
    ci_low: float
    ci_high: float
    """Ends of the 95 % interval."""
    n: int
    """Answers."""
    num_readers: int
    num_cases: int
    """Patients, or tiles that have none."""


def proportion(hits: np.ndarray, readers: Sequence[object], cases: Sequence[object], seed: int = 0) -> Estimate:
    """A share of answers, with the interval of `crossed_proportion`."""
    value = float(np.mean(hits)) if len(hits) else float("nan")
    return Estimate(value, *crossed_proportion(hits, readers, cases, seed), *_counts(readers, cases))


def mean(values: np.ndarray, readers: Sequence[object], cases: Sequence[object], seed: int = 0) -> Estimate:
    """The mean of answers that are numbers; no interval where all are alike, for resampling sees no spread then."""
    if len(values) and np.ptp(values) == 0:
        return Estimate(float(values[0]), *NO_INTERVAL, *_counts(readers, cases))
    return _estimate(values, readers, cases, lambda sums: sums[:, 0] / sums[:, -1], seed)


def d_prime(
    is_positive: np.ndarray,
    called_positive: np.ndarray,
    readers: Sequence[object],
    cases: Sequence[object],
    seed: int = 0,
) -> Estimate:
    """Sensitivity index z(hit rate) − z(false alarm rate); 0 = chance. NaN where one kind is missing.

    Half an answer is added to hits and false alarms and one to each kind, so that rates of 0 and 1 stay finite.

    Args:
        is_positive, called_positive: `(N,)`, 0 or 1.

    Source: Green & Swets 1966; the correction: Hautus 1995, "Corrections for extreme proportions".
    """
    positive, called = np.asarray(is_positive, float), np.asarray(called_positive, float)
    values = np.column_stack([positive * called, positive, (1 - positive) * called, 1 - positive])
    return _estimate(values, readers, cases, _d_prime_of_sums, seed)


def roc_auc(
    is_positive: np.ndarray, scores: np.ndarray, readers: Sequence[object], cases: Sequence[object], seed: int = 0
) -> Estimate:
    """Area under the ROC curve of a graded answer, all readers together; ties count half. NaN where a kind is missing.

    Args:
        is_positive: `(N,)`, 0 or 1.
        scores: `(N,)`, higher = more surely positive; few different values.

    Source: Hanley & McNeil 1982: the probability that a positive scores above a negative one.
    """
    positive = np.asarray(is_positive, bool)
    levels, places = np.unique(np.asarray(scores, float), return_inverse=True)
    one_hot = np.eye(len(levels))[places]
    values = np.hstack([one_hot * positive[:, None], one_hot * ~positive[:, None]])  # (N, 2 L): a histogram a kind
    return _estimate(values, readers, cases, _auc_of_sums, seed)


def cohen_kappa(
    first: Sequence[object], second: Sequence[object], labels: Sequence[object], quadratic: bool = False
) -> float:
    """Agreement of two ratings of the same tiles beyond chance; 1 = perfect, 0 = chance. NaN where undefined.

    Args:
        first, second: `(N,)`.
        labels: all that can be given; in order, for quadratic weights.
        quadratic: a disagreement weighs by the square of its distance (for scales).

    Source: Cohen 1960; Cohen 1968 for the weights.
    """
    from sklearn.metrics import cohen_kappa_score

    if len(first) == 0 or (len({*first, *second}) < 2):  # all alike: there is no chance to be above of
        return float("nan")
    weights = "quadratic" if quadratic else None
    return float(cohen_kappa_score(list(first), list(second), labels=list(labels), weights=weights))


def fleiss_kappa(counts: np.ndarray) -> float:
    """Agreement of several readers beyond chance; NaN where undefined.

    Args:
        counts: `(tiles, labels)`: how many readers gave each label; every row has the same sum, at least 2.

    Raises:
        InvalidRequestError: rows of different sums.

    Source: Fleiss 1971, "Measuring nominal scale agreement among many raters".
    """
    counts = np.asarray(counts, dtype=np.float64)
    if len(counts) == 0:
        return float("nan")
    num_readers = counts.sum(axis=1)
    if len(set(num_readers)) > 1 or num_readers[0] < 2:
        raise InvalidRequestError(f"Fleiss' kappa needs one number of readers a tile, at least 2; given {num_readers}")
    n = num_readers[0]
    observed = ((counts**2).sum(axis=1) - n) / (n * (n - 1))
    by_chance = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    return float((observed.mean() - by_chance) / (1 - by_chance)) if by_chance < 1 else float("nan")


def fleiss_kappa_estimate(
    ratings: pd.DataFrame, labels: Sequence[object], cases: Sequence[object], num: int = 1000, seed: int = 0
) -> Estimate:
    """`fleiss_kappa` with the interval over cases: it speaks of these readers.

    Args:
        ratings: a row a tile, a column a reader, no cell empty.
        labels: all that can be given.
        cases: `(tiles,)`.
    """
    counts = np.stack([(ratings == label).sum(axis=1) for label in labels], axis=1)
    interval = _over_cases(np.asarray(cases, object), lambda rows: fleiss_kappa(counts[rows]), num, seed)
    return Estimate(fleiss_kappa(counts), *interval, ratings.size, ratings.shape[1], len(set(cases)))


def cohen_kappa_estimate(
    pairs: pd.DataFrame, labels: Sequence[object], quadratic: bool = False, num: int = 500, seed: int = 0
) -> Estimate:
    """`cohen_kappa` of all pairs together, with the interval over cases.

    Args:
        pairs: columns `first`, `second`, `reader`, `case`.
    """
    first, second = pairs["first"].to_numpy(object), pairs["second"].to_numpy(object)

    def kappa(rows: np.ndarray) -> float:
        return cohen_kappa(first[rows], second[rows], labels, quadratic)

    interval = _over_cases(pairs["case"].to_numpy(object), kappa, num, seed)
    counts = _counts(pairs["reader"], pairs["case"])
    return Estimate(kappa(np.arange(len(pairs))), *interval, *counts)


def _over_cases(cases: np.ndarray, statistic, num: int, seed: int) -> tuple[float, float]:
    """Percentile interval of a function of row numbers when cases are drawn anew."""
    codes, names = pd.factorize(cases)
    if len(names) < 2:
        return NO_INTERVAL
    rows_of = [np.flatnonzero(codes == code) for code in range(len(names))]
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(names), size=(num, len(names)))
    results = np.array([statistic(np.concatenate([rows_of[code] for code in draw])) for draw in draws])
    if np.isnan(results).all():
        return NO_INTERVAL
    low, high = np.nanquantile(results, [0.025, 0.975])
    return float(low), float(high)


def _estimate(values: np.ndarray, readers: Sequence[object], cases: Sequence[object], statistic, seed: int) -> Estimate:
    if len(values) == 0:
        return Estimate(*[float("nan")] * 3, 0, 0, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(sums_of(values))[0])
    interval = crossed_bootstrap(values, readers, cases, statistic, seed=seed)
    return Estimate(value, *interval, *_counts(readers, cases))


def _d_prime_of_sums(sums: np.ndarray) -> np.ndarray:
    hits, positives, false_alarms, negatives = sums[:, :4].T
    both = (positives > 0) & (negatives > 0)
    result = norm.ppf((hits + 0.5) / (positives + 1)) - norm.ppf((false_alarms + 0.5) / (negatives + 1))
    return np.where(both, result, np.nan)


def _auc_of_sums(sums: np.ndarray) -> np.ndarray:
    levels = (sums.shape[1] - 1) // 2
    positive, negative = sums[:, :levels], sums[:, levels : 2 * levels]
    below = np.cumsum(negative, axis=1) - negative / 2  # those that score lower, and half of those that tie
    return (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))


def _counts(readers: Sequence[object], cases: Sequence[object]) -> tuple[int, int, int]:
    return len(readers), len(set(readers)), len(set(cases))
