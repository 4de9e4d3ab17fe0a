import numpy as np
import pytest

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metrics.kernel import kernel_distance, kernel_distance_of_subsets


def features(num_tiles: int, seed: int, shift: float = 0.0, dim: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (num_tiles, dim)).astype(np.float32)


def naive_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The definition, pair by pair."""

    def kernel(x, y):
        return (float(np.dot(x.astype(float), y.astype(float))) / len(x) + 1) ** 3

    n, m = len(first), len(second)
    within_first = sum(kernel(first[i], first[j]) for i in range(n) for j in range(n) if i != j)
    within_second = sum(kernel(second[i], second[j]) for i in range(m) for j in range(m) if i != j)
    between = sum(kernel(x, y) for x in first for y in second)
    return within_first / (n * (n - 1)) + within_second / (m * (m - 1)) - 2 * between / (n * m)


def test_it_is_the_definition_also_for_unequal_sizes():
    first, second = features(7, 0), features(5, 1, shift=0.4)
    assert kernel_distance(first, second) == pytest.approx(naive_distance(first, second), rel=1e-10)


def test_it_is_what_torchmetrics_computes():
    import torch
    from torchmetrics.image.kid import poly_mmd

    first, second = features(40, 0), features(40, 1, shift=0.4)  # it takes equal sizes only
    assert kernel_distance(first, second) == pytest.approx(
        float(poly_mmd(*(torch.from_numpy(side).double() for side in (first, second)))), rel=1e-6
    )


def test_it_is_symmetric():
    first, second = features(30, 0), features(20, 1, shift=0.4)
    assert kernel_distance(first, second) == pytest.approx(kernel_distance(second, first), rel=1e-10)


def test_two_halves_of_one_distribution_are_near_zero_and_on_both_sides_of_it():
    distances = [kernel_distance(features(200, 2 * i), features(200, 2 * i + 1)) for i in range(20)]
    far = kernel_distance(features(200, 0), features(200, 1, shift=1.0))
    assert abs(np.mean(distances)) < 0.01 * far
    assert min(distances) < 0 < max(distances)


def test_it_grows_with_the_shift():
    distances = [kernel_distance(features(200, 0), features(200, 1, shift)) for shift in (0.0, 0.3, 0.6, 1.2)]
    assert distances == sorted(distances)


def test_it_sees_a_change_of_spread_without_a_change_of_mean():
    same = kernel_distance(features(300, 0), features(300, 1))
    wider = kernel_distance(features(300, 0), 2 * features(300, 1))
    assert wider > 10 * abs(same)


def test_large_features_lose_no_precision():
    offset = 1000 * np.ones((1, 12), dtype=np.float32)
    first, second = features(20, 0) + offset, features(20, 1) + offset
    assert kernel_distance(first, second) == pytest.approx(naive_distance(first, second), rel=1e-4)


def test_under_two_tiles_is_refused():
    with pytest.raises(TooFewTilesError, match="at least 2 tiles on each side, given 1"):
        kernel_distance(features(1, 0), features(5, 1))


def test_subsets_are_as_their_seed_says():
    first, second = features(60, 0), features(50, 1, shift=0.5)
    once = kernel_distance_of_subsets(first, second, 20, num_subsets=5, seed=3)
    again = kernel_distance_of_subsets(first, second, 20, num_subsets=5, seed=3)
    other = kernel_distance_of_subsets(first, second, 20, num_subsets=5, seed=4)
    np.testing.assert_array_equal(once.values, again.values)
    assert not np.array_equal(once.values, other.values)


def test_the_mean_of_subsets_estimates_the_distance_of_all_whatever_their_size():
    first, second = features(400, 0), features(300, 1, shift=0.5)
    whole = kernel_distance(first, second)
    for size in (10, 100):
        subsets = kernel_distance_of_subsets(first, second, size, num_subsets=400)
        assert subsets.mean == pytest.approx(whole, abs=4 * subsets.std / np.sqrt(400))


def test_smaller_subsets_spread_more():
    first, second = features(400, 0), features(400, 1, shift=0.5)
    small, large = (kernel_distance_of_subsets(first, second, size).std for size in (20, 200))
    assert small > 2 * large


def test_a_subset_of_everything_is_the_distance_and_one_alone_has_no_spread():
    first, second = features(30, 0), features(30, 1)
    subsets = kernel_distance_of_subsets(first, second, 30, num_subsets=1)
    assert subsets.mean == pytest.approx(kernel_distance(first, second), rel=1e-9)
    assert np.isnan(subsets.std)


def test_a_subset_larger_than_a_side_is_refused():
    with pytest.raises(TooFewTilesError, match=r"at least 40 tiles on each side, given 30: .*smaller subsets"):
        kernel_distance_of_subsets(features(30, 0), features(100, 1), 40)


def test_no_subset_is_refused():
    with pytest.raises(InvalidRequestError, match="num_subsets = 0"):
        kernel_distance_of_subsets(features(30, 0), features(30, 1), 10, num_subsets=0)
