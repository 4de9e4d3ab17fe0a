"""Optical density and the fixed separation. Run: pytest tests/stain"""

import numpy as np
import pytest
from skimage.color import rgb2hed, rgb_from_hed

from medi_core.errors import TooLittleTissueError
from medi_core.stain.separation import (
    MIN_TISSUE_FRACTION,
    optical_density,
    require_tissue,
    separate,
    stain_strengths,
    tissue_mask,
)

SIDE_PX = 64
WHITE = np.full((SIDE_PX, SIDE_PX, 3), 255, dtype=np.uint8)


def mix(concentrations: np.ndarray) -> np.ndarray:
    """Beer–Lambert: `(H, W, 2)` hematoxylin, eosin → uint8 `(H, W, 3)` in the colours of skimage's matrix."""
    return np.round(255 * np.exp(-concentrations @ rgb_from_hed[:2])).astype(np.uint8)


def random_concentrations(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 1.2, (SIDE_PX, SIDE_PX, 2))


def test_optical_density_is_the_natural_logarithm():
    image = np.array([[[255, 94, 35]]], dtype=np.uint8)  # 255/e = 93.8, 255/e² = 34.5
    assert optical_density(image)[0, 0] == pytest.approx([0, 1, 2], abs=0.02)


def test_optical_density_is_finite_and_falls_with_intensity():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    density = optical_density(ramp)
    assert np.isfinite(density).all()
    assert density.dtype == np.float32
    assert (np.diff(density[0, 1:, 0]) < 0).all()
    assert density[0, 0, 0] == density[0, 1, 0]
    assert density[0, 255, 0] == 0


def test_the_matrix_that_mixed_an_image_is_recovered_with_hematoxylin_first():
    concentrations = random_concentrations()
    recovered = separate(mix(concentrations))
    assert recovered.shape == (SIDE_PX, SIDE_PX, 2)
    assert recovered.dtype == np.float32
    assert np.abs(recovered - concentrations).max() < 0.05  # quantisation to 8 bits
    assert np.abs(recovered - concentrations).mean() < 0.005


@pytest.mark.parametrize(("stain", "rgb"), [(0, [80, 60, 140]), (1, [225, 100, 180])])
def test_purple_is_mostly_hematoxylin_and_pink_mostly_eosin(stain, rgb):
    concentrations = separate(np.full((4, 4, 3), rgb, dtype=np.uint8))[0, 0]
    assert concentrations[stain] > 2 * concentrations[1 - stain]


def test_separation_agrees_with_skimage_up_to_its_unit():
    image = mix(random_concentrations(1))
    assert separate(image) == pytest.approx(rgb2hed(image)[..., :2] * -np.log(1e-6), abs=1e-4)


def test_concentrations_are_never_negative_or_infinite_even_on_black_and_noise():
    noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    for image in (noise, np.zeros_like(WHITE), WHITE):
        concentrations = separate(image)
        assert np.isfinite(concentrations).all()
        assert concentrations.min() >= 0


def test_white_glass_has_no_tissue_and_no_strength():
    assert not tissue_mask(WHITE).any()
    assert np.isnan(stain_strengths(WHITE)).all()


def test_white_glass_is_refused_with_what_is_needed():
    with pytest.raises(TooLittleTissueError, match=r"tissue covers 0\.0% of the image; at least 5% is needed"):
        require_tissue(WHITE)


@pytest.mark.parametrize(("num_rows", "is_enough"), [(3, False), (4, True)])
def test_tissue_suffices_from_the_documented_share_on(num_rows, is_enough):
    image = WHITE.copy()
    image[:num_rows] = mix(random_concentrations())[:num_rows]
    assert (num_rows / SIDE_PX >= MIN_TISSUE_FRACTION) == is_enough
    assert np.isfinite(stain_strengths(image)).all() == is_enough
    if is_enough:
        require_tissue(image)


@pytest.mark.parametrize("stain", [0, 1])
def test_a_stronger_stain_has_a_larger_strength_and_leaves_the_other_alone(stain):
    strengths = []
    for factor in (0.5, 0.75, 1.0, 1.25, 1.5, 2.0):
        concentrations = random_concentrations()
        concentrations[..., stain] *= factor
        strengths.append(stain_strengths(mix(concentrations)))
    own, other = np.array(strengths)[:, stain], np.array(strengths)[:, 1 - stain]
    assert (np.diff(own) > 0.05).all()
    assert other == pytest.approx(other[0], abs=0.03)


def test_strength_is_the_95th_percentile_of_the_concentration_in_natural_log_units():
    concentrations = random_concentrations()
    expected = np.percentile(concentrations.reshape(-1, 2), 95, axis=0)
    assert stain_strengths(mix(concentrations)) == pytest.approx(expected, abs=0.02)


def test_glass_beside_the_tissue_does_not_change_the_strength():
    image = mix(random_concentrations())
    with_glass = np.concatenate([image, WHITE], axis=1)
    assert stain_strengths(with_glass) == pytest.approx(stain_strengths(image), abs=1e-6)


def test_strength_does_not_depend_on_flips_and_rotations():
    image = mix(random_concentrations())
    for k in range(4):
        assert stain_strengths(np.rot90(image, k)[:, ::-1]) == pytest.approx(stain_strengths(image), abs=1e-6)
