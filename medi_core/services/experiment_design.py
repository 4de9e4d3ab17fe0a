"""Who trains and who is tested: the shifts of an experiment as plain functions of rows. Knows no features and no arms.

Rows are real tiles of the chosen cancer types, with a center; they are named by their place in the frame. No patient
is on both sides. A tile without a patient id is never tested, and trained on only where nothing of its center is.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.services.experiment_config import (
    CHOSEN_CENTERS,
    CORRELATION,
    LEAVE_ONE_OUT,
    LOW_DATA,
    RANDOM_CENTERS,
    RARE_CENTER,
    SHORTCUT,
    ExperimentConfig,
)

Cell = tuple[str, str]
"""(cancer type, center)."""
CELL = ["cancer_type", "center"]
HELD_OUT_SPLITS = ("val", "test")
MAX_CANDIDATES = 12
"""Best supported centers among which `one center a class` looks for its centers."""


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
    return rows.reset_index(names="tile")


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
        for may_train, may_test, to_fill in _shifts(rows, config, np.random.default_rng([seed, 1])):
            rng = np.random.default_rng([seed, 2])
            train, test = _separate(rows, may_train, may_test, rng, config.held_out_only)
            test, too_few = _with_enough_patients(rows, test, config.min_patients)
            left_out |= dict.fromkeys(too_few)
            if config.preset == LOW_DATA:
                train = _some_of_each_class(rows, train, config.preset_size, rng)
            elif config.preset == CORRELATION:
                train = _correlated(rows, train, to_fill, config, rng)
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


def _shifts(
    rows: pd.DataFrame, config: ExperimentConfig, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[Cell, ...]]]:
    """Rows that may train, rows that may be tested (a patient may still be in both), and cells to fill."""
    centers, types = rows["center"], config.cancer_types
    everything = np.ones(len(rows), bool)
    if config.preset == LEAVE_ONE_OUT:
        for center in [config.center] if config.center else _testable_centers(rows, config):
            yield (centers != center).to_numpy(), (centers == center).to_numpy(), _cells(types, [center])
    elif config.preset in (CHOSEN_CENTERS, RANDOM_CENTERS):
        chosen = config.training_centers or _random_centers(rows, config, rng)
        others = sorted(set(centers) - set(chosen))
        is_chosen = centers.isin(chosen).to_numpy()
        yield is_chosen, ~is_chosen, _cells(types, others)
    elif config.preset in (SHORTCUT, CORRELATION):
        own = _center_of_each_class(rows, config)
        crossed = tuple((name, own[other]) for name in types for other in types if other != name)
        in_own = centers.isin(own.values()).to_numpy()
        if config.preset == CORRELATION:
            yield in_own, everything, crossed
        else:
            yield (centers == rows["cancer_type"].map(own)).to_numpy(), _is_in(rows, crossed), crossed
    elif config.preset == RARE_CENTER:
        rare = config.center or _testable_centers(rows, config)[0]
        kept = _some_patients(rows, centers == rare, config.preset_size, rng)
        may_test = everything & ~kept
        yield (centers != rare).to_numpy() | kept, may_test, _cells(types, [rare])
    else:
        yield everything, everything, _cells(types, sorted(set(centers)))


def _separate(
    rows: pd.DataFrame, may_train: np.ndarray, may_test: np.ndarray, rng: np.random.Generator, held_out_only: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Each patient on one side: of those that could be on both, held-out ones or else a random half are tested."""
    has_id = rows["patient_id"].notna().to_numpy()
    may_test = may_test & has_id
    if held_out_only:
        may_test &= rows["split"].isin(HELD_OUT_SPLITS).to_numpy()
        tested = set(rows.loc[may_test, "patient_id"])
    else:
        on_both = set(rows.loc[may_train & has_id, "patient_id"]) & set(rows.loc[may_test, "patient_id"])
        tested = (set(rows.loc[may_test, "patient_id"]) - on_both) | _random_half(rows, on_both, rng)
    is_tested = rows["patient_id"].isin(tested).to_numpy() & has_id
    test = may_test & is_tested
    is_tested_center = rows["center"].isin(rows.loc[test, "center"].unique()).to_numpy()
    train = may_train & np.where(has_id, ~is_tested, ~is_tested_center)
    assert not set(rows.loc[train & has_id, "patient_id"]) & set(rows.loc[test, "patient_id"])
    return train, test


