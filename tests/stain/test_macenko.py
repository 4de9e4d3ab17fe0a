"""Stain colours estimated from an image of known colours. Run: pytest tests/stain"""

import numpy as np
import pytest

from medi_core.errors import TooLittleTissueError
from medi_core.stain.macenko import estimate_stain_matrix, separate_with

SIDE_PX = 128
RUIFROK = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
BLUISH = np.array([[0.70, 0.60, 0.40], [0.20, 0.90, 0.35]])
PALE = np.array([[0.55, 0.75, 0.35], [0.25, 0.85, 0.45]])
MATRICES = [matrix / np.linalg.norm(matrix, axis=1, keepdims=True) for matrix in (RUIFROK, BLUISH, PALE)]


def random_concentrations(seed: int = 0, strength: float = 1.0) -> np.ndarray:
    """Both stains at random, and a tenth of the pixels pure in either; float `(S, S, 2)`."""
    rng = np.random.default_rng(seed)
    concentrations = strength * rng.uniform(0.2, 1.5, (SIDE_PX, SIDE_PX, 2))
    kind = rng.random((SIDE_PX, SIDE_PX))
    concentrations[kind < 0.1, 0] = 0
    concentrations[kind > 0.9, 1] = 0
    return concentrations


def mix(concentrations: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Beer–Lambert in natural logarithm, quantised; uint8 `(H, W, 3)`."""
    return np.round(255 * np.exp(-concentrations @ matrix)).astype(np.uint8)


def degrees_apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Angle between the rows of two unit-norm matrices."""
    return np.degrees(np.arccos(np.clip((one * other).sum(axis=1), -1, 1)))


@pytest.mark.parametrize("matrix", MATRICES, ids=["ruifrok", "bluish", "pale"])
@pytest.mark.parametrize("strength", [0.6, 1.0, 1.5])
def test_a_known_stain_matrix_is_recovered_within_two_degrees(matrix, strength):
    estimated = estimate_stain_matrix(mix(random_concentrations(0, strength), matrix))
    assert (degrees_apart(estimated, matrix) < 2).all()


@pytest.mark.parametrize("matrix", MATRICES, ids=["ruifrok", "bluish", "pale"])
def test_known_concentrations_are_recovered_within_a_few_per_cent(matrix):
    concentrations = random_concentrations()
    image = mix(concentrations, matrix)
    recovered = separate_with(image, estimate_stain_matrix(image))
    is_mixed = (concentrations > 0).all(axis=-1)
    ratio = recovered[is_mixed] / concentrations[is_mixed]
    assert (np.median(np.abs(ratio - 1), axis=0) < 0.03).all()
    assert ratio.mean(axis=0) == pytest.approx([1, 1], abs=0.03)


def test_concentrations_are_exact_up_to_quantisation_with_the_true_matrix():
    concentrations = random_concentrations()
    recovered = separate_with(mix(concentrations, MATRICES[0]), MATRICES[0])
    assert recovered.shape == (SIDE_PX, SIDE_PX, 2)
    assert recovered.dtype == np.float32
    assert np.abs(recovered - concentrations).mean() < 0.01


def test_rows_are_unit_vectors_with_hematoxylin_first():
    matrix = estimate_stain_matrix(mix(random_concentrations(), MATRICES[0]))
    assert matrix.shape == (2, 3)
    assert np.linalg.norm(matrix, axis=1) == pytest.approx([1, 1])
    assert matrix[0, 0] > matrix[1, 0]  # hematoxylin absorbs more red


def test_the_dominant_stain_does_not_decide_which_one_is_hematoxylin():
    for factors in ([1.8, 0.3], [0.3, 1.8]):
        estimated = estimate_stain_matrix(mix(random_concentrations() * factors, MATRICES[0]))
        assert (degrees_apart(estimated, MATRICES[0]) < 4).all()


def test_the_estimate_does_not_depend_on_glass_flips_or_crops():
    image = mix(random_concentrations(), MATRICES[1])
    whole = estimate_stain_matrix(image)
    with_glass = np.concatenate([image, np.full_like(image, 255)], axis=0)
    assert estimate_stain_matrix(with_glass) == pytest.approx(whole, abs=1e-6)
    assert estimate_stain_matrix(image[::-1, ::-1]) == pytest.approx(whole, abs=1e-6)
    assert (degrees_apart(estimate_stain_matrix(image[:64, :64]), whole) < 1).all()


def test_camera_noise_moves_the_estimate_by_a_few_degrees_only():
    image = mix(random_concentrations(), MATRICES[0])
    noise = np.random.default_rng(1).normal(0, 3, image.shape)
    noisy = np.clip(np.round(image + noise), 0, 255).astype(np.uint8)
    assert (degrees_apart(estimate_stain_matrix(noisy), MATRICES[0]) < 6).all()


def test_a_stain_that_is_twice_as_strong_has_twice_the_concentration():
    concentrations = random_concentrations(0, 0.6)
    doubled = concentrations * [1, 2]
    single, double = (separate_with(mix(c, MATRICES[0]), MATRICES[0]) for c in (concentrations, doubled))
    assert np.median(double[..., 1]) == pytest.approx(2 * np.median(single[..., 1]), rel=0.02)
    assert np.median(double[..., 0]) == pytest.approx(np.median(single[..., 0]), rel=0.02)


@pytest.mark.parametrize("level", [255, 250, 240])
def test_white_tiles_are_refused_instead_of_giving_a_wrong_number(level):
    blank = np.full((SIDE_PX, SIDE_PX, 3), level, dtype=np.uint8)
    with pytest.raises(TooLittleTissueError, match=r"tissue covers 0\.0%"):
        estimate_stain_matrix(blank)


@pytest.mark.parametrize("stain", [0, 1])
def test_a_tile_of_a_single_stain_is_refused(stain):
    concentrations = random_concentrations()
    concentrations[..., 1 - stain] = 0
    concentrations[..., stain] += 0.3
    with pytest.raises(TooLittleTissueError, match="only one stain is visible"):
        estimate_stain_matrix(mix(concentrations, MATRICES[0]))


def test_a_tile_of_one_colour_is_refused():
    with pytest.raises(TooLittleTissueError, match="only one stain is visible"):
        estimate_stain_matrix(np.full((SIDE_PX, SIDE_PX, 3), [140, 80, 150], dtype=np.uint8))


def test_black_pixels_do_not_break_the_estimate():
    image = mix(random_concentrations(), MATRICES[0])
    image[0] = 0
    assert np.isfinite(estimate_stain_matrix(image)).all()
