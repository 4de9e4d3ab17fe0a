"""Does balancing with synthetic tiles help under a shift? Arms trained and tested on cached features. No widgets.

Every arm is a linear probe on the same frozen features; arms differ in their training tiles only, and are compared on
the same test tiles, seeds and resamples of patients. No test patient is in any training set.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import compress

import numpy as np
import pandas as pd

from medi_core.data.manifest import HELD_OUT_SPLITS
from medi_core.data.reference_set import DECLARED, ReferenceSet
from medi_core.errors import InvalidRequestError
from medi_core.services.arm_predictions import FoldTask, hits_of_folds, pool_of
from medi_core.services.experiment_config import FINE_TUNED, LEAVE_ONE_OUT, ExperimentConfig
from medi_core.services.experiment_design import Design, Fold, draw_design, eligible_rows
from medi_core.services.experiment_result import TRAINING_COLUMNS, ExperimentResult
from medi_core.services.experiment_tables import (
    NUM_BOOTSTRAPS,
    Tested,
    accuracy_table,
    compared_centers,
    difference_table,
    measure_arms,
)
from medi_core.services.reference import ReferenceService
from medi_core.services.training_arms import NOTHING_STORED, FoldArms, arms_of_fold, stock_of

OnProgress = Callable[[int, int], None]
Judge = Callable[[Sequence[FoldTask], OnProgress], list[np.ndarray]]
"""Folds → whether each arm names each tested tile rightly, a bool `(m, A)` a fold."""


class ExperimentService:
    """Experiments on the loaded reference set."""

    def __init__(self, reference: ReferenceService) -> None:
        self._reference = reference

    def run(
        self, config: ExperimentConfig, on_progress: OnProgress = lambda *_: None, judge: Judge | None = None
    ) -> ExperimentResult:
        """`run_experiment` on the reference set."""
        return run_experiment(self._reference.load(), config, on_progress, judge)

    def cells(self) -> pd.DataFrame:
        """Real tiles a (cancer type, center): columns cancer_type, center, n, n_patients, n_held_out (patients)."""
        tiles = self._reference.load().real.tiles
        held_out = tiles["patient_id"].where(tiles["split"].isin(HELD_OUT_SPLITS))
        groups = tiles.assign(held_out=held_out).groupby(["cancer_type", "center"])
        counts = {"n": ("id", "size"), "n_patients": ("patient_id", "nunique"), "n_held_out": ("held_out", "nunique")}
        return groups.agg(**counts).reset_index()


def run_experiment(
    reference: ReferenceSet,
    config: ExperimentConfig,
    on_progress: OnProgress = lambda *_: None,
    judge: Judge | None = None,
) -> ExperimentResult:
    """Train and test all arms.

    Args:
        reference: real tiles, and those to add.
        config: what is asked.
        on_progress: called with (folds done, folds in all); an error it raises ends the work.
        judge: trains and tests the arms; by default the probe of the config, on features.

    Raises:
        InvalidRequestError: a cancer type, center or size that there is not; fine-tuning without a judge that does it.
        TooFewTilesError: too few patients or tiles for this preset, or a class that is absent from training.
    """
    rows = eligible_rows(reference.tiles, config)
    return run_design(reference, rows, draw_design(rows, config), config, on_progress, judge)


def run_design(
    reference: ReferenceSet,
    rows: pd.DataFrame,
    design: Design,
    config: ExperimentConfig,
    on_progress: OnProgress = lambda *_: None,
    judge: Judge | None = None,
) -> ExperimentResult:
    """Train and test all arms on folds that are given; the preset of `config` is only a name then.

    Args:
        reference: real tiles, and those to add.
        rows: as of `eligible_rows`; the folds name its rows.
        design: patients of a fold's test set are not in its training set.
        config, on_progress, judge: as of `run_experiment`.
    """
    if judge is None:
        judge = _judge_on_features(config)
    stock, ids = stock_of(reference.tiles), reference.tiles["id"].to_numpy(dtype=object)
    of_folds = [arms_of_fold(rows, ids, stock, fold, config) for fold in design.folds]
    arms, absent = _arms_to_keep(rows, design.folds, of_folds, config)
    if absent:  # without them, the others may add more
        config = replace(config, arms=arms)
        of_folds = [arms_of_fold(rows, ids, stock, fold, config) for fold in design.folds]
    is_full = [set(arms) <= set(of_fold.sets) for of_fold in of_folds]
    absent += _folds_left_out(design.folds, of_folds, config)
    of_folds = list(compress(of_folds, is_full))
    design = replace(design, folds=tuple(compress(design.folds, is_full)))
    tested = _tested(reference, rows, design, of_folds, config, arms, lambda tasks: judge(tasks, on_progress))
    accuracy = measure_arms(tested, config)
    return ExperimentResult(
        config,
        accuracy_table(accuracy, tested, arms),
        difference_table(accuracy, tested, arms),
        _training_table(of_folds, design.folds, arms, config),
        _cells_to_fill(of_folds),
        (*absent, *design.left_out),
        _facts(reference, tested, design),
        tested.frame.assign(**dict(zip(arms, tested.is_hit.T, strict=True))),
    )


def _judge_on_features(config: ExperimentConfig) -> Judge:
    if config.probe == FINE_TUNED:
        raise InvalidRequestError(
            "fine-tuning needs the pixels of real tiles: python -m medi_core experiment --probe fine-tuning "
            "--tiles manifest.csv"
        )
    return lambda tasks, on_progress: hits_of_folds(tasks, config.probe, on_progress)


def _arms_to_keep(
    rows: pd.DataFrame, folds: tuple[Fold, ...], of_folds: list[FoldArms], config: ExperimentConfig
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Arms that have tiles in half of the folds at least, and a sentence each of the others.

    More are left out, the one with fewest folds first, where the folds that have all arms test fewer than 2 classes.
    """
    num_lacking = {arm: sum(arm not in fold.sets for fold in of_folds) for arm in config.arms}
    arms = [arm for arm in config.arms if 2 * num_lacking[arm] <= len(folds)]

    def num_tested() -> int:
        kept = [fold.test for fold, of_fold in zip(folds, of_folds, strict=True) if set(arms) <= set(of_fold.sets)]
        return rows["cancer_type"].iloc[np.concatenate([np.empty(0, int), *kept])].nunique()

    while num_tested() < 2 and any(num_lacking[arm] for arm in arms):
        arms.remove(max(arms, key=num_lacking.__getitem__))
    absent = [
        f"{arm}: left out, in {num} of {len(folds)} folds {NOTHING_STORED[arm]}"
        for arm, num in num_lacking.items()
        if arm not in arms
    ]
    return tuple(arms), tuple(absent)


