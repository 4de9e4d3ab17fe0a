import numpy as np
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.metrics import intervals
from medi_core.metrics.intervals import bootstrap_results, cluster_bootstrap, proportion_interval, wilson_interval


def patients_that_differ(num_groups: int, tiles_each: int, seed: int = 0):
    """Tiles of a patient share most of what makes them succeed."""
    rng = np.random.default_rng(seed)
    rates = rng.beta(0.5, 0.5, num_groups)
    groups = np.repeat(np.arange(num_groups), tiles_each)
    return (rng.random(len(groups)) < rates[groups]).astype(float), groups


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (1, 1, 0.2065, 1.0),
    ],
)
def test_wilson_gives_the_published_examples(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_wilson_solves_the_equation_it_is_made_from():
    # the ends are the proportions from which the observed one is exactly z standard errors away
    for p in wilson_interval(13, 40, level=0.9):
        assert abs(13 / 40 - p) / np.sqrt(p * (1 - p) / 40) == pytest.approx(1.6449, abs=1e-4)


def test_wilson_is_wider_for_more_confidence_and_narrower_for_more_cases():
    low, high = wilson_interval(6, 10)
    assert np.diff(wilson_interval(6, 10, level=0.99)) > high - low > np.diff(wilson_interval(60, 100))


def test_no_case_gives_no_interval():
    assert np.isnan(wilson_interval(0, 0)).all()
    assert np.isnan(cluster_bootstrap([], [])).all()
    assert np.isnan(proportion_interval(np.array([]), [])).all()


def test_the_cluster_bootstrap_is_the_naive_loop_over_groups():
    values, groups = patients_that_differ(12, 5)
    rng = np.random.default_rng(7)
    counts = rng.multinomial(12, np.full(12, 1 / 12), size=200)
    means = [np.concatenate([values[groups == g] for g in np.repeat(np.arange(12), row)]).mean() for row in counts]
    expected = np.quantile(means, [0.05, 0.95])
    assert cluster_bootstrap(values, groups, num=200, seed=7, level=0.9) == pytest.approx(tuple(expected))


def test_it_is_wider_than_one_that_takes_tiles_for_independent():
    values, groups = patients_that_differ(30, 20)
    low, high = cluster_bootstrap(values, groups)
    naive_low, naive_high = cluster_bootstrap(values, np.arange(len(values)))
    assert high - low > 2 * (naive_high - naive_low)


def test_groups_of_one_tile_give_about_wilsons():
    values = np.repeat([1.0, 0.0], [140, 60])
    assert cluster_bootstrap(values, np.arange(200)) == pytest.approx(wilson_interval(140, 200), abs=0.015)


def test_it_covers_the_truth_about_as_often_as_it_says():
    intervals = [cluster_bootstrap(*patients_that_differ(60, 4, seed), num=300, level=0.9) for seed in range(150)]
    covered = np.mean([low <= 0.5 <= high for low, high in intervals])
    assert 0.82 < covered < 0.97


def test_any_function_of_sums_can_be_its_statistic():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 3)
    hits, tries = rng.poisson(3, 120), rng.poisson(6, 120) + 1
    low, high = cluster_bootstrap(np.column_stack([hits, tries]), groups, lambda sums, counts: sums[:, 0] / sums[:, 1])
    assert low < hits.sum() / tries.sum() < high


def test_the_seed_decides_and_the_order_of_the_rows_does_not_matter_much():
    values, groups = patients_that_differ(25, 4)
    assert cluster_bootstrap(values, groups, seed=1) == cluster_bootstrap(values, groups, seed=1)
    assert cluster_bootstrap(values, groups, seed=1) != cluster_bootstrap(values, groups, seed=2)
    assert cluster_bootstrap(values[::-1], groups[::-1]) == pytest.approx(cluster_bootstrap(values, groups), abs=0.05)


def test_each_resample_draws_as_many_groups_as_there_are_and_the_same_in_any_blocks(monkeypatch):
    assert (bootstrap_results(lambda weights: weights.sum(axis=1), 9, 50) == 9).all()
    whole, other = (bootstrap_results(lambda weights: weights @ np.arange(9), 9, 50, seed) for seed in (2, 3))
    monkeypatch.setattr(intervals, "MAX_WEIGHTS", 30)
    blocks = []
    parts = bootstrap_results(lambda weights: blocks.append(len(weights)) or weights @ np.arange(9), 9, 50, seed=2)
    assert set(blocks) == {3, 2}
    assert np.array_equal(parts, whole)
    assert not np.array_equal(parts, other)
    with pytest.raises(InvalidRequestError, match="num = 0 resamples"):
        bootstrap_results(lambda weights: weights[:, 0], 9, 0)


def test_one_group_has_no_interval():
    assert np.isnan(cluster_bootstrap([1.0, 0.0, 1.0], ["a"] * 3)).all()


def test_the_interval_of_a_share_is_wilsons_for_single_tiles_and_of_groups_otherwise():
    hits, groups = np.repeat([1.0, 0.0], [30, 10]), np.arange(40) // 5
    assert proportion_interval(hits, np.arange(40)) == pytest.approx(wilson_interval(30, 40))
    assert proportion_interval(hits, groups) == cluster_bootstrap(hits, groups)
    assert proportion_interval(np.ones(40), groups) == pytest.approx(wilson_interval(8, 8))
    assert proportion_interval(np.zeros(40), groups) == pytest.approx(wilson_interval(0, 8))
    assert np.isnan(proportion_interval(hits, ["one"] * 40)).all()


def test_what_cannot_be_resampled_is_refused():
    with pytest.raises(InvalidRequestError, match="num = 0 resamples"):
        cluster_bootstrap([1.0, 0.0], ["a", "b"], num=0)
    with pytest.raises(InvalidRequestError, match="1 of 3 rows have no group"):
        cluster_bootstrap([1.0, 0.0, 1.0], ["a", None, "b"])
    for level in (0, 95):
        with pytest.raises(InvalidRequestError, match=f"level = {level}"):
            wilson_interval(1, 2, level)
