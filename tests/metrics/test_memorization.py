import functools
import io

import numpy as np
import pytest
from PIL import Image

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metrics import memorization
from medi_core.metrics.memorization import Region, flag_copies, nearest_windows
from medi_core.metrics.tile_windows import orient
from tests.toys import synthetic_tissue

SIDE_PX = 128
SIZES = ((200, 200), (179, 179), (230, 150), (128, 128))
NUM_BASELINE = 100


@functools.cache
def regions() -> list[Region]:
    """Of the sizes that occur, each of a patient of its own."""
    images = [synthetic_tissue(max(size), seed)[: size[1], : size[0]] for seed, size in enumerate(SIZES)]
    return [Region(f"region-{i}", image, f"patient-{i}") for i, image in enumerate(images)]


def cut(region: Region, x: int, y: int) -> np.ndarray:
    return region.image[y : y + SIDE_PX, x : x + SIDE_PX]


def independent_tiles(num_tiles: int, seed: int) -> np.ndarray:
    return np.stack([synthetic_tissue(SIDE_PX, seed + i) for i in range(num_tiles)])


def recoloured(tile: np.ndarray) -> np.ndarray:
    """Other gain and brightness in each channel."""
    return np.clip(tile * [0.7, 1.1, 0.9] + [40, -20, 10], 0, 255).astype(np.uint8)


def as_jpeg(tile: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(tile)).save(stream, "JPEG", quality=50)
    return np.asarray(Image.open(stream))


PLANTED = {
    "as it is, at an odd offset": (0, 37, 61, lambda tile: tile),
    "in the last corner": (1, 51, 51, lambda tile: tile),
    "in a region as large as a tile": (3, 0, 0, lambda tile: tile),
    "mirrored": (2, 99, 3, lambda tile: orient(tile, 4)),
    "turned": (1, 2, 50, lambda tile: orient(tile, 1)),
    "recoloured": (0, 2, 2, recoloured),
    "as JPEG": (2, 33, 22, as_jpeg),
    "turned, mirrored, recoloured, as JPEG": (0, 70, 1, lambda tile: as_jpeg(recoloured(orient(tile, 7)))),
}


@pytest.fixture(scope="module")
def baseline() -> np.ndarray:
    """Similarities of tiles that copy nothing."""
    return nearest_windows(independent_tiles(NUM_BASELINE, seed=1000), regions()).similarity


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_copy_is_flagged_and_its_place_found(name, baseline):
    place, x, y, disguise = PLANTED[name]
    tile = disguise(cut(regions()[place], x, y))
    match = nearest_windows(tile[None], regions())
    assert flag_copies(match.similarity, baseline).flagged.all()
    assert match.similarity[0] > 0.95
    assert match.region[0] == f"region-{place}"
    np.testing.assert_allclose(match.xy[0], (x, y), atol=1)


@pytest.mark.parametrize("orientation", range(8))
def test_turning_a_copy_by_the_orientation_found_gives_the_window_to_the_pixel(orientation):
    region = regions()[0]
    tile = orient(cut(region, 31, 18), orientation)
    match = nearest_windows(tile[None], [region])
    np.testing.assert_array_equal(orient(tile, match.orientation[0]), cut(region, *match.xy[0]))


def test_tiles_that_copy_nothing_are_flagged_about_as_often_as_the_percentile_says(baseline):
    similarity = nearest_windows(independent_tiles(60, seed=2000), regions()).similarity
    assert flag_copies(similarity, baseline, percentile=1).flagged.sum() <= 4  # 0.6 expected
    assert flag_copies(similarity, baseline, percentile=50).share_flagged == pytest.approx(0.5, abs=0.2)


def test_the_order_of_the_regions_does_not_matter():
    tiles = np.concatenate([independent_tiles(5, seed=1000), cut(regions()[1], 9, 9)[None]])
    forth, back = nearest_windows(tiles, regions()), nearest_windows(tiles, reversed(regions()))
    np.testing.assert_allclose(forth.similarity, back.similarity, atol=1e-6)
    np.testing.assert_array_equal(forth.region, back.region)
    np.testing.assert_array_equal(forth.xy, back.xy)
    np.testing.assert_array_equal(forth.orientation, back.orientation)


