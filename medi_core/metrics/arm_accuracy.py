"""Accuracy of classifiers on the same test tiles, trained on different tiles: by center, worst center, and pairwise.

An arm is one way to train. All arms predict the same tiles, so that they are compared on the same resamples.
A resample draws patients within their stratum and, with them, training seeds: an interval holds both. Knows no
features, no training and no names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medi_core.errors import InvalidRequestError
from medi_core.metrics.intervals import NO_INTERVAL

OVERALL, WORST, GAP = 0, 1, 2
"""Places in the last axis of `ArmAccuracy`; centers follow from `FIRST_CENTER`."""
FIRST_CENTER = 3
MIN_MEASURED = 0.5
"""Share of the resamples that must hold a measure for it to have an interval."""


@dataclass(frozen=True)
class PatientCounts:
    """Tiles and hits of each patient, in cells of (center, label)."""

    tiles: np.ndarray
    """float32 `(S, P, C, K)`: seeds, patients, centers, labels."""
    hits: np.ndarray
    """float32 `(S, P, A, C, K)`, with A arms."""


@dataclass(frozen=True)
class ArmAccuracy:
    """Each measure of each arm, on the tiles and on resamples of them; NaN where nothing was tested."""

    value: np.ndarray
    """float64 `(A, 3 + C)`, mean over seeds: balanced accuracy of all tiles, that of the worst compared center, its
    gap to the best one, then that of each center. Where a center has one label only, it is the recall of it. No gap
    where fewer than 2 centers are compared."""
    resampled: np.ndarray
    """float64 `(B, A, 3 + C)`; NaN where a resample lacks, in every seed, a label or center that was tested."""

    def interval(self, arm: int, measure: int, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of a measure; NaN where resamples show no spread, or most of them could not measure it.

        A minimum over centers is biased downwards in every resample.
        """
        return _quantiles(self.resampled[:, arm, measure], level)

    def difference(self, arm: int, other: int, measure: int, level: float = 0.95) -> tuple[float, float, float]:
        """Value of `arm` minus that of `other`, and its percentile interval over paired resamples."""
        value = self.value[arm, measure] - self.value[other, measure]
        return float(value), *_quantiles(self.resampled[:, arm, measure] - self.resampled[:, other, measure], level)


def count_hits(
    seeds: np.ndarray,
    patients: np.ndarray,
    centers: np.ndarray,
    labels: np.ndarray,
    is_hit: np.ndarray,
    shape: tuple[int, int, int, int],
) -> PatientCounts:
    """One row a (seed, tested tile) → counts.

    Args:
        seeds, patients, centers, labels: int `(N,)`, places in the axes.
        is_hit: bool `(N, A)`, whether each arm named the label.
        shape: S, P, C, K.
    """
    tiles, hits = np.zeros(shape, np.float32), np.zeros((*shape, is_hit.shape[1]), np.float32)
    place = (seeds, patients, centers, labels)
    np.add.at(tiles, place, 1)
    np.add.at(hits, place, is_hit.astype(np.float32))
    return PatientCounts(tiles, np.moveaxis(hits, -1, 2))


def arm_accuracy(
    counts: PatientCounts, strata: Sequence[object], is_compared: np.ndarray, num: int = 1000, seed: int = 0
) -> ArmAccuracy:
    """Measures with the resamples for their intervals.

    Args:
        counts: of S seeds, P patients, C centers and K labels.
        strata: `(P,)`; patients are drawn within these (the center and its labels). A patient alone in one is always
            drawn: intervals do not tell how such patients differ. Of a stratum of which a seed tests a part, a resample
            may draw none: the seed is then not measured in it.
        is_compared: bool `(S, C)`: centers that can be the worst one; all labels must be tested there, or recall would
            be compared with balanced accuracy.
        num: resamples.
        seed: of the draw.

    Raises:
        InvalidRequestError: no resample wanted.

    Source: Field & Welsh 2007, "Bootstrapping clustered data" (groups drawn whole, within strata).
    """
    if num < 1:
        raise InvalidRequestError(f"num = {num} resamples: at least 1 is needed")
    rng = np.random.default_rng(seed)
    num_seeds, num_patients = counts.tiles.shape[:2]
    patient_weights = _draws(strata, num, rng)
    seed_weights = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=num).astype(float)
    once = _measures(counts, np.ones((1, num_patients), np.float32), np.ones((1, num_seeds)), is_compared)
    return ArmAccuracy(once[0], _measures(counts, patient_weights, seed_weights, is_compared))


