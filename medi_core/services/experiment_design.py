"""Who trains and who is tested: the folds of an experiment, drawn by seed. Knows no features and no arms.

Rows are real tiles of the chosen cancer types, with a center; they are named by their place in the frame. No patient
is on both sides. A tile without a patient id is never tested, and trained on only where nothing of its center is.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from medi_core.data.manifest import HELD_OUT_SPLITS
from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.services.experiment_config import CORRELATION, LEAVE_ONE_OUT, LOW_DATA, SHORTCUT, ExperimentConfig
from medi_core.services.experiment_shifts import (
    CELL,
    Cell,
    cells_of,
    correlated_part,
    is_in,
    shifts,
    some_of_each_class,
)


@dataclass(frozen=True)
class Fold:
    """One training set and one test set."""

    seed: int
    train: np.ndarray
    """int `(n,)`, rows."""
    test: np.ndarray
    """int `(m,)`, rows of other patients."""
    to_fill: tuple[Cell, ...]
    """Missing or rare cells; at least one of each class."""


@dataclass(frozen=True)
class Design:
    """All folds of an experiment, and what could not be part of it."""

    folds: tuple[Fold, ...]
    left_out: tuple[str, ...]
    """What was not tested, and why: sentences."""


def eligible_rows(tiles: pd.DataFrame, config: ExperimentConfig) -> pd.DataFrame:
    """Real tiles of the chosen cancer types with a center; the index is their place in `tiles`.

    Raises:
        InvalidRequestError: a cancer type or center without any, or one center only.
    """
    is_chosen = (tiles["origin"] == "real") & tiles["cancer_type"].isin(config.cancer_types) & tiles["center"].notna()
    rows = tiles.loc[is_chosen.to_numpy(), [*CELL, "patient_id", "split"]]
    for name in config.cancer_types:
        _require_present("cancer type", name, tiles.loc[tiles["origin"] == "real", "cancer_type"])
    for name in (*config.training_centers, *([config.center] if config.center else [])):
        _require_present("center", name, rows["center"])
    if rows["center"].nunique() < 2:
        only = ", ".join(rows["center"].unique())
        raise InvalidRequestError(
            f"all tiles of {', '.join(config.cancer_types)} come from one center ({only}): a shift between centers "
            "needs at least 2; choose other cancer types"
        )
    # plain objects: sets of Arrow strings are slow
    return rows.astype(object).reset_index(names="tile")


def draw_design(rows: pd.DataFrame, config: ExperimentConfig) -> Design:
    """The folds of all seeds.

    Args:
        rows: as of `eligible_rows`.
        config: what is asked.

    Raises:
        InvalidRequestError: a center or size that the preset cannot have.
        TooFewTilesError: a class that is absent from training, or fewer than 2 classes with enough test patients.
    """
    folds, left_out = [], {}
    for seed in range(config.num_seeds):
        for may_train, may_test, to_fill in shifts(rows, config, np.random.default_rng([seed, 1])):
            rng = np.random.default_rng([seed, 2])
            train, test = _separate(rows, may_train, may_test, rng, config)
            test, too_few = _with_enough_patients(rows, test, config.min_patients)
            left_out |= dict.fromkeys(too_few)
            if config.preset == LOW_DATA:
                train = some_of_each_class(rows, train, config.preset_size, rng)
            elif config.preset == CORRELATION:
                train = correlated_part(rows, train, to_fill, config, rng)
            elif config.preset == SHORTCUT:
                left_out |= dict.fromkeys(_untested_own_cells(rows, may_train, test))
            fold = Fold(seed, np.flatnonzero(train), np.flatnonzero(test), to_fill)
            if fault := _fault_of(rows, fold, config):
                left_out[fault] = None
            else:
                folds.append(fold)
    tested = rows.loc[np.concatenate([fold.test for fold in folds] or [[]]).astype(int), "cancer_type"].nunique()
    if tested < 2:
        why = "; ".join(left_out) or "no patient is left to test"
        raise TooFewTilesError(
            f"{config.preset!r} leaves {tested} of {len(config.cancer_types)} cancer types to test ({why}): choose "
            "other cancer types or centers, or test all patients"
        )
    return Design(tuple(folds), tuple(left_out))


def given_design(rows: pd.DataFrame, train: np.ndarray, test: np.ndarray, config: ExperimentConfig) -> Design:
    """The same training and test rows for every seed, e.g. of a published split.

    Args:
        rows: as of `eligible_rows`.
        train, test: bool `(len(rows),)`; no patient in both.
        config: its seeds, cancer types and least patients; its preset is not looked at.

    Raises:
        TooFewTilesError: a class that is absent from training, or fewer than 2 with enough test patients.
        InvalidRequestError: a patient in both.
    """
    both = set(rows.loc[train, "patient_id"].dropna()) & set(rows.loc[test, "patient_id"].dropna())
    if both:
        some = ", ".join(sorted(both)[:3])
        raise InvalidRequestError(f"{len(both)} patients are in training and test, e.g. {some}: split by patient")
    test, too_few = _with_enough_patients(rows, test & rows["patient_id"].notna().to_numpy(), config.min_patients)
    to_fill = cells_of(config.cancer_types, sorted(rows.loc[test, "center"].unique()))
    absent = [name for name in config.cancer_types if name not in set(rows.loc[train, "cancer_type"])]
    num_tested = rows.loc[test, "cancer_type"].nunique()
    if absent or num_tested < 2:
        what = f"no training tile of {', '.join(absent)}" if absent else f"{num_tested} cancer types to test"
        raise TooFewTilesError(f"the split leaves {what} ({'; '.join(too_few) or 'no other reason'}): add slides")
    places = np.flatnonzero(train), np.flatnonzero(test)
    return Design(tuple(Fold(seed, *places, to_fill) for seed in range(config.num_seeds)), tuple(too_few))


def _separate(
    rows: pd.DataFrame, may_train: np.ndarray, may_test: np.ndarray, rng: np.random.Generator, config: ExperimentConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Each patient on one side: of those that could be on both, held-out ones or else a random half are tested."""
    has_id = rows["patient_id"].notna().to_numpy()
    may_test = may_test & has_id
    if config.held_out_only:
        may_test &= rows["split"].isin(HELD_OUT_SPLITS).to_numpy()
        tested = set(rows.loc[may_test, "patient_id"])
    else:
        on_both = set(rows.loc[may_train & has_id, "patient_id"]) & set(rows.loc[may_test, "patient_id"])
        tested = (set(rows.loc[may_test, "patient_id"]) - on_both) | _random_half(
            rows, on_both, rng, config.min_patients
        )
    is_tested = rows["patient_id"].isin(tested).to_numpy() & has_id
    test = may_test & is_tested
    is_tested_center = rows["center"].isin(rows.loc[test, "center"].unique()).to_numpy()
    train = may_train & np.where(has_id, ~is_tested, ~is_tested_center)
    assert not set(rows.loc[train & has_id, "patient_id"]) & set(rows.loc[test, "patient_id"])
    return train, test


