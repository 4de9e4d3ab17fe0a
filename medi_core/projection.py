"""Features `(N, D)` → a map `(N, 2)`, and which tiles are near which. Knows no metadata, images or models.

Distances are Euclidean on the features as they are: standardising channels would blow up those that hardly
vary. In a UMAP neighbourhoods mean something; axes, sizes of islands and gaps between them do not.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from medi_core.errors import InvalidRequestError, TooFewTilesError

Method = Literal["umap", "pca"]
Metric = Literal["euclidean", "cosine"]
OnProgress = Callable[[int, int], None]
"""Called with (done, total); what it raises ends the work, so a caller can cancel."""

NUM_EPOCHS = 300
"""Of UMAP. Its own default jumps from 500 to 200 at 10,000 tiles, and a map should not change its looks there."""
MIN_TILES_OF_PCA = 3
CHUNK_ROWS = 256
BOUNDS = {"n_neighbors": (3, 500), "min_dist": (0, 1), "num_pca": (0, 4096), "seed": (0, 2**32 - 1)}


@dataclass(frozen=True)
class ProjectionConfig:
    """How a map is made; all but `method` and `metric` are for UMAP alone."""

    method: Method = "umap"
    n_neighbors: int = 15
    """Tiles that count as near, itself among them, 3 to 500: few show detail, many the large structure."""
    min_dist: float = 0.1
    """How tightly the map may pack points, 0 to 1."""
    metric: Metric = "euclidean"
    """`cosine` scales every row to length 1 first: then Euclidean distance orders tiles as the cosine does."""
    num_pca: int = 50
    """Principal components kept before, 1 to 4096; 0 = the features themselves."""
    seed: int = 0
    """The same seed and features give the same map on the same machine."""

    def __post_init__(self) -> None:
        for name, allowed in (("method", get_args(Method)), ("metric", get_args(Metric))):
            if getattr(self, name) not in allowed:
                raise InvalidRequestError(f"{name} must be one of {', '.join(allowed)}, given {getattr(self, name)!r}")
        for name, (low, high) in BOUNDS.items():
            if not low <= getattr(self, name) <= high:
                raise InvalidRequestError(f"{name} must be from {low} to {high}, given {getattr(self, name)}")


def fit_projection(features: np.ndarray, config: ProjectionConfig, on_progress: OnProgress | None = None) -> np.ndarray:
    """Place tiles on a map.

    Args:
        features: float32 `(N, D)`, finite, D ≥ 2.
        config: the method and its settings.
        on_progress: (epochs done, all epochs); (0, all) several times while neighbours are sought. The first
            UMAP of a process compiles for up to a minute in between, and cannot be cancelled there.

    Returns:
        float32 `(N, 2)`, in no unit. The signs of a PCA are fixed, so that it does not flip between runs.

    Raises:
        TooFewTilesError: not more than `n_neighbors` tiles (PCA: fewer than 3).
        InvalidRequestError: features that are not finite, or all 0 where the metric is cosine.

    Source: McInnes et al. 2018, "UMAP" (arXiv 1802.03426).
    """
    is_umap = config.method == "umap"
    needed = config.n_neighbors + 1 if is_umap else MIN_TILES_OF_PCA
    if len(features) < needed:
        advice = "add tiles" + (" or take fewer n_neighbors" if is_umap else "")
        raise TooFewTilesError(f"a {config.method} map needs at least {needed} tiles, given {len(features)}: {advice}")
    report = on_progress or _ignore
    report(0, NUM_EPOCHS)
    _require_finite(features)
    points = _unit_rows(features) if config.metric == "cosine" else features
    num_components = config.num_pca if is_umap else 2
    if num_components:
        from sklearn.decomposition import PCA

        # more components than tiles or features do not exist: then all are kept, which loses nothing
        points = PCA(min(num_components, *points.shape), svd_solver="covariance_eigh").fit_transform(points)
    coordinates = _umap(points, config, report) if is_umap else points
    report(NUM_EPOCHS, NUM_EPOCHS)
    return np.ascontiguousarray(coordinates, dtype=np.float32)


def place_by_neighbours(
    features: np.ndarray, reference_features: np.ndarray, reference_coordinates: np.ndarray, k: int = 5
) -> np.ndarray:
    """Place new tiles on a finished map: the mean of their k nearest there, weighted by 1 / distance.

    An exact duplicate lands on its twin. A tile between two islands lands in the gap, and one unlike all
    others lands among them all the same: show its distances (`nearest`) beside it.

    Args:
        features: float32 `(N, D)`.
        reference_features: float32 `(M, D)`, the tiles of the map; `reference_coordinates`: `(M, 2)`, their places.
        k: neighbours, 1 to M.

    Returns:
        float32 `(N, 2)`.

    Raises:
        TooFewTilesError, InvalidRequestError: as `nearest`.
    """
    indices, distances = nearest(features, reference_features, k)
    is_twin = distances == 0
    with np.errstate(divide="ignore"):
        weights = np.where(is_twin.any(axis=1, keepdims=True), is_twin, 1 / distances.astype(np.float64))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("nk,nkc->nc", weights, reference_coordinates[indices]).astype(np.float32)


def nearest(
    features: np.ndarray, reference_features: np.ndarray, k: int, on_progress: OnProgress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest reference tiles of each tile by Euclidean distance; exact, ties in the order of the rows.

    A tile that is itself in the reference is its own nearest.

    Args:
        features: float32 `(N, D)`.
        reference_features: float32 `(M, D)`.
        k: 1 to M.
        on_progress: (rows done, N).

    Returns:
        Row numbers in the reference, int64 `(N, k)`, and distances, float32 `(N, k)`, ascending.

    Raises:
        TooFewTilesError: fewer than k reference tiles.
        InvalidRequestError: k below 1, or features that are not finite.
    """
    assert features.shape[1] == reference_features.shape[1], (features.shape, reference_features.shape)
    if k < 1:
        raise InvalidRequestError(f"k = {k} neighbours: at least 1 is needed")
    if len(reference_features) < k:
        given = len(reference_features)
        raise TooFewTilesError(f"{k} nearest tiles were asked for among {given}: add tiles or take a smaller k")
    _require_finite(features)
    _require_finite(reference_features)
    centre = reference_features.mean(axis=0)  # near 0 rounding is finest; a shift leaves distances as they are
    centred = reference_features - centre
    norms = _squared_norms(centred)
    indices, distances = np.empty((len(features), k), np.int64), np.empty((len(features), k), np.float32)
    for start in range(0, len(features), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        for row, columns in enumerate(_candidates(features[chunk] - centre, centred, norms, k), start):
            exact = np.linalg.norm(reference_features[columns].astype(np.float64) - features[row], axis=1)
            order = np.argsort(exact, kind="stable")[:k]
            indices[row], distances[row] = columns[order], exact[order]
        (on_progress or _ignore)(min(chunk.stop, len(features)), len(features))
    return indices, distances


def _candidates(chunk: np.ndarray, reference: np.ndarray, norms: np.ndarray, k: int) -> list[np.ndarray]:
    """For each row the columns, ascending, that rounding leaves possible among its k nearest: at least k."""
    sums = _squared_norms(chunk)[:, None] + norms
    squared = sums - 2 * (chunk @ reference.T)  # (n, M), |x − y|² by one matrix product
    # a product of D terms is off by at most D·ε/2·|x||y|, and |x||y| ≤ (|x|² + |y|²) / 2
    slack = np.float32((chunk.shape[1] + 8) * np.finfo(np.float32).eps) * sums
    bound = np.partition(squared + slack, k - 1, axis=1)[:, k - 1 : k]
    return [np.flatnonzero(row) for row in squared - slack <= bound]


def _umap(points: np.ndarray, config: ProjectionConfig, report: OnProgress) -> np.ndarray:
    """The neighbours are found here, not by UMAP: exactly, in seconds, and so that they can be cancelled."""
    neighbours = nearest(points, points, config.n_neighbors, lambda _done, _total: report(0, NUM_EPOCHS))
    from umap import UMAP  # slow to import

    drawn = {"random_state": config.seed, "n_jobs": 1}  # more threads would draw in another order each time
    fitted = UMAP(
        **{"n_neighbors": config.n_neighbors, "min_dist": config.min_dist, "n_epochs": NUM_EPOCHS, **drawn},
        **{"precomputed_knn": neighbours, "tqdm_kwds": _progress_bar(report)},
    )
    with warnings.catch_warnings():
        # new tiles are placed by `place_by_neighbours`: UMAP's own search index is not wanted
        warnings.filterwarnings("ignore", message=r"precomputed_knn\[2\]")
        return fitted.fit_transform(points)


class _EpochListener:
    """Stands in for the file that UMAP's progress bar is written to: the one place where it tells its epoch."""

    def __init__(self, report: OnProgress) -> None:
        self._report = report

    def write(self, text: str) -> None:
        if epoch := text.strip():
            report, self._report = self._report, _ignore  # tqdm writes once more while an error passes through it
            report(int(epoch), NUM_EPOCHS)
            self._report = report

    def flush(self) -> None:
        """Nothing is kept back."""


def _progress_bar(report: OnProgress) -> dict[str, object]:
    """tqdm's settings for a bar that writes the bare number of each epoch to `report`."""
    often = {"mininterval": 0, "miniters": 1}
    return {"disable": False, "file": _EpochListener(report), "bar_format": "{n_fmt}", **often}


def _unit_rows(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not lengths.all():
        raise InvalidRequestError(f"features of row {lengths.argmin()} are all 0: no cosine; take metric = euclidean")
    return features / lengths


def _squared_norms(features: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", features, features)


def _require_finite(features: np.ndarray) -> None:
    if not len(features):
        raise TooFewTilesError("no tile was given: at least 1 is needed")
    is_bad = ~np.isfinite(_squared_norms(features))  # no NaN or infinity hides from its norm
    if is_bad.any():
        raise InvalidRequestError(
            f"features of {is_bad.sum()} of {len(features)} tiles are not finite (first: row {is_bad.argmax()}): "
            "encode these tiles anew or leave them out"
        )


def _ignore(_done: int, _total: int) -> None:
    """The listener of a caller that does not listen."""