def _measures(
    counts: PatientCounts, patient_weights: np.ndarray, seed_weights: np.ndarray, is_compared: np.ndarray
) -> np.ndarray:
    """`(B, A, 3 + C)` of weights `(B, P)` and `(B, S)`."""
    total, used = 0.0, 0.0
    for tiles, hits, compared, weight in zip(counts.tiles, counts.hits, is_compared, seed_weights.T, strict=True):
        weighted = _weighted(patient_weights, tiles)[:, None], _weighted(patient_weights, hits)
        measured = _measures_of_seed(*weighted, tiles.sum(axis=0) > 0, compared)
        known = np.isfinite(measured)
        total = total + np.where(known, measured, 0) * weight[:, None, None]
        used = used + known * weight[:, None, None]
    return np.divide(total, used, out=np.full_like(total, np.nan), where=used > 0)


def _measures_of_seed(tiles: np.ndarray, hits: np.ndarray, is_tested: np.ndarray, compared: np.ndarray) -> np.ndarray:
    """Tiles `(B, 1, C, K)`, hits `(B, A, C, K)` and the cells that the seed tests `(C, K)` → `(B, A, 3 + C)`."""
    of_center = _mean_recall(hits, tiles, is_tested)
    result = np.full((*hits.shape[:2], FIRST_CENTER + hits.shape[2]), np.nan)
    result[..., OVERALL] = _mean_recall(hits.sum(axis=2), tiles.sum(axis=2), is_tested.any(axis=0))
    if compared.any():
        # minimum and maximum keep NaN: the worst of the centers that happen to be drawn is another measure
        result[..., WORST] = np.minimum.reduce(of_center[..., compared], axis=-1)
    if compared.sum() > 1:
        result[..., GAP] = np.maximum.reduce(of_center[..., compared], axis=-1) - result[..., WORST]
    result[..., FIRST_CENTER:] = of_center
    return result


def _mean_recall(hits: np.ndarray, tiles: np.ndarray, is_tested: np.ndarray) -> np.ndarray:
    """Mean over the labels (the last axis) that are tested; NaN where none is, or one of them has no tile here."""
    lacking = np.where(is_tested, np.nan, 0)
    recalls = np.divide(hits, tiles, out=np.broadcast_to(lacking, hits.shape).copy(), where=tiles > 0)
    num_labels = is_tested.sum(axis=-1)
    sums = recalls.sum(axis=-1)
    return np.divide(sums, num_labels, out=np.full_like(sums, np.nan), where=num_labels > 0)


def _weighted(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`(B, P)` and `(P, …)` → `(B, …)`."""
    return (weights @ counts.reshape(len(counts), -1)).reshape(len(weights), *counts.shape[1:])


def _draws(strata: Sequence[object], num: int, rng: np.random.Generator) -> np.ndarray:
    """How often each resample draws each patient, float32 `(num, P)`; every stratum keeps its number of patients."""
    codes = pd.factorize(np.asarray(strata, dtype=object))[0]
    weights = np.empty((num, len(codes)), np.float32)
    for code in range(codes.max() + 1):
        members = np.flatnonzero(codes == code)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=num)
    return weights


def _quantiles(values: np.ndarray, level: float) -> tuple[float, float]:
    if np.isfinite(values).mean() < MIN_MEASURED:
        return NO_INTERVAL
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high)) if high > low else NO_INTERVAL
