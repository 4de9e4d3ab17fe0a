"""Precision, recall, density and coverage of synthetic features. Knows nothing of images or models.

One distance says that two sets differ, these four say how: precision and density ask whether synthetic
tiles look real, recall and coverage whether all that is real is also made. All depend on the encoder, on
k and on the numbers of tiles: what two halves of the real tiles give is the score to compare with, not 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from medi_core.errors import InvalidRequestError
from medi_core.metrics.checks import require_features

CHUNK_ROWS = 256
"""Rows of distances held at a time: 256 × 10,000 tiles in float64 are 20 MB."""


@dataclass(frozen=True)
class PRDC:
    """How well a synthetic set matches a real one; a ball is that of a tile to its k-th neighbour in its set."""

    precision: float
    """Share of synthetic tiles in the ball of a real one; 0 to 1. One real outlier with a huge ball raises it."""
    recall: float
    """Share of real tiles in the ball of a synthetic one; 0 to 1. Synthetic outliers raise it."""
    density: float
    """Balls of real tiles that a synthetic one lies in, divided by k, in the mean; about 1 if alike, may exceed 1."""
    coverage: float
    """Share of real tiles whose ball holds a synthetic one; 0 to 1."""


def precision_recall_density_coverage(real: np.ndarray, synthetic: np.ndarray, k: int = 5) -> PRDC:
    """Compare the k-nearest-neighbour balls (Euclidean, edge included) around the tiles of both sets.

    Args:
        real: features, `(N, D)`; computed with in float64.
        synthetic: features, `(M, D)`.
        k: neighbours that set the radius of a ball, the tile itself not counted; at least 1, below N and M.

    Raises:
        TooFewTilesError: a side has k tiles or fewer.
        InvalidRequestError: k below 1; features of different encoders, or not finite.

    Source: Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric" (arXiv 1904.06991), eq. 1–2;
    Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics" (arXiv 2002.09797), §3.
    """
    if k < 1:
        raise InvalidRequestError(f"k = {k}: at least 1 neighbour is needed")
    require_features(real, synthetic, k + 1, f"a comparison of {k} nearest neighbours")
    radius_real, radius_synthetic = _radii(real, k), _radii(synthetic, k)
    balls_around = np.zeros(len(synthetic))  # how many real balls each synthetic tile lies in
    recalled = covered = 0
    for rows, distances in _distance_chunks(real, synthetic):
        inside_real = distances <= radius_real[rows, None]
        balls_around += inside_real.sum(axis=0)
        covered += np.count_nonzero(inside_real.any(axis=1))
        recalled += np.count_nonzero((distances <= radius_synthetic).any(axis=1))
    return PRDC(
        precision=float((balls_around > 0).mean()),
        recall=recalled / len(real),
        density=float(balls_around.mean() / k),
        coverage=covered / len(real),
    )


def _radii(features: np.ndarray, k: int) -> np.ndarray:
    """Distance of each tile to its k-th neighbour, float64 `(N,)`; index k, for the tile itself comes at 0."""
    return np.concatenate([np.partition(chunk, k, axis=1)[:, k] for _, chunk in _distance_chunks(features, features)])


def _distance_chunks(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of `first` and their distances to all of `second`, `(rows, M)`.

    By differences, not by |x|² + |y|² − 2xy: that is faster, but gives equal tiles a distance above 0, and
    then a tile on the edge of a ball falls in or out by rounding.
    """
    second = second.astype(np.float64)
    for start in range(0, len(first), CHUNK_ROWS):
        rows = slice(start, min(start + CHUNK_ROWS, len(first)))
        yield rows, cdist(first[rows].astype(np.float64), second)
