"""Confidence intervals: of a proportion, and of a statistic over tiles that come in groups. Knows no features.

Tiles of a patient are alike, so they are not drawn one by one: the bootstrap draws whole groups. An
interval over tiles as if they were independent is too narrow, often several times.
"""

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd

from medi_core.errors import InvalidRequestError

NO_INTERVAL = (float("nan"), float("nan"))
MAX_WEIGHTS = 10_000_000
"""Resamples × groups in memory at a time: 80 MB."""


def wilson_interval(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion of independent cases.

    Unlike the textbook's p ± z·s it stays within 0 and 1, and has a width where every case succeeds.

    Args:
        successes: 0 to n.
        n: independent cases.
        level: of confidence, between 0 and 1.

    Returns:
        Lower and upper end, 0 to 1; NaN where n = 0.

    Raises:
        InvalidRequestError: a level that is none.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    _require_level(level)
    assert 0 <= successes <= n, (successes, n)
    if n == 0:
        return NO_INTERVAL
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / n
    centre = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # at p = 0 and 1 an end is 0 or 1, but for rounding
    low = 0.0 if successes == 0 else float((centre - half) / scale)
    return low, 1.0 if successes == n else float((centre + half) / scale)


def proportion_interval(
    hits: np.ndarray, groups: Sequence[object], seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a share of tiles: Wilson's where each group has one tile, else the bootstrap over groups.

    Where all tiles succeed, or none, resampling sees no spread: then Wilson's with one case a group.

    Args:
        hits: `(N,)`, 0 or 1.
        groups: `(N,)`, what the tile shares with others (its patient); never `None` or NaN.
        seed, level: as `cluster_bootstrap`.

    Returns:
        Lower and upper end; NaN for no tile, or one group that succeeds in part. Too narrow for few groups.

    Raises:
        InvalidRequestError: as `cluster_bootstrap`.
    """
    num_groups = len(_sums_by_group(hits, groups))
    share = float(np.mean(hits)) if len(hits) else 0.0
    if num_groups == len(hits) or share in (0, 1):
        return wilson_interval(share * num_groups, num_groups, level)
    return cluster_bootstrap(hits, groups, seed=seed, level=level)


def mean_of_sums(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean over rows, from the sum of the first column and the number of rows."""
    return sums[:, 0] / counts


def cluster_bootstrap(
    values: np.ndarray,
    groups: Sequence[object],
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray] = mean_of_sums,
    num: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a statistic when whole groups are drawn anew, with replacement.

    Args:
        values: `(N,)` or `(N, M)`, one row a tile.
        groups: `(N,)`, what the tile shares with others (its patient); never `None` or NaN.
        statistic: a function of sums, for all resamples at once: given the sums of the M columns
            `(num, M)` and the numbers of rows `(num,)`, it returns `(num,)`. A ratio of two sums is
            `lambda sums, counts: sums[:, 0] / sums[:, 1]`. NaN (an empty resample) counts for nothing.
        num: resamples, at least 1.
        seed: of the draw.
        level: of confidence, between 0 and 1.

    Returns:
        Lower and upper end. NaN for fewer than 2 groups: one says nothing of the spread between them.
        Where all groups agree the interval has no width; that is the method's blind spot, not certainty.

    Raises:
        InvalidRequestError: no resample wanted, a level that is none, or a row without a group.

    Source: Field & Welsh 2007, "Bootstrapping clustered data" (the cluster bootstrap).
    """
    _require_level(level)
    sums = _sums_by_group(values, groups)
    if len(sums) < 2:
        return NO_INTERVAL

    def weighted(weights: np.ndarray) -> np.ndarray:
        resampled = weights @ sums  # (R, G) → (R, M + 1)
        return statistic(resampled[:, :-1], resampled[:, -1])

    return percentile_interval(bootstrap_results(weighted, len(sums), num, seed), level)


def bootstrap_results(
    statistic: Callable[[np.ndarray], np.ndarray], num_groups: int, num: int = 1000, seed: int = 0
) -> np.ndarray:
    """A statistic of each resample of the groups, `(num,)`; NaN where a resample leaves it undefined.

    Args:
        statistic: how often each group is drawn, float64 `(R, num_groups)`, rows sum to `num_groups` → `(R,)`. The
            difference of two statistics of the same weights is a paired one.
        num_groups: at least 1.
        num: resamples, at least 1. They are drawn in blocks, the same whatever their size, so that memory is bounded.
        seed: of the draw.

    Raises:
        InvalidRequestError: no resample wanted.
    """
    if num < 1:
        raise InvalidRequestError(f"num = {num} resamples: at least 1 is needed")
    rng, share = np.random.default_rng(seed), np.full(num_groups, 1 / num_groups)
    block = max(1, MAX_WEIGHTS // num_groups)
    sizes = [min(block, num - start) for start in range(0, num, block)]
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = [statistic(rng.multinomial(num_groups, share, size=size).astype(np.float64)) for size in sizes]
    return np.concatenate(parts)


def percentile_interval(results: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The middle part of the resampled values `(num,)`; NaN among them counts for nothing."""
    _require_level(level)
    if np.isnan(results).all():
        return NO_INTERVAL
    low, high = np.nanquantile(results, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def sums_by_code(columns: np.ndarray, codes: np.ndarray, num_groups: int) -> np.ndarray:
    """`(N, M)` → `(num_groups, M)`: the sums over the rows of each group, given as a number from 0 `(N,)`."""
    sums = np.zeros((num_groups, columns.shape[1]))
    np.add.at(sums, codes, columns)
    return sums


def _sums_by_group(values: np.ndarray, groups: Sequence[object]) -> np.ndarray:
    """`(N,)` or `(N, M)` → `(G, M + 1)`: the sums of each group and, last, its number of rows."""
    columns = np.atleast_2d(np.asarray(values, dtype=np.float64).T).T
    codes, names = pd.factorize(np.asarray(groups, dtype=object))
    assert len(codes) == len(columns), (len(codes), len(columns))
    if (codes < 0).any():
        raise InvalidRequestError(f"{(codes < 0).sum()} of {len(codes)} rows have no group: give each a key of its own")
    return sums_by_code(np.column_stack([columns, np.ones(len(columns))]), codes, len(names))


def _require_level(level: float) -> None:
    if not 0 < level < 1:
        raise InvalidRequestError(f"level = {level}: give a confidence between 0 and 1, e.g. 0.95")
