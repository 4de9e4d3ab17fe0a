"""Restaining keeps the tissue and takes the stain of the other image."""

import numpy as np
import pytest

from medi_core.errors import TooLittleTissueError
from medi_core.stain.macenko import separate_with
from medi_core.stain.restain import measure_profile, restain

MATRIX = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
UNIT = MATRIX / np.linalg.norm(MATRIX, axis=1, keepdims=True)
TURNED = np.array([[0.55, 0.76, 0.35], [0.20, 0.95, 0.24]])
OTHER_UNIT = TURNED / np.linalg.norm(TURNED, axis=1, keepdims=True)


def stained(matrix: np.ndarray, strengths: tuple[float, float], seed: int = 0) -> np.ndarray:
    """Nuclei that hold hematoxylin alone, stroma that holds eosin alone, and mixtures."""
    share = np.random.default_rng(seed).beta(0.4, 0.4, (64, 64, 1))
    amount = np.random.default_rng(seed + 1).uniform(0.5, 1, (64, 64, 1))
    density = amount * np.concatenate([share, 1 - share], axis=-1) * strengths @ matrix
    return np.clip(255 * np.exp(-density), 0, 255).round().astype(np.uint8)


def test_a_tile_restained_like_another_has_its_colours_and_strengths():
    image, donor = stained(UNIT, (1.2, 0.8)), stained(OTHER_UNIT, (0.7, 1.1), seed=5)
    own, other = measure_profile(image), measure_profile(donor)
    got = measure_profile(restain(image, own, other))
    assert (np.abs(other.matrix - own.matrix)).max() > 0.1, "the two differ to begin with"
    np.testing.assert_allclose(got.matrix, other.matrix, atol=0.03)
    np.testing.assert_allclose(got.strengths, other.strengths, rtol=0.05)


def test_the_tissue_stays_where_it_is():
    image, donor = stained(UNIT, (1.2, 0.8)), stained(OTHER_UNIT, (0.7, 1.1), seed=5)
    own, other = measure_profile(image), measure_profile(donor)
    before = separate_with(image, own.matrix).reshape(-1, 2)
    after = separate_with(restain(image, own, other), other.matrix).reshape(-1, 2)
    for stain in (0, 1):
        assert np.corrcoef(before[:, stain], after[:, stain])[0, 1] > 0.98


def test_restained_like_itself_a_tile_is_itself_within_rounding():
    image = stained(UNIT, (1.2, 0.8))
    profile = measure_profile(image)
    assert np.abs(restain(image, profile, profile).astype(int) - image).max() <= 1


def test_unstained_glass_has_no_profile():
    with pytest.raises(TooLittleTissueError):
        measure_profile(np.full((64, 64, 3), 245, np.uint8))
