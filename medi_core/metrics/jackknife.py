"""Intervals of statistics that a bootstrap would bias: distances, neighbours, rank correlations. Knows no features.

A resample holds tiles twice, and the second one is a neighbour at distance 0. A jackknife only leaves out: blocks of
whole groups, side by side, for the sides of a comparison are independent of each other.
"""

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd

from medi_core.metrics.intervals import NO_INTERVAL

NUM_BLOCKS = 20


def jackknife_interval(
    statistic: Callable[[list[np.ndarray]], float],
    groups: Sequence[Sequence[object]],
    num_blocks: int = NUM_BLOCKS,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """The statistic of all tiles, give or take its error when blocks of groups are left out, one after the other.

    Args:
        statistic: given which tiles of each side are kept, one bool `(N_i,)` a side, it returns a number.
        groups: of each side, `(N_i,)`: what the tile shares with others (its patient); tiles that share nothing have
            a key of their own.
        num_blocks: of a side, at most: groups are put together at random, so that many groups do not cost more.
        seed: of the blocks.
        level: of confidence.

    Returns:
        Lower and upper end, symmetric about the statistic; NaN where a side has fewer than 2 groups, which say
        nothing of the spread between groups, or the statistic is not finite. Too narrow for few groups.

    Source: Kott 2001, "The delete-a-group jackknife"; the variances of independent sides add up.
    """
    everything = [np.ones(len(side), dtype=bool) for side in groups]
    value, variance = statistic(everything), 0.0
    for place, side in enumerate(groups):
        blocks = _blocks_of(side, num_blocks, np.random.default_rng(seed))
        if blocks.max(initial=0) < 1:
            return NO_INTERVAL
        kept = [[*everything[:place], blocks != block, *everything[place + 1 :]] for block in np.unique(blocks)]
        values = np.array([statistic(sides) for sides in kept])
        variance += (len(values) - 1) * float(np.var(values))
    half = NormalDist().inv_cdf((1 + level) / 2) * float(np.sqrt(variance))
    return (float(value - half), float(value + half)) if np.isfinite([value, half]).all() else NO_INTERVAL


def _blocks_of(groups: Sequence[object], num_blocks: int, rng: np.random.Generator) -> np.ndarray:
    """The number of its block for each tile, int64 `(N,)`: whole groups, blocks of about as many groups each."""
    codes, names = pd.factorize(np.asarray(groups, dtype=object))
    assert (codes >= 0).all(), "a tile without a group"
    return (rng.permutation(len(names)) % num_blocks)[codes] if len(names) else codes
