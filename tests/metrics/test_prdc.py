import numpy as np
import prdc as reference
import pytest

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metrics import prdc
from medi_core.metrics.prdc import PRDC, precision_recall_density_coverage


def features(num_tiles: int, seed: int, shift: float = 0.0, dim: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (num_tiles, dim)).astype(np.float32)


def modes(num_tiles: int, seed: int, centers: tuple[float, ...]) -> np.ndarray:
    """Tiles in clusters that lie far apart on the diagonal."""
    return np.concatenate([features(num_tiles, seed + i, center) for i, center in enumerate(centers)])


def naive(real: np.ndarray, synthetic: np.ndarray, k: int) -> PRDC:
    """The definitions, pair by pair."""

    def distance(x, y):
        return float(np.sqrt(np.sum((x.astype(float) - y.astype(float)) ** 2)))

    def radius(i, tiles):
        return sorted(distance(tiles[i], other) for j, other in enumerate(tiles) if j != i)[k - 1]

    real_radii = [radius(i, real) for i in range(len(real))]
    synthetic_radii = [radius(j, synthetic) for j in range(len(synthetic))]
    in_real = [[distance(x, y) <= r for x, r in zip(real, real_radii, strict=True)] for y in synthetic]
    in_synthetic = [[distance(x, y) <= r for y, r in zip(synthetic, synthetic_radii, strict=True)] for x in real]
    return PRDC(
        precision=np.mean([any(row) for row in in_real]),
        recall=np.mean([any(row) for row in in_synthetic]),
        density=np.mean([sum(row) / k for row in in_real]),
        coverage=np.mean([any(row[i] for row in in_real) for i in range(len(real))]),
    )


def assert_same(first: PRDC, second: PRDC) -> None:
    assert vars(first) == pytest.approx(vars(second), abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_they_are_the_definitions_also_for_unequal_sizes(k):
    real, synthetic = features(25, 0), features(18, 1, shift=0.8)
    measured = precision_recall_density_coverage(real, synthetic, k)
    assert_same(measured, naive(real, synthetic, k))
    assert 0 < measured.recall < 1


def test_they_are_those_of_the_reference_implementation():
    real, synthetic = features(300, 0), features(200, 1, shift=0.5)
    theirs = reference.compute_prdc(real.astype(float), synthetic.astype(float), nearest_k=5)
    assert_same(precision_recall_density_coverage(real, synthetic, k=5), PRDC(**theirs))


def test_distances_in_chunks_are_the_same(monkeypatch):
    real, synthetic = features(50, 0), features(40, 1, shift=0.5)
    whole = precision_recall_density_coverage(real, synthetic)
    monkeypatch.setattr(prdc, "CHUNK_ROWS", 7)
    assert_same(precision_recall_density_coverage(real, synthetic), whole)


def test_identical_sets_are_precise_recalled_and_covered_also_with_tiles_that_occur_twice():
    real = features(30, 0)
    for tiles in (real, np.repeat(real, 7, axis=0)):
        measured = precision_recall_density_coverage(tiles, tiles)
        assert (measured.precision, measured.recall, measured.coverage) == (1, 1, 1)


def test_two_samples_of_one_distribution_have_a_density_near_one():
    measured = precision_recall_density_coverage(features(400, 0), features(400, 1))
    assert measured.density == pytest.approx(1, abs=0.1)
    assert min(measured.precision, measured.recall, measured.coverage) > 0.9


def test_sets_far_apart_share_nothing():
    assert_same(precision_recall_density_coverage(features(30, 0), features(30, 1, shift=50)), PRDC(0, 0, 0, 0))


def test_a_dropped_mode_costs_recall_and_coverage_but_no_precision():
    real = modes(60, 0, (0, 50, 100))
    all_made = precision_recall_density_coverage(real, modes(60, 10, (0, 50, 100)))
    one_dropped = precision_recall_density_coverage(real, modes(60, 10, (0, 50)))
    assert one_dropped.recall == pytest.approx(2 / 3, abs=0.07)
    assert one_dropped.coverage < all_made.coverage - 0.25
    assert one_dropped.precision >= all_made.precision - 0.02


def test_outliers_among_the_synthetic_cost_precision_alone():
    real, synthetic = features(60, 0), features(60, 1)
    outliers = 1000 * np.eye(6, dtype=np.float32)[:3]
    before = precision_recall_density_coverage(real, synthetic)
    after = precision_recall_density_coverage(real, np.concatenate([synthetic, outliers]))
    assert after.precision == pytest.approx(before.precision * 60 / 63)
    assert after.coverage == before.coverage
    assert after.recall >= before.recall  # the definition: their balls are huge, which is its known weakness


def test_scaling_and_shifting_the_feature_space_changes_nothing():
    real, synthetic = features(40, 0), features(30, 1, shift=0.5)
    moved = precision_recall_density_coverage(8 * real + 2, 8 * synthetic + 2)
    assert_same(moved, precision_recall_density_coverage(real, synthetic))


def test_no_more_tiles_than_neighbours_are_refused():
    with pytest.raises(TooFewTilesError, match="of 5 nearest neighbours needs at least 6 tiles on each side, given 5"):
        precision_recall_density_coverage(features(30, 0), features(5, 1), k=5)
    precision_recall_density_coverage(features(30, 0), features(6, 1), k=5)


def test_no_neighbour_is_refused():
    with pytest.raises(InvalidRequestError, match="k = 0"):
        precision_recall_density_coverage(features(30, 0), features(30, 1), k=0)