def test_a_tile_is_matched_alike_in_any_company(monkeypatch):
    monkeypatch.setattr(memorization, "TILES_AT_ONCE", 2)
    tiles = independent_tiles(5, seed=1000)
    together, alone = nearest_windows(tiles, regions()[:1]), nearest_windows(tiles[-1:], regions()[:1])
    assert together.similarity[-1] == pytest.approx(alone.similarity[0], abs=1e-6)
    np.testing.assert_array_equal(together.xy[-1], alone.xy[0])


def test_a_tile_is_not_compared_with_regions_of_its_own_group():
    tiles = np.stack([cut(region, 0, 0) for region in regions()])
    owners = [region.group for region in regions()]
    free, excluded = nearest_windows(tiles, regions()), nearest_windows(tiles, regions(), owners)
    assert list(free.region) == [region.key for region in regions()]
    assert all(found != region.key for found, region in zip(excluded.region, regions(), strict=True))
    assert excluded.similarity.max() < 0.9 < free.similarity.min()


def test_a_region_without_a_group_is_compared_with_every_tile():
    nobodys = Region("nobody's", regions()[0].image)
    tiles = np.stack([cut(nobodys, 4, 4)] * 2)
    assert (nearest_windows(tiles, [nobodys], [None, "patient-0"]).similarity > 0.99).all()


def test_a_tile_with_nothing_to_compare_has_no_similarity():
    region, tile = regions()[0], cut(regions()[0], 4, 4)
    match = nearest_windows(tile[None], [region], [region.group])
    assert np.isnan(match.similarity[0])
    assert match.region[0] is None
    assert (match.xy[0] == -1).all()
    assert match.orientation[0] == -1


def test_a_blank_tile_has_no_similarity_and_is_never_flagged_but_counted(baseline):
    tiles = np.stack([np.full((SIDE_PX, SIDE_PX, 3), 255, dtype=np.uint8), cut(regions()[0], 5, 5)])
    similarity = nearest_windows(tiles, regions()).similarity
    audit = flag_copies(similarity, baseline)
    assert np.isnan(similarity[0])
    assert list(audit.flagged) == [False, True]
    assert (audit.num_measured, audit.num_unmeasurable, audit.num_baseline) == (1, 1, NUM_BASELINE)
    assert audit.share_flagged == 1


def test_a_region_without_texture_is_skipped_and_still_counted_as_done():
    white, done = Region("white", np.full((150, 150, 3), 240, dtype=np.uint8)), []
    match = nearest_windows(cut(regions()[0], 5, 5)[None], [white, regions()[0], white], on_progress=done.append)
    assert match.region[0] == "region-0"
    assert done == [1, 2, 3]


def test_a_group_for_each_tile_is_asked_for():
    with pytest.raises(InvalidRequestError, match="1 groups for 2 tiles"):
        nearest_windows(independent_tiles(2, seed=0), regions(), ["patient-0"])


def test_the_threshold_is_the_percentile_of_the_measured_baseline():
    baseline = np.concatenate([1 - np.linspace(0.2, 0.7, 201), [np.nan]])
    audit = flag_copies(np.array([0.81, 0.796, 0.794, 0.1]), baseline)
    assert audit.threshold == pytest.approx(0.205)
    assert list(audit.flagged) == [True, True, False, False]
    assert audit.share_flagged == 0.5


def test_copies_in_the_baseline_itself_do_not_hide_a_copy():
    audit = flag_copies(np.array([1.0, 0.6]), np.concatenate([np.ones(10), np.full(190, 0.5)]))
    assert audit.threshold == 0
    assert list(audit.flagged) == [True, False]


def test_no_measured_tile_gives_no_share():
    assert np.isnan(flag_copies(np.array([np.nan]), np.linspace(0.2, 0.5, 100)).share_flagged)


@pytest.mark.parametrize(("percentile", "needed"), [(1, 100), (5, 20), (0.3, 334)])
def test_a_baseline_too_small_for_its_percentile_is_refused(percentile, needed):
    enough = np.linspace(0.2, 0.5, needed)
    flag_copies(np.array([0.9]), enough, percentile)
    with pytest.raises(TooFewTilesError, match=f"at least {needed} real tiles with texture, given {needed - 1}"):
        flag_copies(np.array([0.9]), np.append(enough[1:], np.nan), percentile)


@pytest.mark.parametrize("percentile", [0, 100, -1])
def test_a_percentile_outside_its_range_is_refused(percentile):
    with pytest.raises(InvalidRequestError, match=f"percentile = {percentile}: above 0 and below 100"):
        flag_copies(np.array([0.9]), np.linspace(0.2, 0.5, 100), percentile)
