"""The temperature undoes what made a classifier too sure, and leaves what it predicts."""

import numpy as np
import pytest

from medi_core.models.tile_classifier import softmax
from medi_core.training.calibration import fit_temperature, negative_log_likelihood


def sure_logits(factor: float, num: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a classifier that is exactly as sure as right, times a factor; and labels drawn from it."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (num, 4))
    labels = (softmax(logits).cumsum(axis=1) < rng.random((num, 1))).sum(axis=1)
    return factor * logits, labels


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_factor_that_spoiled_the_logits_is_found(factor):
    logits, labels = sure_logits(factor)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(factor, rel=0.05)
    assert negative_log_likelihood(logits / temperature, labels) <= negative_log_likelihood(logits, labels)
    np.testing.assert_array_equal((logits / temperature).argmax(axis=1), logits.argmax(axis=1))


def test_the_loss_of_knowing_nothing_is_the_logarithm_of_the_number_of_classes():
    assert negative_log_likelihood(np.zeros((5, 4)), np.arange(5) % 4) == pytest.approx(np.log(4))
