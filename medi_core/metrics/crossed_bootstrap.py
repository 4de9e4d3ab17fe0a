"""Intervals where every answer belongs to a reader and to a case: both are drawn anew. Knows no task.

Readers differ and tiles differ, and a study wants to speak of other readers and other tiles. Resampling answers one by
one, or readers alone, gives intervals that are too narrow.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from medi_core.metrics.intervals import NO_INTERVAL, percentile_interval, wilson_interval

RESAMPLES = 1000


def crossed_bootstrap(
    values: np.ndarray,
    readers: Sequence[object],
    cases: Sequence[object],
    statistic: Callable[[np.ndarray], np.ndarray],
    num: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a statistic when readers and cases are drawn anew, each with replacement.

    An answer counts as often as its reader was drawn times as often as its case was. With one reader, cases alone are
    drawn: the interval then speaks of this reader.

    Args:
        values: `(N,)` or `(N, M)`, one row an answer.
        readers: `(N,)`.
        cases: `(N,)`, what tiles share: the patient, or the tile itself.
        statistic: from the weighted sums of the M columns and, last, of a column of ones, `(num, M + 1)` → `(num,)`;
            NaN (an empty resample) counts for nothing.
        num: resamples.
        seed: of the draw.
        level: of confidence.

    Returns:
        Lower and upper end; NaN for fewer than 2 cases, and where all resamples are alike: that is no certainty.

    Source: Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2). It is conservative: never
    narrower, in expectation, than the variance of crossed random effects.
    """
    columns, reader_codes, case_codes = _with_ones(values), _codes(readers), _codes(cases)
    if len(columns) == 0 or case_codes.max() < 1:
        return NO_INTERVAL
    rng = np.random.default_rng(seed)
    weights = _draws(case_codes, num, rng)[:, case_codes]  # (num, N)
    if reader_codes.max() > 0:
        weights = weights * _draws(reader_codes, num, rng)[:, reader_codes]
    with np.errstate(invalid="ignore", divide="ignore"):
        results = statistic(weights @ columns)
    return _percentiles(results, level)


def crossed_mean_of_readers(
    values: np.ndarray,
    readers: Sequence[object],
    cases: Sequence[object],
    statistic: Callable[[np.ndarray], np.ndarray],
    num: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """A statistic of each reader alone, averaged over readers, and its interval as `crossed_bootstrap` draws it.

    All readers see the same draw of cases; one for whom the statistic is NaN counts for nothing.

    Returns:
        Value, lower and upper end; NaN as in `crossed_bootstrap`.
    """
    columns, reader_codes, case_codes = _with_ones(values), _codes(readers), _codes(cases)
    if len(columns) == 0:
        return np.nan, *NO_INTERVAL
    owns = [reader_codes == reader for reader in range(reader_codes.max() + 1)]
    rng = np.random.default_rng(seed)
    weights = _draws(case_codes, num, rng)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.array([statistic(columns[own].sum(axis=0, keepdims=True))[0] for own in owns])
        drawn = np.stack([statistic(weights[:, case_codes[own]] @ columns[own]) for own in owns], axis=1)  # (num, R)
    value = float(_weighted_mean(whole, np.ones(len(owns))))
    if case_codes.max() < 1:
        return value, *NO_INTERVAL
    times = _draws(reader_codes, num, rng)  # one reader is drawn once each time
    return value, *_percentiles(_weighted_mean(drawn, times), level)


def crossed_proportion(
    hits: np.ndarray, readers: Sequence[object], cases: Sequence[object], seed: int = 0
) -> tuple[float, float]:
    """95 % interval of a share of answers.

    Wilson's for one reader with one answer a case; and where all answers agree, when resampling sees no spread: then
    with one answer a case. Else `crossed_bootstrap`.

    Args:
        hits: `(N,)`, 0 or 1.
    """
    num_cases, num_readers = len(set(cases)), len(set(readers))
    share = float(np.mean(hits)) if len(hits) else 0.0
    if share in (0, 1) or (num_readers == 1 and num_cases == len(hits)):
        return wilson_interval(share * num_cases, num_cases)
    return crossed_bootstrap(hits, readers, cases, mean_of_sums, seed=seed)


def mean_of_sums(sums: np.ndarray) -> np.ndarray:
    """The mean over answers of the first column."""
    return sums[:, 0] / sums[:, -1]


def sums_of(values: np.ndarray) -> np.ndarray:
    """What a statistic is given for the answers as they are: `(1, M + 1)`."""
    return _with_ones(values).sum(axis=0, keepdims=True)


def _with_ones(values: np.ndarray) -> np.ndarray:
    columns = np.atleast_2d(np.asarray(values, dtype=np.float64).T).T
    return np.column_stack([columns, np.ones(len(columns))])


def _codes(names: Sequence[object]) -> np.ndarray:
    """A number from 0 a name, `(N,)`."""
    return pd.factorize(np.asarray(names, object))[0]


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Over the last axis; NaN counts for nothing."""
    weights = np.where(np.isnan(values), 0, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np.nan_to_num(values) * weights).sum(axis=-1) / weights.sum(axis=-1)


def _percentiles(results: np.ndarray, level: float) -> tuple[float, float]:
    low, high = percentile_interval(results, level)
    return NO_INTERVAL if low == high else (low, high)


def _draws(codes: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of the groups is drawn in each resample, `(num, G)`."""
    size = int(codes.max()) + 1
    return rng.multinomial(size, np.full(size, 1 / size), size=num).astype(np.float64)
