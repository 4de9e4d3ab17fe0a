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
from medi_core.metrics.crossed_bootstrap import (
    crossed_bootstrap,
    crossed_mean_of_readers,
    crossed_proportion,
    mean_of_sums,
    sums_of,
)
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
    """The mean of answers that are numbers."""
    return _estimate(values, readers, cases, mean_of_sums, seed)


def d_prime(
    is_positive: np.ndarray,
    called_positive: np.ndarray,
    readers: Sequence[object],
    cases: Sequence[object],
    seed: int = 0,
) -> Estimate:
    """Sensitivity index z(hit rate) − z(false alarm rate), all readers together; 0 = chance.

    NaN where a kind is missing. Half an answer is added to hits and false alarms and one to each kind, so that rates of
    0 and 1 stay finite.

    Args:
        is_positive, called_positive: `(N,)`, 0 or 1.

    Source: Green & Swets 1966; the correction: Hautus 1995, "Corrections for extreme proportions".
    """
    return _estimate(_calls(is_positive, called_positive), readers, cases, _d_prime_of_sums, seed)


def mean_d_prime(
    is_positive: np.ndarray,
    called_positive: np.ndarray,
    readers: Sequence[object],
    cases: Sequence[object],
    seed: int = 0,
) -> Estimate:
    """`d_prime` of each reader, averaged over readers: who calls more often synthetic than others does not lower it."""
    values = _calls(is_positive, called_positive)
    estimate = crossed_mean_of_readers(values, readers, cases, _d_prime_of_sums, seed=seed)
    return Estimate(*estimate, *_counts(readers, cases))


def roc_auc(
    is_positive: np.ndarray, scores: np.ndarray, readers: Sequence[object], cases: Sequence[object], seed: int = 0
) -> Estimate:
    """Area under the ROC curve of a graded answer, all readers together; ties count half. NaN where a kind is missing.

    Args:
        is_positive: `(N,)`, 0 or 1.
        scores: `(N,)`, higher = more surely positive; few different values.

    Source: Hanley & McNeil 1982: the probability that a positive scores above a negative one.
    """
    return _estimate(_histograms(is_positive, scores), readers, cases, _auc_of_sums, seed)


