"""Temperature scaling: one number that makes a classifier as sure as it is right. numpy in, a number out.

Source: Guo et al. 2017, "On calibration of modern neural networks", §4.2. It divides all logits alike, so what is
most likely stays so.
"""

import numpy as np
from scipy.optimize import minimize_scalar

from medi_core.models.tile_classifier import softmax

LOG_RANGE = (np.log(0.05), np.log(20.0))
"""Where the temperature is sought; at an end of it the logits say nothing, or the tiles are too few."""


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least negative log-likelihood.

    Args:
        logits: `(N, K)`, N ≥ 1, of tiles that were not trained on.
        labels: int64 `(N,)`.
    """
    assert len(logits) == len(labels) > 0, (len(logits), len(labels))
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits / np.exp(log_t), labels), bounds=LOG_RANGE, method="bounded"
    )
    return float(np.exp(found.x))


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the tiles, in nats."""
    chosen = softmax(logits)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())
