"""Does balancing with synthetic tiles help under a shift? Arms trained and tested on cached features. No widgets.

Every arm is a linear probe on the same frozen features; arms differ in their training tiles only, and are compared on
the same test tiles, seeds and resamples of patients. No test patient is in any training set.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import pandas as pd

from medi_core.data.manifest import HELD_OUT_SPLITS
from medi_core.data.reference_set import ReferenceSet
from medi_core.metrics.arm_accuracy import FIRST_CENTER, ArmAccuracy, arm_accuracy, count_hits
from medi_core.services.arm_predictions import (
    labels_of_neighbours,
    pool_of,
    regression_logits,
    tested_places,
    training_counts,
)
from medi_core.services.experiment_config import (
    ADDING,
    LEAVE_ONE_OUT,
    LOGISTIC,
    MEDI,
    REAL,
    SYNTHETIC,
    ExperimentConfig,
)
from medi_core.services.experiment_design import (
    Design,
    Fold,
    draw_design,
    eligible_rows,
    patient_strata,
)
from medi_core.services.experiment_result import (
    ACCURACY_COLUMNS,
    DIFFERENCE_COLUMNS,
    GAP,
    OVERALL,
    TRAINING_COLUMNS,
    WORST,
    ExperimentResult,
)
from medi_core.services.reference import ReferenceService
from medi_core.services.training_arms import NOTHING_STORED, FoldArms, arms_of_fold, stock_of

NUM_BOOTSTRAPS = 1000
MIN_COMPARED_TILES = 10
"""A center with fewer tested tiles in a seed, or with a class that is not tested there, cannot be the worst one."""

OnProgress = Callable[[int, int], None]


class ExperimentService:
    """Experiments on the loaded reference set."""

    def __init__(self, reference: ReferenceService) -> None:
        self._reference = reference

    def run(self, config: ExperimentConfig, on_progress: OnProgress = lambda *_: None) -> ExperimentResult:
        """`run_experiment` on the reference set, checked against whom the checkpoint declares held out."""
        return run_experiment(self._reference.load(), config, on_progress, self._reference.held_out_patients)

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
    declared: frozenset[str] | None = None,
) -> ExperimentResult:
    """Train and test all arms.

    Args:
        reference: real tiles, and those to add.
        config: what is asked.
        on_progress: called with (folds done, folds in all); an error it raises ends the work.
        declared: patients that the checkpoint says it was not trained on; `None`: it says nothing.

    Raises:
        InvalidRequestError: a cancer type, center or size that there is not.
        TooFewTilesError: too few patients or tiles for this preset, or a class that is absent from training.
    """
    rows = eligible_rows(reference.tiles, config)
    return run_design(reference, rows, draw_design(rows, config), config, on_progress, declared)


def run_design(
    reference: ReferenceSet,
    rows: pd.DataFrame,
    design: Design,
    config: ExperimentConfig,
    on_progress: OnProgress = lambda *_: None,
    declared: frozenset[str] | None = None,
) -> ExperimentResult:
    """Train and test all arms on folds that are given; the preset of `config` is only a name then.

    Args:
        reference: real tiles, and those to add.
        rows: as of `eligible_rows`; the folds name its rows.
        design: patients of a fold's test set are not in its training set.
        config, on_progress, declared: as of `run_experiment`.
    """
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
    tested = _predict(reference, rows, design, of_folds, config, arms, on_progress)
    accuracy = _accuracy(tested, config)
    return ExperimentResult(
        config,
        _accuracy_table(accuracy, tested, arms),
        _difference_table(accuracy, tested, arms),
        _training_table(of_folds, design.folds, arms, config),
        _cells_to_fill(of_folds),
        (*absent, *design.left_out),
        _facts(reference, tested, design, declared),
    )


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


@dataclass(frozen=True)
class Tested:
    """One row a (seed, tested tile)."""

    frame: pd.DataFrame
    """seed, row, patient_id, center, cancer_type."""
    is_hit: np.ndarray
    """bool `(N, A)`."""
    centers: tuple[str, ...]
    """All that are tested, sorted."""
    is_compared: np.ndarray
    """bool `(S, C)`: centers with enough tiles of every class, by seed."""

    @property
    def distinct(self) -> pd.DataFrame:
        """A row a tested tile."""
        return self.frame.drop_duplicates("tile")

    @property
    def of_compared(self) -> pd.DataFrame:
        """A row a tested tile of a compared center, of the seeds in which it is one."""
        places = pd.Categorical(self.frame["center"], self.centers).codes
        return self.frame[self.is_compared[self.frame["seed"], places]].drop_duplicates("tile")


def _predict(
    reference: ReferenceSet,
    rows: pd.DataFrame,
    design: Design,
    of_folds: list[FoldArms],
    config: ExperimentConfig,
    arms: tuple[str, ...],
    on_progress: OnProgress,
) -> Tested:
    pool = pool_of(reference, rows, of_folds, config)
    frames, hits = [], []
    for done, (fold, of_fold) in enumerate(zip(design.folds, of_folds, strict=True)):
        on_progress(done, len(of_folds))
        test, counts = tested_places(pool, rows, fold), training_counts(pool, of_fold, arms)
        assert not counts[:, test].any(), "a test tile is trained on"
        if config.probe == LOGISTIC:
            predicted = regression_logits(pool, counts, test, len(fold.train)).argmax(axis=2)
        else:
            predicted = labels_of_neighbours(pool, counts, test)
        hits.append((predicted == pool.labels[test]).T)
        frames.append(rows.iloc[fold.test].assign(seed=fold.seed))
    on_progress(len(of_folds), len(of_folds))
    frame = pd.concat(frames, ignore_index=True)
    return Tested(frame, np.concatenate(hits), *_compared_centers(frame, config))


def _compared_centers(frame: pd.DataFrame, config: ExperimentConfig) -> tuple[tuple[str, ...], np.ndarray]:
    """Tested centers, and by seed whether each has enough tiles and every class: else it has recall, or too little."""
    centers = tuple(sorted(frame["center"].unique()))
    tiles = np.zeros((config.num_seeds, len(centers), len(config.cancer_types)))
    labels = pd.Categorical(frame["cancer_type"], config.cancer_types).codes
    np.add.at(tiles, (frame["seed"].to_numpy(dtype=int), pd.Categorical(frame["center"], centers).codes, labels), 1)
    return centers, (tiles.sum(axis=2) >= MIN_COMPARED_TILES) & (tiles > 0).all(axis=2)


def _accuracy(tested: Tested, config: ExperimentConfig) -> ArmAccuracy:
    frame = tested.frame
    patients, names = pd.factorize(frame["patient_id"])
    centers = pd.Categorical(frame["center"], tested.centers).codes
    labels = pd.Categorical(frame["cancer_type"], config.cancer_types).codes
    shape = (config.num_seeds, len(names), len(tested.centers), len(config.cancer_types))
    counts = count_hits(frame["seed"].to_numpy(), patients, centers, labels, tested.is_hit, shape)
    strata = patient_strata(frame.drop_duplicates(["patient_id", "center", "cancer_type"]))
    return arm_accuracy(counts, strata[names], tested.is_compared, NUM_BOOTSTRAPS)


def _subgroups(tested: Tested) -> Iterator[tuple[int, str, str, pd.DataFrame, bool]]:
    """Place in the measures, name, measure, its distinct tiles, and whether it could be the worst center."""
    distinct, of_compared = tested.distinct, tested.of_compared
    for place, name, measure, own in (
        (0, OVERALL, "balanced accuracy", distinct),
        (1, WORST, "balanced accuracy", of_compared),
        (2, GAP, "gap", of_compared),
    ):
        yield place, name, measure, own, False
    for place, center in enumerate(tested.centers):
        own = distinct[distinct["center"] == center]
        types = own["cancer_type"].unique()
        measure = "balanced accuracy" if len(types) > 1 else f"recall of {types[0]}"
        yield FIRST_CENTER + place, center, measure, own, bool(tested.is_compared[:, place].any())


def _accuracy_table(accuracy: ArmAccuracy, tested: Tested, arms: tuple[str, ...]) -> pd.DataFrame:
    records = [
        (arm, name, measure, accuracy.value[i, place], *accuracy.interval(i, place), *_size(own), is_compared)
        for i, arm in enumerate(arms)
        for place, name, measure, own, is_compared in _subgroups(tested)
    ]
    return pd.DataFrame(records, columns=list(ACCURACY_COLUMNS))


def _difference_table(accuracy: ArmAccuracy, tested: Tested, arms: tuple[str, ...]) -> pd.DataFrame:
    """Each arm against real only, then MeDi against every other one."""
    pairs = [(arm, REAL) for arm in arms if arm != REAL]
    pairs += [(MEDI, arm) for arm in arms if MEDI in arms and arm in (*ADDING, SYNTHETIC) and arm != MEDI]
    pairs.sort(key=lambda pair: pair[0] != MEDI)  # the question of the experiment first
    subgroups, records = list(_subgroups(tested)), []
    for i, j, names in ((arms.index(arm), arms.index(other), (arm, other)) for arm, other in pairs):
        changed = tested.frame.loc[tested.is_hit[:, i] != tested.is_hit[:, j], "tile"]
        for place, name, _, own, _ in subgroups:
            numbers = (*accuracy.difference(i, j, place), *_size(own), int(own["tile"].isin(changed).sum()))
            records.append((*names, name, *numbers))
    return pd.DataFrame(records, columns=list(DIFFERENCE_COLUMNS))


def _size(own: pd.DataFrame) -> tuple[int, int]:
    return len(own), int(own["patient_id"].nunique())


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


def _facts(
    reference: ReferenceSet, tested: Tested, design: Design, declared: frozenset[str] | None
) -> dict[str, object]:
    distinct, of_compared = tested.distinct, tested.of_compared
    of_centers = of_compared.groupby("center")["patient_id"].nunique()
    splits = {_split_of(design.folds, seed) for seed in {fold.seed for fold in design.folds}}
    is_held_out = distinct["split"].isin(HELD_OUT_SPLITS)
    in_generator, said = distinct.loc[~is_held_out, "patient_id"], set(distinct.loc[is_held_out, "patient_id"])
    return {
        "checkpoint": reference.facts.get("checkpoint"),
        "encoder": reference.facts.get("encoder"),
        "num_tiles": len(distinct),
        "num_patients": int(distinct["patient_id"].nunique()),
        "num_in_generator": int(in_generator.nunique()),
        "num_undeclared": None if declared is None else len(said - declared),
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
