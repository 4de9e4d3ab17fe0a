"""Stains are scaled one by one, and the tissue stays."""

import numpy as np
import pytest

from medi_core.stain.jitter import jitter_stains, scale_stains
from medi_core.stain.separation import separate
from tests.toys import synthetic_tissue


@pytest.fixture
def tile() -> np.ndarray:
    return synthetic_tissue(64, 1)


def test_factors_of_one_change_nothing(tile):
    np.testing.assert_array_equal(scale_stains(tile, 1, 1), tile)


@pytest.mark.parametrize(("factors", "place"), [((1.3, 1.0), 0), ((1.0, 0.7), 1)])
def test_the_stain_asked_for_is_scaled_and_the_other_stays(tile, factors, place):
    before, after = separate(tile), separate(scale_stains(tile, *factors))
    both = (before > 0.1).all(axis=-1)  # where separation does not clip at 0
    ratio = after[both].mean(axis=0) / before[both].mean(axis=0)
    assert ratio[place] == pytest.approx(factors[place], abs=0.03)
    assert ratio[1 - place] == pytest.approx(1, abs=0.03)


def test_a_draw_depends_on_its_generator_alone_and_no_strength_is_no_change(tile):
    first, again, other = (jitter_stains(tile, 0.3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(jitter_stains(tile, 0.0, np.random.default_rng(1)), tile)
