"""Precision, recall, density and coverage of synthetic features. Knows nothing of images or models.

One distance says that two sets differ, these four say how: precision and density ask whether synthetic
tiles look real, recall and coverage whether all that is real is also made. All depend on the encoder, on
k and on the numbers of tiles: what two halves of the real tiles give is the score to compare with, not 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medi_core.errors import InvalidRequestError
from medi_core.metrics.checks import require_features

CHUNK_ROWS = 256
"""Rows of distances held at a time: 256 × 10,000 tiles in float64 are 20 MB."""
EDGE = 1e-10
"""Far above the rounding of a squared distance between features of unit spread, far below what tells tiles apart."""


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
    real, synthetic = _to_unit_spread(real, synthetic)
    radius_real, radius_synthetic = _squared_radii(real, k), _squared_radii(synthetic, k)
    balls_around = np.zeros(len(synthetic))  # how many real balls each synthetic tile lies in
    recalled = covered = 0
    for rows, distances in _squared_distance_chunks(real, synthetic):
        inside_real = distances <= _edge_counts(radius_real[rows, None])
        balls_around += inside_real.sum(axis=0)
        covered += np.count_nonzero(inside_real.any(axis=1))
        recalled += np.count_nonzero((distances <= _edge_counts(radius_synthetic)).any(axis=1))
    return PRDC(
        precision=float((balls_around > 0).mean()),
        recall=recalled / len(real),
        density=float(balls_around.mean() / k),
        coverage=covered / len(real),
    )


def _to_unit_spread(real: np.ndarray, synthetic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both less the mean of the real ones and divided by their spread, float64: then `EDGE` fits any encoder."""
    centre = real.mean(axis=0, dtype=np.float64)
    real, synthetic = real - centre, synthetic - centre
    spread = np.sqrt(np.square(real).sum(axis=1).mean()) or 1.0
    return real / spread, synthetic / spread


def _squared_radii(features: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each tile to its k-th neighbour, `(N,)`; the tile itself comes first, at 0."""
    chunks = _squared_distance_chunks(features, features)
    return np.concatenate([np.partition(distances, k, axis=1)[:, k] for _, distances in chunks])


def _edge_counts(squared_radius: np.ndarray) -> np.ndarray:
    """A radius larger by a hair, so that no tile on the edge of a ball falls out of it by rounding."""
    return squared_radius * (1 + EDGE) + EDGE


def _squared_distance_chunks(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of `first` and their squared distances to all of `second`, `(rows, M)`.

    As |x|² + |y|² − 2xy, one product of matrices: ten times as fast as by differences.
    """
    lengths = np.square(second).sum(axis=1)
    for start in range(0, len(first), CHUNK_ROWS):
        rows = slice(start, min(start + CHUNK_ROWS, len(first)))
        yield rows, np.square(first[rows]).sum(axis=1)[:, None] + lengths - 2 * first[rows] @ second.T
