"""Which tiles a study shows: drawn by (cancer type, center), so that nothing but the pixels tells real from synthetic.

Plans only: it opens no image and makes no tile. A cell gets real and synthetic tiles in the wanted share, real ones
from as many patients as it has, and those of held-out splits before those the generator was trained on.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import pandas as pd

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.review.blinding import PAIRS, PRACTICE, REPEATS, TILES
from medi_core.review.study import StudyDesign
from medi_core.review.tasks import CANCER_TYPE

Cell = tuple[str, str]
"""(cancer type, center)."""
DEFAULT_TYPES = 4
SEED_STRIDE = 100_000
"""Synthetic tile i of a study has seed `design.seed` × this + i."""


@dataclass(frozen=True)
class PlannedTile:
    """One tile: a row of the manifest, or a seed."""

    cell: Cell
    row: int | None
    """Position among the real tiles; `None` = synthetic."""
    seed: int

    @property
    def origin(self) -> str:
        return "synthetic" if self.row is None else "real"


@dataclass(frozen=True)
class PlannedItem:
    """One tile, or two of different centers."""

    block: int
    tiles: tuple[PlannedTile, ...]
    asked_side: int | None = None
    """Of a pair: which of the two is from the center that is asked for."""


def plan_study(design: StudyDesign, vocabulary: Vocabulary, real: pd.DataFrame | None) -> list[PlannedItem]:
    """All items of a study, as a function of design, vocabulary and manifest alone.

    Args:
        real: rows of a manifest with `cancer_type` and `center`; `None` where no tile is attached.

    Raises:
        InvalidRequestError: real tiles are wanted and none is attached, or too few types or centers are left.
        TooFewTilesError: a cell has fewer real tiles than are wanted of it.
        UnknownValueError: a cancer type or center that the checkpoint does not know.
    """
    rng, seeds = random.Random(design.seed), count(design.seed * SEED_STRIDE)
    pool = _RealPool(real, rng) if design.share_real > 0 else None
    cells = _cells(design, vocabulary, pool)
    if CANCER_TYPE in design.tasks and len({cell[0] for cell in cells}) < 2:
        raise InvalidRequestError("the task 'which cancer type' needs at least 2 cancer types: choose more")
    items: list[PlannedItem] = []
    if design.tile_tasks:
        for block, num in ((TILES, design.num_tiles), (PRACTICE, design.num_practice)):
            drawn = _draw(cells, num, design.share_real, pool, seeds)
            rng.shuffle(drawn)
            items += [PlannedItem(block, (tile,)) for tile in drawn]
        items += _repeats(items, design.num_repeats, rng)
    if design.has_pairs:
        for block, num in ((PAIRS, design.num_pairs), (PRACTICE, min(design.num_practice, 1))):
            items += _pairs(cells, num, block, design.share_real, pool, seeds, rng)
    return items


class _RealPool:
    """Real tiles by cell, each given out once."""

    def __init__(self, real: pd.DataFrame | None, rng: random.Random) -> None:
        if real is None or real.empty:
            raise InvalidRequestError(
                "real tiles are wanted but none is attached: start with --tiles manifest.csv, or set their share to 0"
            )
        known = real.reset_index(drop=True).dropna(subset=["cancer_type", "center"])
        known = known[known["origin"] != "synthetic"]
        self._rows: dict[Cell, list[int]] = {
            cell: _by_patient(rows, rng) for cell, rows in known.groupby(["cancer_type", "center"])
        }

    def size(self, cell: Cell) -> int:
        return len(self._rows.get(cell, ()))

    def take(self, cell: Cell) -> int:
        if not self.size(cell):
            raise TooFewTilesError(
                f"there are not enough real tiles of {cell[0]} from {cell[1]}: ask for fewer tiles, or attach more"
            )
        return self._rows[cell].pop(0)


def _by_patient(rows: pd.DataFrame, rng: random.Random) -> list[int]:
    """Held-out tiles first; within that, one of each patient before a second of any."""
    order = rows.sample(frac=1, random_state=rng.randrange(2**32))
    patient = order["patient_id"].fillna(pd.Series(order.index.astype(str), order.index))
    keys = pd.DataFrame({"trained": order["split"].eq("train"), "nth": patient.groupby(patient).cumcount()})
    return list(keys.sort_values(["trained", "nth"], kind="stable").index)


def _cells(design: StudyDesign, vocabulary: Vocabulary, pool: _RealPool | None) -> list[Cell]:
    """What is drawn from, the best supplied first."""
    if missing := {"cancer_type", "center"} - set(vocabulary.attributes):
        raise InvalidRequestError(f"studies draw by cancer type and center; this checkpoint lacks {sorted(missing)}")
    seen = vocabulary.pairs_by_support()
    types = design.cancer_types or tuple(dict.fromkeys(cancer_type for cancer_type, _ in seen))[:DEFAULT_TYPES]
    for name, values in (("cancer_type", types), ("center", design.centers)):
        if unknown := [value for value in values if value not in vocabulary.values[name]]:
            known = ", ".join(vocabulary.values[name])
            raise InvalidRequestError(f"{name} = {', '.join(unknown)} is not known to this checkpoint; known: {known}")
    cells = [cell for cell in seen if cell[0] in types and (not design.centers or cell[1] in design.centers)]
    if design.centers:
        cells += [cell for t in types for c in design.centers if (cell := (t, c)) not in seen]
    if pool is not None:
        cells = sorted((cell for cell in cells if pool.size(cell)), key=pool.size, reverse=True)
    if not cells:
        raise InvalidRequestError("no tile is left to draw from: choose other cancer types or centers")
    return _types_in_turn(cells)


def _types_in_turn(cells: Sequence[Cell]) -> list[Cell]:
    """The best cell of each cancer type, then the second of each …: a small study has all its types."""
    rank: dict[str, int] = defaultdict(int)
    turns = []
    for place, cell in enumerate(cells):
        turns.append((rank[cell[0]], place, cell))
        rank[cell[0]] += 1
    return [cell for _, _, cell in sorted(turns)]


def _draw(
    cells: Sequence[Cell], num: int, share_real: float, pool: _RealPool | None, seeds: Iterator[int]
) -> list[PlannedTile]:
    """`num` tiles spread over the cells, each with the wanted share of real ones."""
    if num == 0:
        return []
    least = 2 if 0 < share_real < 1 else 1  # a cell with one tile could not hold both
    used = cells[: max(1, num // least)]
    sizes = [num // len(used) + (place < num % len(used)) for place in range(len(used))]
    drawn, total, given = [], 0, 0
    for cell, size in zip(used, sizes, strict=True):
        total += size
        num_real = int(total * share_real + 0.5) - given  # not round(): it takes halves to even numbers
        given += num_real
        drawn += [PlannedTile(cell, pool.take(cell), next(seeds)) for _ in range(num_real)]
        drawn += [PlannedTile(cell, None, next(seeds)) for _ in range(size - num_real)]
    return drawn


def _repeats(items: Sequence[PlannedItem], num: int, rng: random.Random) -> list[PlannedItem]:
    shown = [item for item in items if item.block == TILES]
    return [PlannedItem(REPEATS, item.tiles) for item in rng.sample(shown, num)]


def _pairs(
    cells: Sequence[Cell],
    num: int,
    block: int,
    share_real: float,
    pool: _RealPool | None,
    seeds: Iterator[int],
    rng: random.Random,
) -> list[PlannedItem]:
    """Two centers of one cancer type; synthetic ones start from the same noise, so that the center alone differs."""
    centers = defaultdict(list)
    for cancer_type, center in cells:
        centers[cancer_type].append(center)
    types = [cancer_type for cancer_type, its in centers.items() if len(its) > 1]
    if not types:
        raise InvalidRequestError("a pair needs two centers of one cancer type: choose more centers")
    items, given = [], 0
    for k in range(num):
        cancer_type = types[k % len(types)]
        is_real = int((k + 1) * share_real + 0.5) > given
        given += is_real
        seed = next(seeds)
        chosen = rng.sample(centers[cancer_type], 2)
        rows = [pool.take((cancer_type, center)) if is_real else None for center in chosen]
        sides = [PlannedTile((cancer_type, c), row, seed) for c, row in zip(chosen, rows, strict=True)]
        items.append(PlannedItem(block, tuple(sides), rng.randrange(2)))
    return items
