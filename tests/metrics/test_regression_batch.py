"""A batch of regressions is, one by one, what scikit-learn fits."""

import numpy as np
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.metrics.regression_batch import balanced_weights, fit_regressions, principal_axes


def tiles(num: int, num_labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_labels, size=num)
    features = rng.normal(0, 1, (num, 12)) * np.logspace(1, -1, 12) + 2 * np.eye(12)[labels]
    return (features + 50).astype(np.float32), labels


def probabilities(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("num_labels", [2, 3])
def test_each_fit_is_that_of_sklearn_on_its_own_tiles(num_labels):
    from sklearn.linear_model import LogisticRegression

    features, labels = tiles(200, num_labels)
    rng = np.random.default_rng(1)
    counts = np.stack([np.ones(200), rng.integers(0, 3, 200), (np.arange(200) < 60).astype(int)])
    axes, inverse_penalty = principal_axes(features), 10.0
    weights = balanced_weights(labels, counts, num_labels)
    fitted = fit_regressions(axes, labels, weights, num_labels, penalty=1 / (inverse_penalty * 200))
    centred = features - features.mean(axis=0)
    scaled = centred / np.sqrt(np.square(centred).sum(axis=1).mean())
    for own, of_fit in zip(counts, fitted, strict=True):
        rows = np.repeat(np.arange(200), own.astype(int))
        model = LogisticRegression(
            C=inverse_penalty * 200 / len(rows), class_weight="balanced", max_iter=5000, tol=1e-8
        )
        model.fit(scaled[rows], labels[rows])
        np.testing.assert_allclose(probabilities(axes.points @ of_fit.T), model.predict_proba(scaled), atol=0.03)


def test_balanced_weights_give_every_label_the_same_sum():
    labels = np.array([0, 0, 0, 1, 2, 2])
    counts = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 0, 3, 1, 2]])
    weights = balanced_weights(labels, counts, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights[:, labels == 0].sum(axis=1), 1 / 3, rtol=1e-6)
    assert weights[1, 1] == 0
    assert weights[1, 5] == pytest.approx(2 * weights[1, 4])
    with pytest.raises(InvalidRequestError, match="training set 1 has no tile of label 2"):
        balanced_weights(labels, np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]), 3)


def test_tiles_that_count_nothing_change_nothing():
    features, labels = tiles(100, 2)
    axes = principal_axes(features)
    counts = (np.arange(100) < 80).astype(float)[None]
    weights = balanced_weights(labels, counts, 2)
    plain = fit_regressions(axes, labels, weights, 2, 1e-3)
    other = labels.copy()
    other[80:] = 1 - other[80:]
    np.testing.assert_array_equal(plain, fit_regressions(axes, other, weights, 2, 1e-3))


def test_features_that_say_nothing_are_refused():
    with pytest.raises(InvalidRequestError, match="features of all 5 tiles are the same"):
        principal_axes(np.ones((5, 3), np.float32))
    with pytest.raises(InvalidRequestError, match="not finite"):
        principal_axes(np.array([[1, np.nan], [0, 1]], np.float32))


def test_a_fit_that_does_not_end_is_refused_and_not_returned(monkeypatch):
    features, labels = tiles(100, 2)
    axes = principal_axes(features)
    monkeypatch.setattr("medi_core.metrics.regression_batch.MAX_ITERATIONS", 1)
    with pytest.raises(InvalidRequestError, match="found no solution in 1 iterations"):
        fit_regressions(axes, labels, balanced_weights(labels, np.ones((1, 100)), 2), 2, 1e-3)
