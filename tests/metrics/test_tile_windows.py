import numpy as np
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.metrics.tile_windows import CELL_PX, STEP_PX, orient, templates_of, windows_of
from tests.toys import synthetic_tissue

SIDE_PX = 128


def tile_at(region: np.ndarray, x: int, y: int) -> np.ndarray:
    return region[y : y + SIDE_PX, x : x + SIDE_PX]


def row_of(tile: np.ndarray) -> np.ndarray:
    return templates_of(tile[None])[0, 0]


def naive_row(tile: np.ndarray) -> np.ndarray:
    """What is compared, cell by cell."""
    luminance = tile.astype(float) @ [0.299, 0.587, 0.114]
    side = len(tile) // CELL_PX
    cells = np.array(
        [
            [luminance[r * CELL_PX : (r + 1) * CELL_PX, c * CELL_PX : (c + 1) * CELL_PX].mean() for c in range(side)]
            for r in range(side)
        ]
    )
    local = [[cells[max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3].mean() for c in range(side)] for r in range(side)]
    details = (cells - local).ravel()
    return (details - details.mean()) / np.linalg.norm(details - details.mean())


def test_what_is_compared_is_the_definition():
    tile = synthetic_tissue(SIDE_PX, seed=0)
    np.testing.assert_allclose(row_of(tile), naive_row(tile), atol=1e-5)


@pytest.mark.parametrize("step_px", [1, 2, 4, 8])
def test_a_window_is_compared_as_the_tile_cut_there(step_px):
    region = synthetic_tissue(141, seed=0)
    windows = windows_of(region, SIDE_PX, step_px)
    cut = np.stack([tile_at(region, x, y) for x, y in windows.xy])
    np.testing.assert_allclose(windows.rows, templates_of(cut)[:, 0], atol=1e-4)
    assert len(windows.rows) == (13 // step_px + 1) ** 2


@pytest.mark.parametrize("step_px", [1, 2, 4, 8])
def test_no_crop_is_more_than_half_a_step_off_a_window(step_px):
    for excess in range(2 * CELL_PX):
        windows = windows_of(synthetic_tissue(SIDE_PX + excess, seed=1), SIDE_PX, step_px)
        for axis in (0, 1):
            off = abs(windows.xy[:, axis] - np.arange(excess + 1)[:, None]).min(axis=1)
            assert off.max() <= step_px / 2
            assert windows.xy[:, axis].max() <= excess


def test_a_region_that_is_not_square_has_windows_everywhere():
    windows = windows_of(synthetic_tissue(200, seed=0)[:136], SIDE_PX)
    assert set(map(tuple, windows.xy)) == {(x, y) for x in range(0, 73, STEP_PX) for y in (0, 4, 8)}


def test_at_the_worst_offset_a_crop_is_still_far_more_alike_than_any_other_window():
    """The reason for a step of 4 px: half of it on both axes leaves a copy well above its lookalikes."""
    for seed in range(4):
        region = synthetic_tissue(256, seed)
        copies = [row_of(tile_at(region, 40, 40)) @ row_of(tile_at(region, 40 + dx, 40 + 2)) for dx in (-2, 2)]
        others = (
            windows_of(synthetic_tissue(256, seed + 100), SIDE_PX).rows @ templates_of(region[None, :128, :128])[0].T
        )
        assert min(copies) > 0.7
        assert others.max() < 0.6


def test_the_eight_orientations_differ_and_are_turns_of_the_tile():
    tile = synthetic_tissue(SIDE_PX, seed=0)
    turned = np.stack([orient(tile, i) for i in range(8)])
    assert len({image.tobytes() for image in turned}) == 8
    np.testing.assert_allclose(templates_of(tile[None])[0], templates_of(turned)[:, 0], atol=1e-5)


def test_brightness_and_contrast_do_not_count():
    tile = synthetic_tissue(SIDE_PX, seed=0).astype(float)
    recoloured = np.round(0.6 * tile + 30).astype(np.uint8)
    assert row_of(tile.astype(np.uint8)) @ row_of(recoloured) > 0.999


def test_a_shade_across_the_tile_hardly_counts():
    first, second = (synthetic_tissue(SIDE_PX, seed) // 2 for seed in (0, 1))
    shade = np.linspace(0, 120, SIDE_PX).astype(np.uint8)[:, None, None]
    assert np.corrcoef((first + shade).ravel(), (second + shade).ravel())[0, 1] > 0.5
    assert abs(row_of(first + shade) @ row_of(second + shade)) < 0.3


def test_what_has_no_texture_is_not_compared():
    rng = np.random.default_rng(0)
    blank = np.clip(rng.normal(240, 8, (160, 160, 3)), 0, 255).astype(np.uint8)
    assert len(windows_of(blank, SIDE_PX).rows) == 0
    assert np.isnan(templates_of(blank[None, :SIDE_PX, :SIDE_PX])).all()
    half_blank = np.concatenate([synthetic_tissue(160, seed=0), blank], axis=1)
    kept = set(map(tuple, windows_of(half_blank, SIDE_PX).xy))
    assert kept
    assert all(x < 160 for x, _ in kept)


def test_a_region_smaller_than_a_tile_is_refused():
    with pytest.raises(InvalidRequestError, match="a region of 200×100 px holds no tile of 128 px: leave it out"):
        windows_of(synthetic_tissue(200, seed=0)[:100], SIDE_PX)


@pytest.mark.parametrize("shape", [(128, 128, 3), (2, 128, 64, 3), (2, 100, 100, 3), (2, 128, 128, 4)])
def test_tiles_of_another_shape_are_refused(shape):
    with pytest.raises(InvalidRequestError, match="S a multiple of 8 px"):
        templates_of(np.zeros(shape, dtype=np.uint8))