def _random_half(rows: pd.DataFrame, patients: set[str], rng: np.random.Generator) -> set[str]:
    """Of each stratum every other patient, in random order; an odd one out goes to either side."""
    of_patient = patient_strata(rows[rows["patient_id"].isin(patients)])
    half: set[str] = set()
    for _, names in of_patient.groupby(of_patient).groups.items():
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
    return test & ~_is_in(rows, few.index), sentences


def _some_of_each_class(rows: pd.DataFrame, train: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
    kept = np.zeros(len(rows), bool)
    for _, places in rows[train].groupby("cancer_type").groups.items():
        kept[shuffled(places, rng)[:num]] = True
    return kept


def _some_patients(rows: pd.DataFrame, mask: pd.Series, num: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of `num` patients of each class at the center."""
    kept: set[str] = set()
    for _, patients in rows[mask].groupby("cancer_type")["patient_id"]:
        kept |= set(rng.permutation(sorted(patients.dropna().unique()))[:num])
    return mask.to_numpy() & rows["patient_id"].isin(kept).to_numpy()


def _correlated(
    rows: pd.DataFrame, train: np.ndarray, crossed: tuple[Cell, ...], config: ExperimentConfig, rng: np.random.Generator
) -> np.ndarray:
    """Of each class so many tiles of its own center, and of each other one, that Cramér's V is `correlation`.

    The number of tiles is the same at every correlation: each cell could give its share at 0 and at 1.
    """
    num = len(config.cancer_types)
    cells = rows[train].groupby(CELL).indices
    own = [cell for cell in _cells(config.cancer_types, sorted({c for _, c in crossed})) if cell not in crossed]
    sizes = {cell: len(cells.get(cell, ())) for cell in (*own, *crossed)}
    if config.correlation < 1 and (absent := [cell for cell in crossed if not sizes[cell]]):
        raise TooFewTilesError(
            f"correlation = {config.correlation:g} needs training tiles of {absent[0][0]} at {absent[0][1]}, and after "
            "test patients are set apart there is none: take correlation 1, other training centers or cancer types"
        )
    total = min([sizes[cell] for cell in own] + [num * size for size in sizes.values() if size])
    shares = dict.fromkeys(crossed, (1 - config.correlation) / num)
    shares |= dict.fromkeys(own, (1 - config.correlation) / num + config.correlation)
    kept, places = np.zeros(len(rows), bool), np.flatnonzero(train)
    for cell, share in shares.items():
        if cell in cells:
            kept[shuffled(places[cells[cell]], rng)[: round(total * share)]] = True
    return kept


def _fault_of(rows: pd.DataFrame, fold: Fold, config: ExperimentConfig) -> str | None:
    """Why a fold cannot be used."""
    trained = set(rows.loc[fold.train, "cancer_type"])
    where = f" when {fold.to_fill[0][1]} is left out" if config.preset == LEAVE_ONE_OUT else ""
    if absent := [name for name in config.cancer_types if name not in trained]:
        return f"no training tile of {', '.join(absent)}{where}"
    return None if len(fold.test) else f"no test patient{where}"


def _testable_centers(rows: pd.DataFrame, config: ExperimentConfig) -> list[str]:
    """Centers with a cell of enough patients to test, those with most classes, then most patients, first.

    Raises:
        TooFewTilesError: there is none.
    """
    known = rows[rows["split"].isin(HELD_OUT_SPLITS)] if config.held_out_only else rows
    num = known.groupby(CELL)["patient_id"].nunique()
    num = num[num >= config.min_patients]
    if num.empty:
        raise TooFewTilesError(
            f"no center has {config.min_patients} test patients of any of these cancer types: choose others, or test "
            "all patients"
        )
    by_center = num.groupby(level="center").agg(["size", "sum"])
    order = by_center.reset_index().sort_values(["size", "sum", "center"], ascending=[False, False, True])
    return order["center"].tolist()


def _random_centers(rows: pd.DataFrame, config: ExperimentConfig, rng: np.random.Generator) -> list[str]:
    """`size` centers that together hold every class; others are left to test.

    Raises:
        InvalidRequestError: no such choice.
    """
    names, size = sorted(rows["center"].unique()), config.preset_size
    if not 1 <= size < len(names):
        raise InvalidRequestError(f"size = {size} training centers: it must be from 1 to {len(names) - 1}")
    for _ in range(1000):
        chosen = rng.permutation(names)[:size]
        if rows.loc[rows["center"].isin(chosen), "cancer_type"].nunique() == len(config.cancer_types):
            return list(chosen)
    raise InvalidRequestError(f"no {size} centers drawn at random hold all cancer types: take more, or name them")


def _center_of_each_class(rows: pd.DataFrame, config: ExperimentConfig) -> dict[str, str]:
    """Class → its center: those given, or those with which most classes, then most patients, can be tested.

    Raises:
        InvalidRequestError: not one center a class.
        TooFewTilesError: no choice trains every class and leaves crossed cells to test.
    """
    types = config.cancer_types
    if config.training_centers:
        if len(set(config.training_centers)) != len(types):
            raise InvalidRequestError(
                f"{config.preset!r} needs {len(types)} different training centers, one a cancer type in their order, "
                f"given {len(config.training_centers)}: {', '.join(config.training_centers)}"
            )
        return dict(zip(types, config.training_centers, strict=True))
    known = rows[rows["split"].isin(HELD_OUT_SPLITS)] if config.held_out_only else rows
    num_tested = known.groupby(CELL)["patient_id"].nunique().to_dict()
    num_tiles = rows.groupby(CELL).size().to_dict()
    best = max(
        itertools.permutations(_testable_centers(rows, config)[:MAX_CANDIDATES], len(types)),
        key=lambda centers: _worth(types, centers, num_tiles, num_tested, config.min_patients),
        default=None,
    )
    if best is None or _worth(types, best, num_tiles, num_tested, config.min_patients)[0] < 2:
        raise TooFewTilesError(
            f"no {len(types)} centers hold one class each and crossed cells of {config.min_patients} test patients of "
            "2 classes: choose other cancer types, or test all patients"
        )
    return dict(zip(types, best, strict=True))


def _worth(types, centers, num_tiles: dict[Cell, int], num_tested: dict[Cell, int], least: int) -> tuple[int, int, int]:
    """(classes that can be tested, patients in the smallest tested cell, training tiles); zeros if one cannot train."""
    own = [num_tiles.get(cell, 0) for cell in zip(types, centers, strict=True)]
    crossed = {(name, center): num_tested.get((name, center), 0) for name in types for center in centers}
    for cell in zip(types, centers, strict=True):
        del crossed[cell]
    enough = {cell: num for cell, num in crossed.items() if num >= least}
    if min(own) == 0 or not enough:
        return 0, 0, 0
    return len({name for name, _ in enough}), min(enough.values()), min(own)


def shuffled(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """In random order; also of arrays that are read-only, which `Generator.permutation` refuses."""
    return np.asarray(values)[rng.permutation(len(values))]


def _cells(types, centers) -> tuple[Cell, ...]:
    return tuple((name, center) for name in types for center in centers)


def _is_in(rows: pd.DataFrame, cells) -> np.ndarray:
    return pd.MultiIndex.from_frame(rows[CELL]).isin(list(cells)) if len(cells) else np.zeros(len(rows), bool)


def _require_present(what: str, name: str, present: pd.Series) -> None:
    names = sorted(present.dropna().unique())
    if name not in names:
        raise InvalidRequestError(f"{what} {name!r} has no real tile here; there are: {', '.join(names)}")
