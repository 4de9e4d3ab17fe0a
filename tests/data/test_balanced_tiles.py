"""Classes and centers are drawn as often as asked, and a draw is a function of seed and number."""

import numpy as np
import pandas as pd
import pytest

from medi_core.data.balanced_tiles import AugmentationConfig, BalancedTileDataset, balanced_probabilities, read_tiles
from medi_core.data.manifest import read_manifest
from medi_core.errors import InvalidRequestError
from tests.toys import synthetic_tissue

CLASSES = pd.Series(["a"] * 90 + ["b"] * 10)
CENTERS = pd.Series(["x"] * 80 + ["y"] * 10 + ["x"] * 4 + [None] * 6)


def shares(probabilities: np.ndarray, by: list[pd.Series]) -> list[float]:
    return list(pd.Series(probabilities).groupby([s.fillna("-") for s in by]).sum())


@pytest.mark.parametrize(
    ("temperature", "of_classes", "of_cells"),
    [
        (0.0, [0.5, 0.5], [0.25, 0.25, 0.25, 0.25]),  # (a, x), (a, y), (b, no center), (b, x)
        (1.0, [0.9, 0.1], [0.8, 0.1, 0.06, 0.04]),
        (0.5, [0.75, 0.25], None),  # 90 and 10 tiles: 3 to 1
    ],
)
def test_classes_and_centers_have_the_shares_that_the_temperature_says(temperature, of_classes, of_cells):
    probabilities = balanced_probabilities(CLASSES, CENTERS, temperature)
    np.testing.assert_allclose(shares(probabilities, [CLASSES]), of_classes)
    if of_cells:
        np.testing.assert_allclose(shares(probabilities, [CLASSES, CENTERS]), of_cells)


def test_draws_come_as_often_as_their_probabilities():
    probabilities = balanced_probabilities(CLASSES, CENTERS, 0.0)
    tiles = np.zeros((100, 4, 4, 3), np.uint8)
    dataset = BalancedTileDataset(tiles, np.arange(100), probabilities, AugmentationConfig())
    rows = np.array([dataset.row_of(i) for i in range(4000)])
    assert (rows >= 90).mean() == pytest.approx(0.5, abs=0.03)
    assert np.isin(rows, range(80, 90)).mean() == pytest.approx(0.25, abs=0.03)


def test_a_draw_is_a_function_of_seed_and_number_and_keeps_its_label():
    tiles = np.stack([synthetic_tissue(32, seed) for seed in range(4)])
    uniform = np.full(4, 0.25)
    first, again, other = (
        BalancedTileDataset(tiles, np.arange(4) + 10, uniform, AugmentationConfig(seed=seed)) for seed in (0, 0, 1)
    )
    for index in (0, 5, 3):
        assert (first[index][0] == again[index][0]).all()
        assert first[index][1] == first.row_of(index) + 10
        assert first[index][0].shape == (32, 32, 3)
    assert [first.row_of(i) for i in range(20)] != [other.row_of(i) for i in range(20)]


def test_without_jitter_a_draw_has_the_colours_of_its_tile():
    tiles = synthetic_tissue(32, 1)[None]
    dataset = BalancedTileDataset(tiles, np.zeros(1, int), np.ones(1), AugmentationConfig(stain_jitter=0))
    drawn = [dataset[i][0].numpy() for i in range(64)]
    assert len({tile.tobytes() for tile in drawn}) == 8  # four turns, each mirrored or not
    for tile in drawn:
        np.testing.assert_array_equal(np.sort(tile.reshape(-1, 3), axis=0), np.sort(tiles.reshape(-1, 3), axis=0))


def test_tiles_come_in_the_order_of_the_rows(toy_manifest):
    manifest = read_manifest(toy_manifest)
    shuffled = manifest.sample(frac=1, random_state=0)
    tiles, back = read_tiles(manifest), read_tiles(shuffled)
    assert tiles.shape == (24, 128, 128, 3)
    np.testing.assert_array_equal(back, tiles[shuffled.index])
    assert read_tiles(manifest[:0]).shape == (0, 128, 128, 3)


@pytest.mark.parametrize("change", [{"temperature": 2.0}, {"stain_jitter": -0.1}])
def test_shares_outside_zero_and_one_are_refused(change):
    with pytest.raises(InvalidRequestError, match="must be from 0 to 1"):
        AugmentationConfig(**change)
