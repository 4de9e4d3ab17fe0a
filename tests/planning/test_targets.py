"""What a target adds: sums, limits and shares hold for any counts."""

import numpy as np
import pytest

from medi_core.errors import PlanError
from medi_core.planning.targets import LIFT, MATCH, TARGETS, UNIFORM, WORST, Target, tiles_to_add

RNG = np.random.default_rng(0)
COUNTS = [RNG.integers(0, 300, size) for size in (1, 2, 7, 40, 200)]


def added(counts, target: Target, may_add=None, **more) -> np.ndarray:
    return tiles_to_add(counts, target, np.ones(len(counts), bool) if may_add is None else may_add, **more)


def options(kind: str, counts) -> dict:
    chosen = np.arange(len(counts)) % 2 == 0
    return {MATCH: {"shares": 1.0 + np.arange(len(counts))}, WORST: {"chosen": chosen}}.get(kind, {})


@pytest.mark.parametrize("counts", COUNTS)
def test_uniform_brings_every_cell_to_the_largest(counts):
    assert set(counts + added(counts, Target(UNIFORM))) == {counts.max()}


def test_uniform_to_a_level_takes_nothing_away():
    np.testing.assert_array_equal(added([5, 20], Target(UNIFORM, level=10)), [5, 0])


@pytest.mark.parametrize("counts", COUNTS)
def test_lift_leaves_cells_above_the_quantile_alone_and_empty_ones_do_not_lower_it(counts):
    total = counts + added(counts, Target(LIFT, quantile=0.5))
    level = int(np.quantile(counts[counts > 0], 0.5))
    np.testing.assert_array_equal(total, np.maximum(counts, level))


@pytest.mark.parametrize("counts", COUNTS)
def test_match_reaches_the_shares_with_the_fewest_tiles(counts):
    shares = RNG.dirichlet(np.ones(len(counts)))
    total = counts + added(counts, Target(MATCH), shares=shares)
    np.testing.assert_allclose(total / total.sum(), shares, atol=len(counts) / max(total.sum(), 1))
    assert (total - counts).min() <= 1, "the cell that has most for its share gets none"


def test_worst_fills_the_cells_that_are_named_and_no_other():
    np.testing.assert_array_equal(added([1, 2, 9], Target(WORST), chosen=[True, False, False]), [8, 0, 0])


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("counts", COUNTS)
def test_limits_hold_and_a_limit_on_the_sum_is_used_up(kind, counts):
    more = options(kind, counts)
    free = added(counts, Target(kind), **more)
    assert (free >= 0).all()
    assert added(counts, Target(kind, cap=7), **more).max() <= 7
    for limit in (0, 1, 13, 10_000):
        assert added(counts, Target(kind, max_tiles=limit), **more).sum() == min(limit, free.sum())
    assert added(counts, Target(kind, ratio=0.5), **more).sum() == min(int(0.5 * counts.sum()), free.sum())


@pytest.mark.parametrize("kind", TARGETS)
def test_a_cell_that_may_not_be_filled_gets_nothing_and_changes_no_other(kind):
    counts = COUNTS[3]
    more, may_add = options(kind, counts), np.arange(len(counts)) % 3 > 0
    free = added(counts, Target(kind), **more)
    np.testing.assert_array_equal(added(counts, Target(kind), may_add, **more), np.where(may_add, free, 0))


@pytest.mark.parametrize("kind", [UNIFORM, LIFT])
def test_the_order_of_cells_does_not_matter(kind):
    counts = COUNTS[4]
    order = RNG.permutation(len(counts))
    np.testing.assert_array_equal(added(counts[order], Target(kind)), added(counts, Target(kind))[order])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "best"}, "target 'best' is unknown; known: uniform"),
        ({"level": -1}, "level = -1"),
        ({"cap": 10**9}, "cap = 1000000000"),
        ({"quantile": float("nan")}, "quantile = nan"),
        ({"ratio": -0.1}, "ratio = -0.1"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(wrong, words):
    with pytest.raises(PlanError, match=words):
        Target(**wrong)


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        (WORST, {}, "name the cells"),
        (WORST, {"chosen": [False, False]}, "name the cells"),
        (MATCH, {}, "needs a share"),
        (MATCH, {"shares": [0, 0]}, "a table of shares, with one above 0"),
        (MATCH, {"shares": [1, float("inf")]}, "must be numbers"),
        (MATCH, {"shares": [1e-9, 1]}, "for one with 1 real tiles is to have a share of 1e-09"),
        (MATCH, {"shares": [1e-30, 1]}, "a cell would need"),
    ],
)
def test_what_a_target_needs_is_asked_for(kind, more, words):
    with pytest.raises(PlanError, match=words):
        added([1, 2], Target(kind), **more)


def test_no_cell_at_all_is_said():
    with pytest.raises(PlanError, match="no cell"):
        added([], Target())
