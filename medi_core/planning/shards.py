"""A plan cut into shards: which tiles each one holds. The same plan and size give the same shards, always."""

from collections.abc import Iterator
from dataclasses import dataclass

from medi_core.errors import PlanError
from medi_core.planning.plan import AugmentationPlan, PlannedCell

DEFAULT_SHARD_SIZE, MAX_SHARD_SIZE = 256, 10_000


@dataclass(frozen=True)
class CellTiles:
    """Tiles `first` to `first + num - 1` of a cell."""

    cell: PlannedCell
    first: int
    num: int

    def seeds(self, plan_seed: int) -> tuple[int, ...]:
        return tuple(self.cell.seed_of(k, plan_seed) for k in range(self.first, self.first + self.num))


@dataclass(frozen=True)
class Shard:
    """What is made, written and, where it was lost, made again in one piece."""

    index: int
    parts: tuple[CellTiles, ...]

    @property
    def num_tiles(self) -> int:
        return sum(part.num for part in self.parts)

    @property
    def name(self) -> str:
        """Of its folder or archive, without a suffix."""
        return f"shard-{self.index:05d}"


def shards_of(plan: AugmentationPlan, size: int = DEFAULT_SHARD_SIZE) -> tuple[Shard, ...]:
    """All tiles of a plan, cells in the order of their keys, `size` a shard, fewer in the last one.

    Raises:
        PlanError: a size that is none.
    """
    require_shard_size(size)
    return tuple(Shard(index, parts) for index, parts in enumerate(_cut(plan, size)))


def require_shard_size(size: int) -> None:
    """Raises: PlanError: a size that is none."""
    if not 1 <= size <= MAX_SHARD_SIZE:
        raise PlanError(f"shard size = {size}: it must be from 1 to {MAX_SHARD_SIZE:,} tiles")


def _cut(plan: AugmentationPlan, size: int) -> Iterator[tuple[CellTiles, ...]]:
    parts, room = [], size
    for cell in sorted(plan.cells, key=lambda cell: cell.key):  # a plan is the same whatever the order of its cells
        first = 0
        while first < cell.planned_tiles:
            num = min(room, cell.planned_tiles - first)
            parts.append(CellTiles(cell, first, num))
            first, room = first + num, room - num
            if not room:
                yield tuple(parts)
                parts, room = [], size
    if parts:
        yield tuple(parts)
