import numpy as np
import pytest
from tqdm import tqdm

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.projection import (
    NUM_EPOCHS,
    ProjectionConfig,
    _progress_bar,
    fit_projection,
    nearest,
    place_by_neighbours,
)


class CancelledError(Exception):
    """What a caller raises to stop."""


def features(num: int, seed: int = 0, dim: int = 12, offset: float = 0.0) -> np.ndarray:
    """Channels differ in scale by orders of magnitude."""
    scales = np.logspace(1, -3, dim)
    return (np.random.default_rng(seed).normal(0, 1, (num, dim)) * scales + offset).astype(np.float32)


def two_clusters(num_each: int = 30) -> tuple[np.ndarray, np.ndarray]:
    points = features(2 * num_each)
    points[num_each:, 0] += 300
    return points, np.arange(2 * num_each) >= num_each


def brute_force(points: np.ndarray, reference: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    distances = np.array([[np.linalg.norm(x.astype(float) - y.astype(float)) for y in reference] for x in points])
    indices = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return indices, np.take_along_axis(distances, indices, axis=1)


def assert_apart(coordinates: np.ndarray, is_second: np.ndarray) -> None:
    neighbour = nearest(coordinates, coordinates, 2)[0][:, 1]
    assert (is_second[neighbour] == is_second).all()
    between = np.linalg.norm(coordinates[is_second].mean(axis=0) - coordinates[~is_second].mean(axis=0))
    assert between > coordinates[is_second].std() + coordinates[~is_second].std()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_two_far_clusters_stay_apart_in_a_pca(metric):
    points, is_second = two_clusters()
    coordinates = fit_projection(points, ProjectionConfig(method="pca", metric=metric))
    assert coordinates.shape == (60, 2)
    assert coordinates.dtype == np.float32
    if metric == "euclidean":
        assert_apart(coordinates, is_second)


def test_a_pca_does_not_flip_with_the_order_of_the_rows_nor_change_with_the_seed():
    points, _ = two_clusters()
    coordinates = fit_projection(points, ProjectionConfig(method="pca"))
    again = fit_projection(points[::-1], ProjectionConfig(method="pca", seed=5))
    np.testing.assert_allclose(again[::-1], coordinates, atol=1e-3)


def test_a_cosine_map_takes_no_notice_of_length():
    points = features(40, offset=1.0)
    lengths = np.random.default_rng(1).uniform(1, 9, (40, 1)).astype(np.float32)
    config = ProjectionConfig(method="pca", metric="cosine")
    np.testing.assert_allclose(fit_projection(lengths * points, config), fit_projection(points, config), atol=1e-4)


@pytest.mark.slow  # UMAP compiles for 15 to 60 s in every new process
def test_a_umap_keeps_clusters_apart_is_as_its_seed_says_and_can_be_cancelled():
    points, is_second = two_clusters()
    config = ProjectionConfig(n_neighbors=10, num_pca=5)
    calls: list[tuple[int, int]] = []
    coordinates = fit_projection(points, config, lambda *call: calls.append(call))
    assert_apart(coordinates, is_second)
    np.testing.assert_array_equal(fit_projection(points, config), coordinates)
    assert not np.array_equal(fit_projection(points, ProjectionConfig(n_neighbors=10, num_pca=5, seed=1)), coordinates)
    assert sorted(calls) == calls
    assert set(calls) == {(epoch, NUM_EPOCHS) for epoch in range(NUM_EPOCHS + 1)}

    def stop_at_seven(done: int, _total: int) -> None:
        calls.append((done, _total))
        if done == 7:
            raise CancelledError

    calls.clear()
    with pytest.raises(CancelledError):
        fit_projection(points, config, stop_at_seven)
    assert calls[-1] == (7, NUM_EPOCHS)
    for smallest in (features(4), np.repeat(features(2), 20, axis=0)):  # the fewest tiles; nothing but twins
        assert np.isfinite(fit_projection(smallest, ProjectionConfig(n_neighbors=3))).all()


def test_the_progress_bar_tells_every_step_and_what_the_listener_raises_ends_the_loop(capsys):
    told: list[int] = []
    for _ in tqdm(range(5), **_progress_bar(lambda done, _total: told.append(done))):
        pass
    assert sorted(set(told)) == [0, 1, 2, 3, 4, 5]

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise CancelledError

    steps = []
    with pytest.raises(CancelledError):
        steps.extend(tqdm(range(5), **_progress_bar(stop)))
    assert len(steps) <= 2
    assert capsys.readouterr() == ("", "")


def test_a_umap_can_be_cancelled_before_it_begins_and_while_neighbours_are_sought():
    calls: list[int] = []

    def stop(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        fit_projection(features(600), ProjectionConfig(), stop)
    assert calls == [0, 0]


def test_duplicates_land_on_their_twins():
    reference, places = features(500), np.random.default_rng(1).normal(size=(500, 2)).astype(np.float32)
    np.testing.assert_array_equal(place_by_neighbours(reference[[3, 77, 499]], reference, places), places[[3, 77, 499]])
    reference[4] = reference[3]  # two twins: between them
    halfway = (places[3] + places[4]) / 2
    np.testing.assert_allclose(place_by_neighbours(reference[3:4], reference, places)[0], halfway, rtol=1e-6)


def test_a_place_is_the_mean_of_the_nearest_weighted_by_distance():
    reference = np.array([[0, 0], [4, 0], [0, 90], [70, 70]], dtype=np.float32)
    places = np.array([[10, 0], [20, 0], [0, 1000], [1000, 0]])
    np.testing.assert_allclose(place_by_neighbours(np.float32([[1, 0]]), reference, places, k=2), [[12.5, 0]])
    # what is almost a twin lands almost there
    almost = place_by_neighbours(np.float32([[1e-4, 0]]), reference, places, k=4)
    np.testing.assert_allclose(almost, [[10, 0]], atol=0.1)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("k", [1, 5, 300])
def test_the_nearest_are_those_of_brute_force_also_far_from_the_origin(k, offset):
    points, reference = features(20, 1, offset=offset), features(300, 2, offset=offset)
    reference[10] = reference[200] = points[0]
    indices, distances = nearest(points, reference, k)
    expected_indices, expected_distances = brute_force(points, reference, k)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-6)


def test_chunks_leave_no_trace_and_report():
    points, calls = features(600), []
    indices, distances = nearest(points, points, 3, lambda *call: calls.append(call))
    assert (indices[:, 0] == np.arange(600)).all()
    assert (distances[:, 0] == 0).all()
    np.testing.assert_array_equal(nearest(points[500:], points, 3)[0], indices[500:])
    assert calls == [(256, 600), (512, 600), (600, 600)]


def test_features_that_are_not_finite_are_refused_by_their_row():
    points = features(30)
    points[7, 2] = np.nan
    for config in (ProjectionConfig(), ProjectionConfig(method="pca", metric="cosine")):
        with pytest.raises(InvalidRequestError, match=r"1 of 30 tiles are not finite \(first: row 7\)"):
            fit_projection(points, config)
    for pair in ((points, features(30)), (features(30), points)):
        with pytest.raises(InvalidRequestError, match=r"1 of 30 tiles are not finite \(first: row 7\)"):
            nearest(*pair, 2)


def test_features_of_length_0_have_no_cosine():
    points = features(30)
    points[4] = 0
    with pytest.raises(InvalidRequestError, match="row 4 are all 0"):
        fit_projection(points, ProjectionConfig(method="pca", metric="cosine"))


@pytest.mark.parametrize("num", [0, 15])
def test_too_few_tiles_for_a_map_are_refused(num):
    with pytest.raises(TooFewTilesError, match=f"at least 16 tiles, given {num}: add tiles or take fewer n_neighbors"):
        fit_projection(features(num), ProjectionConfig())
    with pytest.raises(TooFewTilesError, match="pca map needs at least 3 tiles, given 2"):
        fit_projection(features(2), ProjectionConfig(method="pca"))


def test_too_few_neighbours_are_refused():
    with pytest.raises(TooFewTilesError, match="5 nearest tiles were asked for among 4"):
        place_by_neighbours(features(2), features(4), np.zeros((4, 2)))
    with pytest.raises(TooFewTilesError, match="no tile was given"):
        nearest(features(0), features(4), 1)
    with pytest.raises(InvalidRequestError, match="k = 0 neighbours"):
        nearest(features(2), features(4), 0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"method": "tsne"}, "method must be one of umap, pca, given 'tsne'"),
        ({"metric": "manhattan"}, "metric must be one of euclidean, cosine, given 'manhattan'"),
        ({"n_neighbors": 2}, "n_neighbors must be from 3 to 500, given 2"),
        ({"min_dist": 1.5}, "min_dist must be from 0 to 1, given 1.5"),
        ({"min_dist": float("nan")}, "min_dist must be from 0 to 1, given nan"),
        ({"num_pca": -1}, "num_pca must be from 0 to 4096, given -1"),
        ({"seed": -1}, "seed must be from 0 to 4294967295, given -1"),
    ],
)
def test_a_setting_outside_what_is_allowed_is_named(setting, message):
    with pytest.raises(InvalidRequestError, match=message):
        ProjectionConfig(**setting)