def _folds_left_out(folds: tuple[Fold, ...], of_folds: list[FoldArms], config: ExperimentConfig) -> tuple[str, ...]:
    """A sentence a center or seed whose folds lack tiles of an arm: all arms are compared on the same folds."""
    said = {}
    for fold, of_fold in zip(folds, of_folds, strict=True):
        where = (
            f"{fold.to_fill[0][1]} is not tested" if config.preset == LEAVE_ONE_OUT else f"seed {fold.seed} is left out"
        )
        for arm in config.arms:
            if arm not in of_fold.sets:
                said[f"{where}: {arm} cannot be trained, {NOTHING_STORED[arm]}"] = None
    return tuple(said)


def _tested(
    reference: ReferenceSet,
    rows: pd.DataFrame,
    design: Design,
    of_folds: list[FoldArms],
    config: ExperimentConfig,
    arms: tuple[str, ...],
    judge: Callable[[Sequence[FoldTask]], list[np.ndarray]],
) -> Tested:
    pool = pool_of(reference, rows, of_folds, config)
    tasks = [FoldTask(pool, rows, fold, of_fold, arms) for fold, of_fold in zip(design.folds, of_folds, strict=True)]
    hits = judge(tasks)
    frame = pd.concat([rows.iloc[fold.test].assign(seed=fold.seed) for fold in design.folds], ignore_index=True)
    return Tested(frame, np.concatenate(hits), *compared_centers(frame, config))


def _training_table(
    of_folds: list[FoldArms], folds: tuple[Fold, ...], arms: tuple[str, ...], config: ExperimentConfig
) -> pd.DataFrame:
    records = []
    for arm in arms:
        sets = [fold.sets[arm] for fold in of_folds]
        numbers = (np.mean([getattr(s, name) for s in sets]) for name in ("num_real", "num_added"))
        records.append((arm, *numbers, np.mean([len(s.tiles) for s in sets])))
    table = pd.DataFrame(records, columns=list(TRAINING_COLUMNS))
    table.attrs["asked"] = float(np.mean([round(config.ratio * len(fold.train)) for fold in folds]))
    return table


def _cells_to_fill(of_folds: list[FoldArms]) -> pd.DataFrame:
    together = pd.concat([fold.cells for fold in of_folds])
    return together.groupby(["cancer_type", "center"], sort=False).mean().reset_index()


def _facts(reference: ReferenceSet, tested: Tested, design: Design) -> dict[str, object]:
    distinct, of_compared = tested.distinct, tested.of_compared
    of_centers = of_compared.groupby("center")["patient_id"].nunique()
    splits = {_split_of(design.folds, seed) for seed in {fold.seed for fold in design.folds}}
    is_seen = ~distinct["split"].isin(HELD_OUT_SPLITS)
    declared = reference.facts.get(DECLARED)
    if declared is not None:  # the checkpoint's own word counts, not only that of the manifest behind the set
        is_seen |= ~distinct["patient_id"].isin(declared)
    in_generator = distinct.loc[is_seen, "patient_id"]
    return {
        "checkpoint": reference.facts.get("checkpoint"),
        "encoder": reference.facts.get("encoder"),
        "num_tiles": len(distinct),
        "num_patients": int(distinct["patient_id"].nunique()),
        "num_in_generator": int(in_generator.nunique()),
        "num_folds": len(design.folds),
        "num_seeds": len({fold.seed for fold in design.folds}),
        "num_splits": len(splits),
        "num_compared": len(of_centers),
        "smallest_patients": int(of_centers.min()) if len(of_centers) else None,
        "chance": 1 / int(distinct["cancer_type"].nunique()),
        "num_bootstraps": NUM_BOOTSTRAPS,
    }


def _split_of(folds: tuple[Fold, ...], seed: int) -> tuple[bytes, ...]:
    """What tells whether two seeds train and test the same real tiles."""
    return tuple(part.tobytes() for fold in folds if fold.seed == seed for part in (fold.train, fold.test))
