"""Kernel distance (KID) between two sets of features. Knows nothing of images or models.

The features are taken as they are. The kernel compares dot products, so a channel counts by its mean
square, not by what it tells: an encoder whose channels differ much in scale is judged mostly by the
loud ones. Standardising channels would change that, and would also blow up channels that hardly vary;
and a distance is only comparable with others made by the same encoder and the same scaling. So: no
scaling, the encoder's name beside every number, and a real–real distance of the same sizes as floor.
"""

from dataclasses import dataclass

import numpy as np

from medi_core.errors import InvalidRequestError
from medi_core.metrics.checks import require_features, require_tiles

MIN_TILES = 2
MEASURE = "a kernel distance"


@dataclass(frozen=True)
class SubsetDistances:
    """Kernel distances of several random subsets."""

    values: np.ndarray
    """float64 `(num_subsets,)`."""

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def std(self) -> float:
        """Spread over the subsets: that of a distance of `subset_size` tiles, not an error of the mean.

        Subsets overlap, and tiles of a patient are alike: it is smaller than the spread over new patients.
        """
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else float("nan")


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with the cubic kernel k(x, y) = (x·y / D + 1)³.

    About 0 for two samples of one distribution, and then as often below 0 as above.

    Args:
        first: features, `(N, D)`.
        second: features, `(M, D)`.

    Returns:
        The distance; in no unit, and on a scale that depends on the encoder.

    Raises:
        TooFewTilesError: fewer than 2 tiles on a side.
        InvalidRequestError: features of different encoders, or not finite.

    Source: Bińkowski et al. 2018, "Demystifying MMD GANs" (arXiv 1801.01401), §4 and eq. 4.
    """
    require_features(first, second, MIN_TILES, MEASURE)
    within_first, within_second = _mean_off_diagonal(first), _mean_off_diagonal(second)
    return float(within_first + within_second - 2 * _kernel(first, second).mean())


def kernel_distance_of_subsets(
    first: np.ndarray, second: np.ndarray, subset_size: int, num_subsets: int = 50, seed: int = 0
) -> SubsetDistances:
    """Kernel distances of random subsets, drawn without replacement and as large on both sides.

    Args:
        first: features, `(N, D)`.
        second: features, `(M, D)`.
        subset_size: tiles a side and subset, 2 to min(N, M); well below both, or the subsets are all alike.
        num_subsets: how many, at least 1.
        seed: of the draw.

    Raises:
        TooFewTilesError: a side has fewer than `subset_size` tiles, or that is below 2.
        InvalidRequestError: no subset wanted; features of different encoders, or not finite.
    """
    if num_subsets < 1:
        raise InvalidRequestError(f"num_subsets = {num_subsets}: at least 1 is needed")
    require_features(first, second, 0, MEASURE)
    require_tiles(subset_size, MIN_TILES, MEASURE)
    require_tiles(min(len(first), len(second)), subset_size, MEASURE, "add tiles or take smaller subsets")
    rng = np.random.default_rng(seed)
    values = [
        kernel_distance(
            first[rng.choice(len(first), subset_size, replace=False)],
            second[rng.choice(len(second), subset_size, replace=False)],
        )
        for _ in range(num_subsets)
    ]
    return SubsetDistances(np.array(values))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`(N, D)`, `(M, D)` → `(N, M)`; float64, for the distance is a small difference of large means."""
    return (x.astype(np.float64) @ y.astype(np.float64).T / x.shape[1] + 1) ** 3


def _mean_off_diagonal(x: np.ndarray) -> float:
    """Mean of k(x_i, x_j) over i ≠ j: leaving out the diagonal is what makes the estimate unbiased."""
    kernel = _kernel(x, x)
    return (kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1))