def roc_curve(is_positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of the empirical ROC curve of a graded answer, from (0, 0) to (1, 1), one a level and the start.

    Args:
        is_positive, scores: as `roc_auc`; its value is the area under the straight lines between the points.

    Returns:
        False positive rate, true positive rate and the score from which on an answer is called positive (infinite at
        the start), `(L + 1,)` each; empty where a kind is missing.
    """
    from sklearn.metrics import roc_curve as points_of

    positive = np.asarray(is_positive, bool)
    if positive.all() or not positive.any():
        return (np.empty(0),) * 3
    return points_of(positive, np.asarray(scores, float), drop_intermediate=False)


def mean_roc_auc(
    is_positive: np.ndarray, scores: np.ndarray, readers: Sequence[object], cases: Sequence[object], seed: int = 0
) -> Estimate:
    """`roc_auc` of each reader, averaged over readers: each may use the scale in his own way."""
    values = _histograms(is_positive, scores)
    return Estimate(*crossed_mean_of_readers(values, readers, cases, _auc_of_sums, seed=seed), *_counts(readers, cases))


def cohen_kappa(pairs: pd.DataFrame, labels: Sequence[object], quadratic: bool = False, seed: int = 0) -> Estimate:
    """Agreement of two ratings of the same tiles beyond chance; 1 = perfect, 0 = chance. NaN where all are alike.

    Chance is that of each reader (or pair of readers) alone, and disagreements are summed over them: margins of readers
    thrown together would take what readers have in common for agreement. The interval draws cases anew: it speaks of
    these readers.

    Args:
        pairs: a row a tile rated twice: `first`, `second`, `reader` (or pair of readers), `case`.
        labels: all that can be given; in order, for quadratic weights.
        quadratic: a disagreement weighs by the square of its distance (for scales).
        seed: of the bootstrap.

    Source: Cohen 1960; Cohen 1968 for the weights.
    """
    num, counts = len(labels), _counts(pairs["reader"], pairs["case"])
    if pairs.empty:
        return Estimate(np.nan, *NO_INTERVAL, *counts)
    place = {label: i for i, label in enumerate(labels)}
    who, names = pd.factorize(pairs["reader"])
    cells = who * num**2 + (pairs["first"].map(place) * num + pairs["second"].map(place)).to_numpy()
    case, cases = pd.factorize(pairs["case"])
    tables = np.zeros((len(cases), len(names) * num**2))  # a case's: far fewer rows than answers
    np.add.at(tables, (case, cells), 1)
    distance = np.subtract.outer(np.arange(num), np.arange(num))
    cost = distance**2 if quadratic else distance != 0

    def statistic(sums: np.ndarray) -> np.ndarray:
        table = sums[:, :-1].reshape(-1, len(names), num, num)
        first, second = table.sum(axis=3), table.sum(axis=2)
        size = np.maximum(first.sum(axis=2), 1)  # a reader of none of the cases drawn: all is 0
        by_chance = np.einsum("brf,brs,fs,br->b", first, second, cost, 1 / size, optimize=True)
        return 1 - np.einsum("brfs,fs->b", table, cost) / by_chance

    return _over_cases(tables, cases, statistic, counts, seed)


def fleiss_kappa(counts: np.ndarray, cases: Sequence[object] | None = None, seed: int = 0) -> Estimate:
    """Agreement of several readers beyond chance; NaN where all are alike, or there are fewer than 2 readers.

    The interval draws cases anew: it speaks of these readers.

    Args:
        counts: `(tiles, labels)`: how many readers gave each label; every row has the same sum.
        cases: `(tiles,)`; by default each tile is one.
        seed: of the bootstrap.

    Raises:
        InvalidRequestError: rows of different sums.

    Source: Fleiss 1971, "Measuring nominal scale agreement among many raters".
    """
    counts = np.asarray(counts, dtype=np.float64)
    sizes = set(counts.sum(axis=1))
    if len(sizes) > 1:
        raise InvalidRequestError(f"Fleiss' kappa needs one number of readers a tile, given {sorted(sizes)}")
    n = int(max(sizes, default=0))
    cases = range(len(counts)) if cases is None else cases
    facts = (len(counts) * n, n, len(set(cases)))
    if n < 2:
        return Estimate(np.nan, *NO_INTERVAL, *facts)
    observed = ((counts**2).sum(axis=1) - n) / (n * (n - 1))

    def statistic(sums: np.ndarray) -> np.ndarray:
        by_chance = ((sums[:, 1:-1] / (n * sums[:, -1:])) ** 2).sum(axis=1)
        return (sums[:, 0] / sums[:, -1] - by_chance) / (1 - by_chance)

    return _over_cases(np.column_stack([observed, counts]), cases, statistic, facts, seed)


def _over_cases(
    values: np.ndarray, cases: Sequence[object], statistic, counts: tuple[int, int, int], seed: int
) -> Estimate:
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(sums_of(values))[0])
    return Estimate(value, *crossed_bootstrap(values, ["all"] * len(values), cases, statistic, seed=seed), *counts)


def _estimate(values: np.ndarray, readers: Sequence[object], cases: Sequence[object], statistic, seed: int) -> Estimate:
    if len(values) == 0:
        return Estimate(*[float("nan")] * 3, 0, 0, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(sums_of(values))[0])
    interval = crossed_bootstrap(values, readers, cases, statistic, seed=seed)
    return Estimate(value, *interval, *_counts(readers, cases))


def _calls(is_positive: np.ndarray, called_positive: np.ndarray) -> np.ndarray:
    """`(N, 4)`: hit, positive, false alarm, negative."""
    positive, called = np.asarray(is_positive, float), np.asarray(called_positive, float)
    return np.column_stack([positive * called, positive, (1 - positive) * called, 1 - positive])


def _histograms(is_positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """`(N, 2 L)`: the score among L levels, of positives and then of negatives."""
    positive = np.asarray(is_positive, bool)
    levels, places = np.unique(np.asarray(scores, float), return_inverse=True)
    one_hot = np.eye(len(levels))[places]
    return np.hstack([one_hot * positive[:, None], one_hot * ~positive[:, None]])


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
