"""Robustness index: do features bring together the same class or the same center? Knows no images or models.

Of the k nearest tiles of other patients two kinds tell something: the same class from another center
(biology wins) and another class from the same center (the confounder wins). The index is the share of the
first among both. It is a property of the encoder on one set of tiles, not of a tile.

The published index is made on balanced sets, where 0.5 says that both weigh the same. On others, features
that say nothing give the share of the candidates: compare with `chance`, not with 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medi_core.errors import InvalidRequestError, TooFewTilesError

CHUNK_ROWS = 256


@dataclass(frozen=True)
class RobustnessIndex:
    """The index, the counts behind it, and what features without content would give."""

    value: float
    """0 (neighbours share the center) to 1 (they share the class); NaN where no neighbour is of either kind."""
    chance: float
    """The value expected of neighbours drawn at random from the same candidates, 0 to 1."""
    num_same_class_other_center: int
    """Neighbours, summed over tiles."""
    num_other_class_same_center: int
    num_tiles: int
    """Tiles whose neighbours were counted."""
    num_patients: int
    """Patients with an id among them; tiles without one add none."""
    k: int


def robustness_index(
    features: np.ndarray,
    classes: Sequence[str | None],
    centers: Sequence[str | None],
    patients: Sequence[str | None],
    k: int,
) -> RobustnessIndex:
    """The share of same-class-other-center among the telling neighbours, over all tiles that can have both kinds.

    Neighbours are by cosine, as published. Tiles of the same patient are no neighbours; a tile without patient
    id excludes nothing but itself, so it may count tiles of its own patient. Tiles without class or center are
    left out. A tile counts if, outside its patient, its class occurs at another center and its center holds
    another class; any tile can be its neighbour. One with fewer than k candidates counts those it has.

    Args:
        features: `(N, D)`, finite, no row all 0.
        classes: `(N,)`, e.g. the cancer type; `None` where unknown.
        centers: `(N,)`, the hospital; `None` where unknown.
        patients: `(N,)`; `None` where not recorded.
        k: neighbours a tile, at least 1.

    Raises:
        TooFewTilesError: no tile can have both kinds of neighbours.
        InvalidRequestError: k below 1, features that are not finite or all 0.

    Source: Kömen et al. 2025, "Towards robust foundation models for digital pathology" (arXiv 2507.17845),
    robustness index. There k is the one of the best k-nearest-neighbour accuracy; here the caller's.
    """
    if k < 1:
        raise InvalidRequestError(f"k = {k} neighbours: at least 1 is needed")
    class_ids, center_ids, patient_ids = (_ids(values) for values in (classes, centers, patients))
    known = (class_ids >= 0) & (center_ids >= 0)
    if not known.any():
        raise _none_counts(len(features))
    points = _unit_rows(features[known])
    class_ids, center_ids, patient_ids = class_ids[known], center_ids[known], patient_ids[known]
    counts = [
        _count(rows, points, class_ids, center_ids, patient_ids, k)
        for rows in np.array_split(np.arange(len(points)), -(-len(points) // CHUNK_ROWS))
    ]
    found, expected, counted = (np.concatenate(part) for part in zip(*counts, strict=True))
    if not counted.any():
        raise _none_counts(len(features))
    biology, confounder = (int(number) for number in found[counted].sum(axis=0))
    expected_biology, expected_confounder = expected[counted].sum(axis=0)
    return RobustnessIndex(
        value=biology / (biology + confounder) if biology + confounder else float("nan"),
        chance=float(expected_biology / (expected_biology + expected_confounder)),
        num_same_class_other_center=biology,
        num_other_class_same_center=confounder,
        num_tiles=int(counted.sum()),
        num_patients=len(set(patient_ids[counted & (patient_ids >= 0)])),
        k=k,
    )


def _count(
    rows: np.ndarray, points: np.ndarray, classes: np.ndarray, centers: np.ndarray, patients: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For a few tiles: neighbours of the two kinds `(n, 2)`, those expected `(n, 2)`, and whether it counts `(n,)`."""
    candidate = (patients[rows, None] != patients) | (patients[rows, None] < 0)  # (n, N)
    candidate[np.arange(len(rows)), rows] = False
    same_class, same_center = classes[rows, None] == classes, centers[rows, None] == centers
    kinds = np.stack([candidate & same_class & ~same_center, candidate & ~same_class & same_center])  # (2, n, N)
    similarity = np.where(candidate, points[rows] @ points.T, -np.inf)
    k = min(k, len(points) - 1)
    nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    found = np.take_along_axis(kinds, np.broadcast_to(nearest, (2, *nearest.shape)), axis=2).sum(axis=2).T
    available = kinds.sum(axis=2).T  # (n, 2)
    num_candidates = candidate.sum(axis=1, keepdims=True)
    expected = np.minimum(k, num_candidates) * available / np.maximum(num_candidates, 1)
    return found, expected, (available > 0).all(axis=1)


def _none_counts(num_tiles: int) -> TooFewTilesError:
    return TooFewTilesError(
        f"of {num_tiles} tiles none can have neighbours of both kinds (its class from another center, another class "
        "from its center, other patients): add centers that share classes"
    )


def _ids(values: Sequence[object]) -> np.ndarray:
    """One number a value, −1 for every kind of missing one."""
    return pd.factorize(np.asarray(values, dtype=object))[0]


def _unit_rows(features: np.ndarray) -> np.ndarray:
    """float32 `(N, D)`, every row of length 1."""
    lengths = np.linalg.norm(features, axis=1)
    is_bad = ~np.isfinite(lengths) | (lengths == 0)
    if is_bad.any():
        raise InvalidRequestError(
            f"features of {is_bad.sum()} of {len(features)} tiles are not finite or all 0: "
            "encode these tiles anew or leave them out"
        )
    return (features / lengths[:, None]).astype(np.float32)
