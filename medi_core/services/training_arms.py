"""What each arm trains on: which synthetic, re-stained or repeated tiles stand beside the real ones. Knows no features.

All arms that add tiles add the same number of each class: what the poorest of them has, at most what was asked. Tiles
are drawn without replacement, evenly over cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medi_core.services.experiment_config import (
    ADDING,
    CLASS_ONLY,
    DUPLICATED,
    JITTERED,
    MEDI,
    REAL,
    SYNTHETIC,
    ExperimentConfig,
)
from medi_core.services.experiment_design import Fold
from medi_core.services.experiment_shifts import CELL, Cell, shuffled

BANK_GROUPS = ("seen", "rare", "never seen")
CLASS_ONLY_GROUP, JITTER_GROUP = "class only", "stain-jittered"
NOTHING_STORED = {
    DUPLICATED: "no real training tile",
    JITTERED: "the reference set holds no re-stained copies of these training tiles",
    CLASS_ONLY: "the bank holds no class-only tile of these cancer types",
    MEDI: "the bank holds no tile of the cells to fill",
    SYNTHETIC: "the bank lacks tiles of a cancer type in the training cells and those to fill",
}


Parts = list[np.ndarray]
"""Places of tiles, in the order in which they are drawn; one array a cell."""


@dataclass(frozen=True)
class Stock:
    """Tiles that may be added, by their place in the reference set."""

    by_cell: Mapping[Cell, np.ndarray]
    """Synthetic ones asked for by cancer type and center."""
    by_class: Mapping[str, np.ndarray]
    """Synthetic ones asked for by cancer type alone."""
    copies: pd.DataFrame
    """Re-stained copies: columns place, of (id of the real tile), cancer_type."""


@dataclass(frozen=True)
class TrainingSet:
    """The tiles of one arm in one fold."""

    tiles: np.ndarray
    """int `(n,)`, places in the reference set; a repeated tile is there several times."""
    num_real: int
    num_added: int


@dataclass(frozen=True)
class FoldArms:
    """All arms of a fold, and what was asked of the bank."""

    sets: Mapping[str, TrainingSet]
    """Arm → its tiles; arms that had none are missing."""
    cells: pd.DataFrame
    """A row a cell to fill: cancer_type, center, asked, bank, drawn."""


def stock_of(tiles: pd.DataFrame) -> Stock:
    """What a reference set holds beside real tiles."""
    places = pd.Series(np.arange(len(tiles)), dtype=int)
    frame = tiles.reset_index(drop=True)
    in_bank = frame["group"].isin(BANK_GROUPS) & (frame["origin"] == "synthetic")
    open_ones = (frame["group"] == CLASS_ONLY_GROUP) & (frame["origin"] == "synthetic")
    is_copy = (frame["group"] == JITTER_GROUP) & (frame["origin"] == "control")
    of = frame["of"] if "of" in frame else pd.Series(None, frame.index, dtype=object)
    copies = pd.DataFrame({"place": places, "of": of, "cancer_type": frame["cancer_type"]})[is_copy]
    return Stock(
        {cell: places[found].to_numpy() for cell, found in frame[in_bank].groupby(CELL).groups.items()},
        {name: places[found].to_numpy() for name, found in frame[open_ones].groupby("cancer_type").groups.items()},
        copies.dropna(subset="of"),
    )


def arms_of_fold(rows: pd.DataFrame, ids: np.ndarray, stock: Stock, fold: Fold, config: ExperimentConfig) -> FoldArms:
    """Training sets of a fold; a function of the fold, its seed and the config.

    Args:
        rows: as of `eligible_rows`.
        ids: object `(N,)`, of all tiles of the reference set.
        stock: of the same.
        fold, config: what is asked.
    """
    train = rows.iloc[fold.train]
    real, asked = train["tile"].to_numpy(), _asked(fold, config)
    pools = {
        arm: {
            name: _parts(arm, name, cells, train, ids, stock, np.random.default_rng([fold.seed, 3, place]))
            for place, (name, cells) in enumerate(asked.items())
        }
        for arm in config.arms
        if arm in ADDING
    }
    pools = {arm: by_class for arm, by_class in pools.items() if any(map(_size, by_class.values()))}
    sets = {REAL: TrainingSet(real, len(real), 0)}
    for arm, by_class in pools.items():
        numbers = {name: min(_size(other[name]) for other in pools.values()) for name in asked}
        added = np.concatenate([_draw_evenly(by_class[name], num) for name, num in numbers.items()])
        sets[arm] = TrainingSet(np.concatenate([real, added]), len(real), len(added))
    if SYNTHETIC in config.arms and len(alone := _synthetic_only(train, stock, fold, config)):
        sets[SYNTHETIC] = TrainingSet(alone, 0, len(alone))
    drawn = sets[MEDI].tiles[len(real) :] if MEDI in sets else np.empty(0, int)
    return FoldArms({arm: sets[arm] for arm in config.arms if arm in sets}, _cell_table(asked, stock, drawn))


def _asked(fold: Fold, config: ExperimentConfig) -> dict[str, dict[str, int]]:
    """Cancer type → center → tiles: `ratio` a real one, as many of each class, evenly over its cells."""
    total = round(config.ratio * len(fold.train))
    result = {}
    for cancer_type, num in zip(config.cancer_types, _shares(total, len(config.cancer_types)), strict=True):
        centers = [center for name, center in fold.to_fill if name == cancer_type]
        result[cancer_type] = dict(zip(centers, _shares(num, len(centers)), strict=True))
    return result


def _shares(total: int, num: int) -> list[int]:
    """`total` as `num` whole numbers that differ by 1 at most."""
    return [total // num + (i < total % num) for i in range(num)]


def _parts(
    arm: str,
    cancer_type: str,
    cells: Mapping[str, int],
    train: pd.DataFrame,
    ids: np.ndarray,
    stock: Stock,
    rng: np.random.Generator,
) -> Parts:
    """What an arm can add of a class, at most what is asked of it."""
    nothing, total = np.empty(0, int), sum(cells.values())
    if arm == MEDI:
        return [shuffled(stock.by_cell.get((cancer_type, center), nothing), rng)[:num] for center, num in cells.items()]
    if arm == CLASS_ONLY:
        return [shuffled(stock.by_class.get(cancer_type, nothing), rng)[:total]]
    own = train.loc[train["cancer_type"] == cancer_type, "tile"].to_numpy()
    if arm == JITTERED:
        is_copy = stock.copies["of"].isin(ids[own])
        return [shuffled(stock.copies.loc[is_copy, "place"], rng)[:total]]
    assert arm == DUPLICATED, arm
    return [np.resize(shuffled(own, rng), total)]  # in turns: no third copy of one before a second of all


def _synthetic_only(train: pd.DataFrame, stock: Stock, fold: Fold, config: ExperimentConfig) -> np.ndarray:
    """As many tiles as there are real ones, if the bank has them; none at all where it lacks a class."""
    cells = dict.fromkeys([*train[CELL].drop_duplicates().itertuples(index=False, name=None), *fold.to_fill])
    rng, drawn = np.random.default_rng([fold.seed, 4]), []
    for name, num in zip(config.cancer_types, _shares(len(train), len(config.cancer_types)), strict=True):
        parts = [shuffled(stock.by_cell[cell], rng) for cell in cells if cell[0] == name and cell in stock.by_cell]
        drawn.append(_draw_evenly(parts, min(num, _size(parts))))
    return np.concatenate(drawn) if all(map(len, drawn)) else np.empty(0, int)


def _draw_evenly(parts: Parts, num: int) -> np.ndarray:
    """The first `num` tiles, one of each part in turn."""
    turns = np.concatenate([np.empty(0, int), *(np.arange(len(part)) for part in parts)])
    order = np.argsort(turns, kind="stable")[:num]
    return np.concatenate([np.empty(0, int), *parts])[order].astype(int)


def _size(parts: Parts) -> int:
    return sum(map(len, parts))


def _cell_table(asked: Mapping[str, Mapping[str, int]], stock: Stock, drawn: np.ndarray) -> pd.DataFrame:
    records = [
        (name, center, num, len(own := stock.by_cell.get((name, center), ())), int(np.isin(own, drawn).sum()))
        for name, cells in asked.items()
        for center, num in cells.items()
    ]
    return pd.DataFrame(records, columns=[*CELL, "asked", "bank", "drawn"])
