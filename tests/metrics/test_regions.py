"""Seams and repetition are found where they are put, and not where they are not."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medi_core.errors import InvalidRequestError
from medi_core.metrics.regions import repetition_peak, seam_ratio

BORDERS = (64, 128, 192)


def texture(side: int = 256, seed: int = 0) -> np.ndarray:
    """Grey blobs of some px, without order."""
    return gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 3, mode="wrap") * 100


def test_an_image_without_seams_has_the_same_gradient_at_borders_as_elsewhere():
    assert np.mean([seam_ratio(texture(seed=s), BORDERS) for s in range(8)]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("turned", [False, True])
def test_a_step_at_one_border_is_seen_in_either_direction(turned):
    image = texture()
    image[:, 128:] += 15
    assert seam_ratio(image.T if turned else image, BORDERS) > 1.5 * seam_ratio(texture(), BORDERS)


def test_smoothing_at_the_borders_is_seen_as_well():
    image = texture()
    for border in BORDERS:
        image[:, border - 1 : border + 1] = image[:, border - 1 : border + 1].mean(axis=1, keepdims=True)
    assert seam_ratio(image, BORDERS) < 0.7 * seam_ratio(texture(), BORDERS)


def test_a_border_at_the_rim_is_none():
    with pytest.raises(InvalidRequestError, match="no window border"):
        seam_ratio(texture(), (0, 256, 512))
    assert np.isnan(seam_ratio(np.ones((64, 64)), (32,)))


def test_a_structure_that_comes_again_is_found_wherever_it_lies():
    twice = texture()
    twice[:, 128:] = twice[:, :128]
    assert repetition_peak(np.tile(texture(64), (4, 4))) == pytest.approx(1, abs=0.01)
    assert repetition_peak(twice) == pytest.approx(1, abs=0.02)
    assert repetition_peak(texture()) < 0.4


def test_brightness_and_contrast_do_not_change_repetition():
    image = texture()
    assert repetition_peak(3 * image + 40) == pytest.approx(repetition_peak(image))


def test_the_peak_is_the_correlation_of_what_overlaps():
    image = texture(80, seed=3)
    centred, best = image - image.mean(), -1.0
    for dy in range(-40, 41):
        for dx in range(-40, 41):
            if max(abs(dy), abs(dx)) < 30:
                continue
            a = centred[max(dy, 0) : 80 + min(dy, 0), max(dx, 0) : 80 + min(dx, 0)]
            b = centred[max(-dy, 0) : 80 + min(-dy, 0), max(-dx, 0) : 80 + min(-dx, 0)]
            best = max(best, (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))
    assert repetition_peak(image, 30) == pytest.approx(best)


def test_nothing_to_see_and_too_small_an_image():
    assert np.isnan(repetition_peak(np.ones((64, 64))))
    with pytest.raises(InvalidRequestError, match="at least 50"):
        repetition_peak(np.ones((40, 64)))
