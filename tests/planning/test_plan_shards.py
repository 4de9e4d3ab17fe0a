import pytest

from medi_core.errors import PlanError
from medi_core.metadata.schema import MetadataRecord
from medi_core.planning.plan import AugmentationPlan, PlannedCell
from medi_core.planning.shards import shards_of

COUNTS = (5, 0, 3, 17)
CELLS = tuple(PlannedCell(MetadataRecord(center=f"C{i}"), 0, 0, 0, 0, None, num) for i, num in enumerate(COUNTS))
PLAN = AugmentationPlan("toy@1", ("center",), {}, CELLS)


def seeds(size: int) -> list[int]:
    return [seed for shard in shards_of(PLAN, size) for part in shard.parts for seed in part.seeds(PLAN.seed)]


@pytest.mark.parametrize("size", [1, 2, 4, 25, 100])
def test_every_tile_is_in_one_shard_whatever_their_size(size):
    shards = shards_of(PLAN, size)
    assert [shard.num_tiles for shard in shards[:-1]] == [size] * (len(shards) - 1)
    assert sum(shard.num_tiles for shard in shards) == sum(COUNTS)
    assert seeds(size) == seeds(25), "and has the same seed"
    assert len(set(seeds(size))) == sum(COUNTS)
    assert len({shard.name for shard in shards}) == len(shards)


@pytest.mark.parametrize("size", [0, -1, 10**6])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(PlanError, match="shard size"):
        shards_of(PLAN, size)


def test_the_order_of_cells_in_a_plan_changes_no_shard():
    turned = AugmentationPlan("toy@1", ("center",), {}, CELLS[::-1])
    assert turned.id == PLAN.id
    assert shards_of(turned, 4) == shards_of(PLAN, 4)
