"""The shifts of an experiment: which rows may train, which may be tested, which cells are to be filled. Draws no fold.

Rows are real tiles of the chosen cancer types, with a center; a patient may still be on both sides.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from medi_core.data.manifest import HELD_OUT_SPLITS
from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.services.experiment_config import (
    CHOSEN_CENTERS,
    CORRELATION,
    LEAVE_ONE_OUT,
    RANDOM_CENTERS,
    RARE_CENTER,
    SHORTCUT,
    ExperimentConfig,
)

Cell = tuple[str, str]
"""(cancer type, center)."""
CELL = ["cancer_type", "center"]
MAX_CANDIDATES = 12
"""Best supported centers among which `one center a class` looks for its centers."""


def shifts(
    rows: pd.DataFrame, config: ExperimentConfig, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[Cell, ...]]]:
    """Rows that may train, rows that may be tested (a patient may still be in both), and cells to fill."""
    centers, types = rows["center"], config.cancer_types
    everything = np.ones(len(rows), bool)
    if config.preset == LEAVE_ONE_OUT:
        for center in [config.center] if config.center else _testable_centers(rows, config):
            yield (centers != center).to_numpy(), (centers == center).to_numpy(), cells_of(types, [center])
    elif config.preset in (CHOSEN_CENTERS, RANDOM_CENTERS):
        chosen = config.training_centers if config.preset == CHOSEN_CENTERS else _random_centers(rows, config, rng)
        others = sorted(set(centers) - set(chosen))
        is_chosen = centers.isin(chosen).to_numpy()
        yield is_chosen, ~is_chosen, cells_of(types, others)
    elif config.preset in (SHORTCUT, CORRELATION):
        own = _center_of_each_class(rows, config)
        crossed = tuple((name, own[other]) for name in types for other in types if other != name)
        in_own = centers.isin(own.values()).to_numpy()
        if config.preset == CORRELATION:
            yield in_own, everything, crossed
        else:  # own cells are tested too: on the crossed ones alone, a reversed shortcut would pass for a gain
            yield (centers == rows["cancer_type"].map(own)).to_numpy(), in_own, crossed
    elif config.preset == RARE_CENTER:
        rare = config.center or _testable_centers(rows, config)[0]
        kept = _some_patients(rows, centers == rare, config.preset_size, rng)
        may_test = everything & ~kept
        yield (centers != rare).to_numpy() | kept, may_test, cells_of(types, [rare])
    else:
        yield everything, everything, cells_of(types, sorted(set(centers)))


def some_of_each_class(rows: pd.DataFrame, train: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
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


def correlated_part(
    rows: pd.DataFrame, train: np.ndarray, crossed: tuple[Cell, ...], config: ExperimentConfig, rng: np.random.Generator
) -> np.ndarray:
    """Of each class so many tiles of its own center, and of each other one, that Cramér's V is `correlation`.

    The number of tiles is the same at every correlation: each cell could give its share at 0 and at 1.
    """
    num = len(config.cancer_types)
    cells = rows[train].groupby(CELL).indices
    own = [cell for cell in cells_of(config.cancer_types, sorted({c for _, c in crossed})) if cell not in crossed]
    sizes = {cell: len(cells.get(cell, ())) for cell in (*own, *crossed)}
    if config.correlation < 1 and (absent := [cell for cell in crossed if not sizes[cell]]):
        raise TooFewTilesError(
            f"correlation = {config.correlation:g} needs training tiles of {absent[0][0]} at {absent[0][1]}, and after "
            "test patients are set apart there is none: take correlation 1, other training centers or cancer types"
        )
    total = min([sizes[cell] for cell in own] + [num * size for size in sizes.values() if size])
    of_crossed = round(total * (1 - config.correlation) / num)
    wanted = dict.fromkeys(crossed, of_crossed) | dict.fromkeys(own, total - (num - 1) * of_crossed)
    kept, places = np.zeros(len(rows), bool), np.flatnonzero(train)
    for cell, number in wanted.items():
        if cell in cells:
            kept[shuffled(places[cells[cell]], rng)[:number]] = True
    return kept


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
        key=lambda centers: _worth(types, centers, num_tiles, num_tested, config),
        default=None,
    )
    if best is None or _worth(types, best, num_tiles, num_tested, config)[0] < 2:
        raise TooFewTilesError(
            f"no {len(types)} centers hold one class each, with patients to train on, {config.min_patients} to test, "
            "and crossed cells of as many test patients of 2 classes: choose other cancer types, name the training "
            "centers, or test all patients"
        )
    return dict(zip(types, best, strict=True))


def _worth(
    types, centers, num_tiles: dict[Cell, int], num_tested: dict[Cell, int], config: ExperimentConfig
) -> tuple[int, bool, int, int]:
    """(classes that can be tested, whether own cells are, patients in the smallest tested cell, training tiles).

    Zeros if one cannot train. Own cells that cannot be tested are the second choice, and said: a reversed shortcut
    would look like a gain. Half of their patients are tested, but of held-out ones all.
    """
    least, own_cells = config.min_patients, list(zip(types, centers, strict=True))
    own = [num_tiles.get(cell, 0) for cell in own_cells]
    crossed = {(name, center): num_tested.get((name, center), 0) for name in types for center in centers}
    for cell in own_cells:
        del crossed[cell]
    enough = {cell: num for cell, num in crossed.items() if num >= least}
    if min(own) == 0 or not enough:
        return 0, False, 0, 0
    least_in_own = least if config.held_out_only else 2 * least
    is_own_tested = all(num_tested.get(cell, 0) >= least_in_own for cell in own_cells)
    return len({name for name, _ in enough}), is_own_tested, min(enough.values()), min(own)


def cells_of(types: Sequence[str], centers: Sequence[str]) -> tuple[Cell, ...]:
    return tuple((name, center) for name in types for center in centers)


def is_in(rows: pd.DataFrame, cells: Sequence[Cell]) -> np.ndarray:
    return pd.MultiIndex.from_frame(rows[CELL]).isin(list(cells)) if len(cells) else np.zeros(len(rows), bool)


def shuffled(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """In random order; also of arrays that are read-only, which `Generator.permutation` refuses."""
    return np.asarray(values)[rng.permutation(len(values))]