def _random_half(rows: pd.DataFrame, patients: set[str], rng: np.random.Generator, least: int) -> set[str]:
    """Of each stratum every other patient, in random order; none of one whose half is too few to be tested."""
    of_patient = patient_strata(rows[rows["patient_id"].isin(patients)])
    half: set[str] = set()
    for _, names in of_patient.groupby(of_patient).groups.items():
        if len(names) // 2 >= least:
            half |= set(rng.permutation(sorted(names))[rng.integers(2) :: 2])
    return half


def patient_strata(rows: pd.DataFrame) -> pd.Series:
    """Patient → its center with its cancer types, as a text."""
    labels = (rows["center"] + " | " + rows["cancer_type"]).groupby(rows["patient_id"])
    return labels.agg(lambda cells: "; ".join(sorted(set(cells))))


def _with_enough_patients(rows: pd.DataFrame, test: np.ndarray, least: int) -> tuple[np.ndarray, list[str]]:
    """Test rows of cells with enough patients, and a sentence a cell without."""
    num = rows[test].groupby(CELL)["patient_id"].nunique()
    few = num[num < least]
    sentences = [f"{name} at {center} is not tested: fewer than {least} test patients" for name, center in few.index]
    return test & ~is_in(rows, few.index), sentences


def _untested_own_cells(rows: pd.DataFrame, may_train: np.ndarray, test: np.ndarray) -> list[str]:
    """A sentence a training cell of `one center a class` of which no patient is tested."""
    own = rows.loc[may_train, CELL].drop_duplicates()
    untested = own[~is_in(own, list(rows.loc[test, CELL].itertuples(index=False, name=None)))]
    return [
        f"own cell {name} at {center} is not tested: a reversed shortcut would look like a gain"
        for name, center in untested.itertuples(index=False, name=None)
    ]


def _fault_of(rows: pd.DataFrame, fold: Fold, config: ExperimentConfig) -> str | None:
    """Why a fold cannot be used."""
    trained = set(rows.loc[fold.train, "cancer_type"])
    where = f" when {fold.to_fill[0][1]} is left out" if config.preset == LEAVE_ONE_OUT else ""
    if absent := [name for name in config.cancer_types if name not in trained]:
        return f"no training tile of {', '.join(absent)}{where}"
    return None if len(fold.test) else f"no test patient{where}"


def _require_present(what: str, name: str, present: pd.Series) -> None:
    names = sorted(present.dropna().unique())
    if name not in names:
        raise InvalidRequestError(f"{what} {name!r} has no real tile here; there are: {', '.join(names)}")
