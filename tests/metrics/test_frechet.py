import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import ortho_group

from medi_core.errors import TooFewTilesError
from medi_core.metrics.frechet import frechet_distance


def features(num_tiles: int, seed: int, shift: float = 0.0, dim: int = 12) -> np.ndarray:
    """Correlated channels, as those of an encoder are."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dim, dim))
    return (rng.normal(shift, 1.0, (num_tiles, dim)) @ mixing).astype(np.float32)


def gaussian_sample(mean: np.ndarray, stds: np.ndarray, num_tiles: int, seed: int) -> np.ndarray:
    """A sample whose mean and covariance are exactly these: a random one, whitened."""
    noise = np.random.default_rng(seed).normal(size=(num_tiles, len(mean)))
    noise -= noise.mean(axis=0)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(noise, rowvar=False)), noise.T).T
    return mean + white * stds


def direct_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The formula as it is printed, with a matrix root."""
    first, second = first.astype(float), second.astype(float)
    cov_first, cov_second = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    between_means = np.sum((first.mean(axis=0) - second.mean(axis=0)) ** 2)
    return between_means + np.trace(cov_first + cov_second - 2 * sqrtm(cov_first @ cov_second).real)


def test_it_is_the_printed_formula_also_for_unequal_sizes():
    first, second = features(50, 0), features(80, 1, shift=0.4)
    assert frechet_distance(first, second) == pytest.approx(direct_distance(first, second), rel=1e-6)


def test_it_is_what_torchmetrics_computes():
    import torch
    from torchmetrics.image.fid import _compute_fid

    rng = np.random.default_rng(5)
    first, second = rng.normal(0, 1, (60, 8)), rng.normal(0.5, 2, (50, 8))
    sides = [(torch.from_numpy(side.mean(0)), torch.from_numpy(np.cov(side.T))) for side in (first, second)]
    assert frechet_distance(first, second) == pytest.approx(float(_compute_fid(*sides[0], *sides[1])), rel=1e-6)


def test_it_is_the_closed_form_for_diagonal_gaussians():
    mean_first, mean_second = np.array([0.0, 3.0, -1.0]), np.array([2.0, 3.0, 1.5])
    std_first, std_second = np.array([1.0, 0.2, 5.0]), np.array([0.5, 2.0, 5.0])
    first = gaussian_sample(mean_first, std_first, 40, seed=0)
    second = gaussian_sample(mean_second, std_second, 30, seed=1)
    closed_form = np.sum((mean_first - mean_second) ** 2) + np.sum((std_first - std_second) ** 2)
    assert frechet_distance(first, second) == pytest.approx(closed_form, rel=1e-9)


def test_a_set_is_at_distance_zero_from_itself_and_never_below():
    for num_tiles in (5, 12, 100):
        first = features(num_tiles, num_tiles)
        assert 0 <= frechet_distance(first, first) < 1e-9 * np.var(first) * first.shape[1]


def test_a_shift_of_all_tiles_adds_its_squared_length():
    first = features(40, 0)
    assert frechet_distance(first, first + 3.0) == pytest.approx(9.0 * first.shape[1], rel=1e-5)


def test_it_is_symmetric():
    first, second = features(30, 0), features(20, 1, shift=0.4)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), rel=1e-10)


def test_turning_the_feature_space_changes_nothing():
    first, second = features(40, 0).astype(float), features(30, 1, shift=0.4).astype(float)
    turn = ortho_group.rvs(first.shape[1], random_state=2)
    assert frechet_distance(first @ turn, second @ turn) == pytest.approx(frechet_distance(first, second), rel=1e-9)


def test_it_grows_with_the_square_of_the_scale():
    first, second = features(40, 0).astype(float), features(30, 1, shift=0.4).astype(float)
    assert frechet_distance(10 * first, 10 * second) == pytest.approx(100 * frechet_distance(first, second), rel=1e-9)


def test_fewer_tiles_than_channels_give_the_formula_too():
    first, second = features(8, 0, dim=40), features(5, 1, shift=0.2, dim=40)
    root = np.linalg.svd(
        (first - first.mean(axis=0)) @ (second - second.mean(axis=0)).T / np.sqrt(7 * 4), compute_uv=False
    ).sum()
    between_means = np.sum((first.mean(axis=0) - second.mean(axis=0)) ** 2)
    spreads = first.var(axis=0, ddof=1).sum() + second.var(axis=0, ddof=1).sum()
    assert frechet_distance(first, second) == pytest.approx(between_means + spreads - 2 * root, rel=1e-5)


def test_channels_that_never_vary_do_no_harm():
    first, second = features(40, 0), features(30, 1, shift=0.4)
    constant = np.full((1, 3), 7.0, dtype=np.float32)
    padded = [np.hstack([side, np.repeat(constant, len(side), axis=0)]) for side in (first, second)]
    assert frechet_distance(*padded) == pytest.approx(frechet_distance(first, second), rel=1e-6)


def test_it_is_biased_upward_the_more_the_fewer_the_tiles():
    distances = [
        np.mean([frechet_distance(features(n, 2 * i), features(n, 2 * i + 1)) for i in range(5)])
        for n in (400, 50, 12, 6)
    ]
    assert distances == sorted(distances)
    assert distances[0] > 0


def test_large_features_lose_no_precision():
    first, second = features(40, 0).astype(float), features(30, 1, shift=0.4).astype(float)
    assert frechet_distance(first + 1e4, second + 1e4) == pytest.approx(frechet_distance(first, second), rel=1e-6)


def test_under_two_tiles_is_refused():
    with pytest.raises(TooFewTilesError, match="Fréchet distance needs at least 2 tiles on each side, given 1"):
        frechet_distance(features(5, 0), features(1, 1))
