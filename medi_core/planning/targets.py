"""Targets: from how many tiles each cell has to how many it is to get. Numbers in, numbers out; knows no metadata."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medi_core.errors import PlanError

UNIFORM, LIFT, MATCH, WORST = "uniform", "lift", "match", "worst"
TARGETS = {
    UNIFORM: "every cell gets as many tiles as the largest one has, or as `level` says",
    LIFT: "cells below a quantile of all cells are lifted to it",
    MATCH: "cells come to the shares that are given, with as few tiles as possible",
    WORST: "the cells that are named get as many tiles as the largest cell has, or as `level` says",
}
"""Name → what it means."""
MAX_TILES, MAX_RATIO = 10_000_000, 100.0


@dataclass(frozen=True)
class Target:
    """What the data set is to look like. Checked when made."""

    kind: str = UNIFORM
    """A key of `TARGETS`."""
    level: int | None = None
    """Of `uniform` and `worst`: real and synthetic tiles a cell; `None`: as many as the largest cell has."""
    quantile: float = 0.5
    """Of `lift`, 0 to 1, over cells that have tiles."""
    cap: int | None = None
    """Synthetic tiles a cell, at most."""
    max_tiles: int | None = None
    """Synthetic tiles in all, at most."""
    ratio: float | None = None
    """Synthetic tiles for each real one, at most, over all cells."""

    def __post_init__(self) -> None:
        if self.kind not in TARGETS:
            raise PlanError(f"target {self.kind!r} is unknown; known: {', '.join(TARGETS)}")
        for name in ("level", "cap", "max_tiles"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= MAX_TILES:
                raise PlanError(f"{name} = {value}: it must be from 0 to {MAX_TILES:,} tiles")
        if not 0 <= self.quantile <= 1:
            raise PlanError(f"quantile = {self.quantile}: it must be from 0 to 1")
        if self.ratio is not None and not 0 <= self.ratio <= MAX_RATIO:
            raise PlanError(f"ratio = {self.ratio}: it must be from 0 to {MAX_RATIO:g}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; what is not set is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def tiles_to_add(
    counts: Sequence[int],
    target: Target,
    may_add: Sequence[bool],
    chosen: Sequence[bool] | None = None,
    shares: Sequence[float] | None = None,
) -> np.ndarray:
    """Synthetic tiles of each cell; the order of the cells decides nothing but ties of rounding.

    Args:
        counts: real tiles, `(C,)`, 0 or more.
        target: what is wanted.
        may_add: `(C,)`; where it is false nothing is added, and the others get no more for it, but for the limits on
            the sum, which are then shared by fewer.
        chosen: `(C,)`, the cells of `worst`.
        shares: `(C,)`, of `match`: 0 or more, any sum.

    Returns:
        int64 `(C,)`.

    Raises:
        PlanError: cells or shares that the target needs are missing, or no number.
    """
    counts = np.asarray(counts, dtype=np.int64)
    if not len(counts):
        raise PlanError("there is no cell: no tile has all the attributes that are crossed")
    wanted = np.where(np.asarray(may_add, dtype=bool), _wanted(counts, target, chosen, shares), 0)
    if target.cap is not None:
        wanted = np.minimum(wanted, target.cap)
    limits = [wanted.sum()]
    if target.max_tiles is not None:
        limits.append(target.max_tiles)
    if target.ratio is not None:
        limits.append(int(target.ratio * counts.sum() + 1e-9))
    return _scaled_down(wanted, int(min(limits)))


def _wanted(
    counts: np.ndarray, target: Target, chosen: Sequence[bool] | None, shares: Sequence[float] | None
) -> np.ndarray:
    if target.kind == MATCH:
        return _to_shares(counts, shares)
    if target.kind == LIFT:
        filled = counts[counts > 0]
        level = int(np.quantile(filled, target.quantile)) if len(filled) else 0
    else:
        level = int(counts.max()) if target.level is None else target.level
    missing = np.maximum(level - counts, 0)
    if target.kind != WORST:
        return missing
    if chosen is None or not np.any(chosen):
        raise PlanError(
            "the target 'worst' needs at least one cell: name the cells to fill, or give the table of an audit"
        )
    return np.where(np.asarray(chosen, dtype=bool), missing, 0)


def _to_shares(counts: np.ndarray, shares: Sequence[float] | None) -> np.ndarray:
    """The fewest tiles that bring every cell with a share to it; a cell without one keeps what it has."""
    if shares is None:
        raise PlanError("the target 'match' needs a share for each cell")
    wished = np.asarray(shares, dtype=np.float64)
    if not len(wished) or not wished.any():
        raise PlanError("the target 'match' needs a table of shares, with one above 0")
    if not np.isfinite(wished).all() or (wished < 0).any():
        raise PlanError("the shares to match must be numbers of 0 or more")
    has_share = wished > 0
    size = (counts[has_share] / wished[has_share]).max()
    if not size * wished.max() <= MAX_TILES:
        place = int(np.argmax(np.where(has_share, counts / np.where(has_share, wished, 1), -1)))
        raise PlanError(
            f"to match the shares, a cell would need {size * wished.max():.3g} tiles, for one with {counts[place]:,} "
            f"real tiles is to have a share of {wished[place]:g}: raise that share, or leave the cell out"
        )
    return np.where(has_share, np.maximum(np.rint(size * wished).astype(np.int64) - counts, 0), 0)


def _scaled_down(wanted: np.ndarray, limit: int) -> np.ndarray:
    """The same proportions with the sum `limit`, rounded by largest remainders."""
    total = int(wanted.sum())
    if total <= limit:
        return wanted
    exact = wanted * (limit / total)
    scaled = np.floor(exact).astype(np.int64)
    last = np.argsort(scaled - exact, kind="stable")[: limit - int(scaled.sum())]
    scaled[last] += 1
    return scaled
