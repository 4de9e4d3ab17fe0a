"""What each arm's probe says of test tiles. Knows folds and arms as places of tiles, and nothing of intervals."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from medi_core.data.reference_set import ReferenceSet
from medi_core.metrics.probes import INVERSE_PENALTY
from medi_core.metrics.regression_batch import Axes, balanced_weights, fit_regressions, principal_axes
from medi_core.services.experiment_config import LOGISTIC, ExperimentConfig
from medi_core.services.experiment_design import Fold
from medi_core.services.training_arms import FoldArms

NUM_NEIGHBOURS = 20
MAX_THREADS = 8
"""Each holds the products of one fold: memory, not cores, sets an end."""


@dataclass(frozen=True)
class Pool:
    """All tiles that an experiment trains on or tests, in the coordinates of its probes."""

    axes: Axes
    labels: np.ndarray
    """int `(N,)`, place of the cancer type in the config."""
    position: np.ndarray
    """int, place in the reference set → place in the pool; −1 for tiles that are not in it."""
    num_labels: int


def pool_of(reference: ReferenceSet, rows: pd.DataFrame, of_folds: list[FoldArms], config: ExperimentConfig) -> Pool:
    """The eligible real tiles, and those that any arm adds."""
    places = np.unique(np.concatenate([rows["tile"], *(s.tiles for fold in of_folds for s in fold.sets.values())]))
    position = np.full(len(reference.tiles), -1)
    position[places] = np.arange(len(places))
    labels = pd.Categorical(reference.tiles["cancer_type"].iloc[places], config.cancer_types).codes.astype(int)
    return Pool(principal_axes(reference.features[places]), labels, position, len(config.cancer_types))


def tested_places(pool: Pool, rows: pd.DataFrame, fold: Fold) -> np.ndarray:
    """Places in the pool of the tested tiles, int `(m,)`."""
    return pool.position[rows["tile"].to_numpy()[fold.test]]


def training_counts(pool: Pool, of_fold: FoldArms, arms: tuple[str, ...]) -> np.ndarray:
    """How often each arm trains on each tile of the pool, float32 `(A, N)`."""
    num = len(pool.labels)
    counts = [np.bincount(pool.position[of_fold.sets[arm].tiles], minlength=num) for arm in arms]
    return np.stack(counts).astype(np.float32)


@dataclass(frozen=True)
class FoldTask:
    """One fold to train on and to test."""

    pool: Pool
    rows: pd.DataFrame
    """As of `eligible_rows`; the fold names its rows."""
    fold: Fold
    of_fold: FoldArms
    arms: tuple[str, ...]

    def hits(self, probe: str) -> np.ndarray:
        """Whether each arm names each tested tile rightly, bool `(m, A)`."""
        pool, fold = self.pool, self.fold
        test, counts = tested_places(pool, self.rows, fold), training_counts(pool, self.of_fold, self.arms)
        assert not counts[:, test].any(), "a test tile is trained on"
        if probe == LOGISTIC:
            predicted = regression_logits(pool, counts, test, len(fold.train)).argmax(axis=2)
        else:
            predicted = labels_of_neighbours(pool, counts, test)
        return (predicted == pool.labels[test]).T


def hits_of_folds(
    tasks: Sequence[FoldTask], probe: str, on_progress: Callable[[int, int], None] = lambda *_: None
) -> list[np.ndarray]:
    """`FoldTask.hits` of each, folds side by side on the cores.

    One thread of linear algebra a fold: on small matrices, several wait for each other longer than they work.

    Args:
        probe: of the config.
        on_progress: called with (folds done, folds in all); an error it raises ends the work with the folds under way.
    """
    found = []
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as executor:
        waiting = [executor.submit(task.hits, probe) for task in tasks]
        try:
            for done, hits in enumerate(waiting):
                on_progress(done, len(tasks))
                found.append(hits.result())
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
    on_progress(len(tasks), len(tasks))
    return found


def regression_logits(pool: Pool, counts: np.ndarray, test: np.ndarray, num_real: int) -> np.ndarray:
    """Logits `(A, m, K)`; all arms have the penalty of `num_real` tiles, so that adding some does not loosen it."""
    weights = balanced_weights(pool.labels, counts, pool.num_labels)
    logits = np.empty((len(counts), len(test), pool.num_labels), np.float32)
    is_small = counts.sum(axis=1) < num_real  # synthetic tiles alone: they share no work with the others
    for together in (is_small, ~is_small):
        if together.any():
            penalty = 1 / (INVERSE_PENALTY * num_real)
            fitted = fit_regressions(pool.axes, pool.labels, weights[together], pool.num_labels, penalty)
            logits[together] = pool.axes.points[test] @ fitted.swapaxes(1, 2)
    return logits


def labels_of_neighbours(pool: Pool, counts: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Labels `(A, m)` by majority of the nearest training tiles."""
    from sklearn.neighbors import KNeighborsClassifier

    # distances as of the features, which the axes only turn
    points = (pool.axes.points[:, :-1] / np.sqrt(pool.axes.penalties[:-1])).astype(np.float32)
    found = []
    for of_arm in counts.astype(int):
        train = np.repeat(np.arange(len(of_arm)), of_arm)
        model = KNeighborsClassifier(min(NUM_NEIGHBOURS, len(train)), algorithm="brute")
        found.append(model.fit(points[train], pool.labels[train]).predict(points[test]))
    return np.stack(found)
