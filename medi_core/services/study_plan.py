"""Which tiles a study shows: drawn by (cancer type, center), so that nothing but the pixels tells real from synthetic.

Plans only: it opens no image and makes no tile. A cell gets real and synthetic tiles in the wanted share, real ones
from as many patients as it has, and those of held-out splits before those the generator was trained on.
"""

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

import pandas as pd

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.review.blinding import PAIRS, PRACTICE, REPEATS, TILES
from medi_core.review.study import StudyDesign
from medi_core.review.tasks import CANCER_TYPE
from medi_core.services.real_pool import Cell, RealPool

T = TypeVar("T")
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


def rows_of(items: Iterable[PlannedItem]) -> list[int]:
    """Rows of the manifest that are shown."""
    return [tile.row for item in items for tile in item.tiles if tile.row is not None]


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
    pool = RealPool(real, rng) if design.share_real > 0 else None
    cells = _cells(design, vocabulary, pool)
    if CANCER_TYPE in design.tasks and len({cell[0] for cell in cells}) < 2:
        raise InvalidRequestError("the task 'which cancer type' needs at least 2 cancer types: choose more")
    items: list[PlannedItem] = []
    if design.tile_tasks:
        items += _tiles(cells, design.num_tiles, TILES, design.share_real, pool, seeds, rng)
        items += _repeats(items, design.num_repeats, rng)
    if design.has_pairs:
        items += _pairs(cells, design.num_pairs, PAIRS, design.share_real, pool, seeds, rng)
    if pool is not None:
        pool.leave_out_patients_of(rows_of(items))  # practice tells what its tiles are
        cells = [cell for cell in cells if pool.size(cell)]
    if design.tile_tasks:
        items += _tiles(cells, design.num_practice, PRACTICE, design.share_real, pool, seeds, rng)
    if design.has_pairs:
        items += _pairs(cells, min(design.num_practice, 1), PRACTICE, design.share_real, pool, seeds, rng)
    return items


def _cells(design: StudyDesign, vocabulary: Vocabulary, pool: RealPool | None) -> list[Cell]:
    """What is drawn from, the best supplied first."""
    if missing := {"cancer_type", "center"} - set(vocabulary.attributes):
        raise InvalidRequestError(f"studies draw by cancer type and center; this checkpoint lacks {sorted(missing)}")
    seen = vocabulary.pairs_by_support()
    types = design.cancer_types or _default_types(seen, design.centers, pool)
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
        of_what = "no tile" if pool is None else "none of the attached real tiles"
        raise InvalidRequestError(
            f"{of_what} is of a cancer type and center that can be drawn: choose others, or attach other tiles"
        )
    return _types_in_turn(cells)


def _default_types(seen: Sequence[Cell], centers: Sequence[str], pool: RealPool | None) -> tuple[str, ...]:
    """The best supported ones; where real tiles are wanted, of those that have some."""
    supplied = (t for t, own in seen if pool is None or any(pool.size((t, center)) for center in centers or (own,)))
    return tuple(dict.fromkeys(supplied))[:DEFAULT_TYPES]


def _types_in_turn(cells: Sequence[Cell]) -> list[Cell]:
    """The best cell of each cancer type, then the second of each …: a small study has all its types."""
    rank: dict[str, int] = defaultdict(int)
    turns = []
    for place, cell in enumerate(cells):
        turns.append((rank[cell[0]], place, cell))
        rank[cell[0]] += 1
    return [cell for _, _, cell in sorted(turns)]


def _tiles(
    cells: Sequence[Cell],
    num: int,
    block: int,
    share_real: float,
    pool: RealPool | None,
    seeds: Iterator[int],
    rng: random.Random,
) -> list[PlannedItem]:
    """`num` tiles spread over the cells, each with the wanted share of real ones."""
    if num == 0:
        return []
    used = _that_hold_both(cells, num, share_real)
    sizes = [num // len(used) + (place < num % len(used)) for place in range(len(used))]
    drawn, total = [], 0
    for cell, size in zip(used, sizes, strict=True):
        num_real = _num_real(total + size, share_real) - _num_real(total, share_real)
        total += size
        drawn += [PlannedTile(cell, pool.take(cell), next(seeds)) for _ in range(num_real)]
        drawn += [PlannedTile(cell, None, next(seeds)) for _ in range(size - num_real)]
    rng.shuffle(drawn)
    return [PlannedItem(block, (tile,)) for tile in drawn]


def _that_hold_both(strata: Sequence[T], num: int, share_real: float) -> Sequence[T]:
    """As many as `num` tiles fill with real and synthetic ones: else a stratum would tell the origin.

    Raises:
        TooFewTilesError: there is no stratum.
    """
    if not strata:
        raise TooFewTilesError(
            "no patient is left for practice: its real tiles are of patients outside the study; attach more patients, "
            "or set practice tiles to 0"
        )
    rarer = min(share_real, 1 - share_real)
    least = math.ceil(round(1 / rarer, 9)) if rarer > 0 else 1
    return strata[: max(1, num // least)]


def _num_real(num: int, share_real: float) -> int:
    """Real ones among the first `num`; not `round()`, which takes halves to even numbers."""
    return int(round(num * share_real, 9) + 0.5)


def _repeats(items: Sequence[PlannedItem], num: int, rng: random.Random) -> list[PlannedItem]:
    shown = [item for item in items if item.block == TILES]
    return [PlannedItem(REPEATS, item.tiles) for item in rng.sample(shown, num)]


def _pairs(
    cells: Sequence[Cell],
    num: int,
    block: int,
    share_real: float,
    pool: RealPool | None,
    seeds: Iterator[int],
    rng: random.Random,
) -> list[PlannedItem]:
    """Two centers of one cancer type; synthetic ones start from the same noise, so that the center alone differs."""
    if num == 0:
        return []
    centers = defaultdict(list)
    for cancer_type, center in cells:
        centers[cancer_type].append(center)
    types = [cancer_type for cancer_type, its in centers.items() if len(its) > 1]
    if not types and block == PAIRS:
        raise InvalidRequestError("a pair needs two centers of one cancer type: choose more centers")
    types = _that_hold_both(types, num, share_real)
    items = []
    for k in range(num):
        cancer_type = types[k % len(types)]
        nth = k // len(types) + k % len(types)  # each type has its own quota, and starts elsewhere in it
        is_real = _num_real(nth + 1, share_real) > _num_real(nth, share_real)
        seed = next(seeds)
        chosen = rng.sample(centers[cancer_type], 2)
        rows = [pool.take((cancer_type, center)) if is_real else None for center in chosen]
        sides = [PlannedTile((cancer_type, c), row, seed) for c, row in zip(chosen, rows, strict=True)]
        items.append(PlannedItem(block, tuple(sides), rng.randrange(2)))
    return items
