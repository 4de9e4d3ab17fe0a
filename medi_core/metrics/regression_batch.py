"""Many multinomial logistic regressions on the same tiles, fitted together. Knows no arms, centers or images.

Regressions that differ only in the weights of their tiles share every product of features: one pass over the
tiles serves all. Features are divided by ONE number, as in `probes`, and then turned onto their principal axes,
each with a scale of its own, the penalty with them: that changes no solution, only how soon it is reached.
"""

from dataclasses import dataclass

import numpy as np

from medi_core.errors import InvalidRequestError
from medi_core.metrics.probes import INVERSE_PENALTY

MAX_ITERATIONS = 200
TOLERANCE = 1e-6
"""The fit ends when an iteration lowers the loss by less than this share. On three cancer types of the reference set
1e-8 moved the label of no more than 2 tiles in 1,000."""
MEAN_CURVATURE = 0.1
"""Assumed of the loss, for the scale of the axes: about p (1 − p) of a half-certain fit."""


@dataclass(frozen=True)
class Axes:
    """Tiles in the coordinates in which regressions are fitted."""

    points: np.ndarray
    """float32 `(N, D + 1)`; the last column is 1, for the intercept."""
    penalties: np.ndarray
    """float64 `(D + 1,)`: what a penalty of 1 on the original weights is on each coordinate; 0 on the intercept."""


def principal_axes(features: np.ndarray) -> Axes:
    """Features `(N, D)`, finite → coordinates that all regressions of an experiment share. No label is used.

    Raises:
        InvalidRequestError: features that are not finite, or all the same.
    """
    if not np.isfinite(features).all():
        raise InvalidRequestError("some features are not finite: encode these tiles anew or leave them out")
    centred = features - features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = float(np.sqrt(np.square(centred).sum(axis=1).mean()))
    if scale == 0:
        raise InvalidRequestError(f"the features of all {len(features)} tiles are the same: nothing can be learnt")
    centred /= scale
    variances, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(centred))
    floor = 1 / (INVERSE_PENALTY * len(features))  # about the penalty of the fits
    stretch = 1 / np.sqrt(MEAN_CURVATURE * np.maximum(variances, 0) + floor)
    points = np.empty((len(features), len(axes) + 1), np.float32)
    points[:, :-1] = centred @ (axes * stretch).astype(np.float32)
    points[:, -1] = 1
    return Axes(points, np.append(stretch**2, 0))


def balanced_weights(labels: np.ndarray, counts: np.ndarray, num_labels: int) -> np.ndarray:
    """How much each tile counts, so that every label counts the same: sklearn's `balanced`, summing to 1.

    Args:
        labels: int `(N,)`, 0 to `num_labels` − 1.
        counts: `(F, N)`, how often each tile is in each training set.
        num_labels: K.

    Returns:
        float32 `(F, N)`.

    Raises:
        InvalidRequestError: a training set without any tile of a label.
    """
    of_label = np.eye(num_labels)[labels]  # (N, K)
    totals = counts @ of_label  # (F, K)
    if (totals == 0).any():
        fit, label = np.argwhere(totals == 0)[0]
        raise InvalidRequestError(f"training set {fit} has no tile of label {label}: every label needs at least 1")
    return (counts * (1 / (num_labels * totals) @ of_label.T)).astype(np.float32)


def fit_regressions(axes: Axes, labels: np.ndarray, weights: np.ndarray, num_labels: int, penalty: float) -> np.ndarray:
    """Minimise Σ weights · cross-entropy + penalty / 2 · |W|² for each row of weights, intercepts unpenalised.

    Weights sum to 1, so a penalty of 1 / (C · n) is sklearn's C on n tiles; for two labels it is doubled, because
    sklearn then penalises their difference only. Nothing is drawn at random.

    Args:
        axes: of N tiles.
        labels: int `(N,)`, 0 to K − 1.
        weights: float32 `(F, N)`, as of `balanced_weights`.
        num_labels: K.
        penalty: above 0, the same for all F.

    Returns:
        float32 `(F, K, D + 1)`: `axes.points @ result[f].T` are the logits `(N, K)`.

    Raises:
        InvalidRequestError: no solution after `MAX_ITERATIONS`.
    """
    from scipy.optimize import minimize

    used = weights.any(axis=0)
    points, labels, weights = axes.points[used], labels[used], np.ascontiguousarray(weights[:, used])
    is_own = (labels == np.arange(num_labels)[:, None, None]).astype(np.float32)  # (K, 1, n)
    shape = (num_labels, len(weights), points.shape[1])
    penalties = penalty * (2 if num_labels == 2 else 1) * axes.penalties

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = flat.reshape(shape)
        logits = (flat.reshape(-1, shape[2]).astype(np.float32) @ points.T).reshape(*shape[:2], -1)  # (K, F, n)
        logits -= logits.max(axis=0)
        of_own = np.einsum("kfn,kn->fn", logits, is_own[:, 0])
        np.exp(logits, out=logits)
        total = logits.sum(axis=0)
        loss = float((weights * (np.log(total) - of_own)).sum(dtype=np.float64))
        logits /= total
        logits -= is_own
        logits *= weights
        gradient = (logits.reshape(-1, len(points)) @ points).reshape(shape) + penalties * parameters
        return loss + 0.5 * float((penalties * parameters**2).sum()), gradient.ravel()

    options = {"maxiter": MAX_ITERATIONS, "ftol": TOLERANCE, "gtol": 1e-7}
    found = minimize(loss_and_gradient, np.zeros(np.prod(shape)), jac=True, method="L-BFGS-B", options=options)
    _require_solved(found)
    return found.x.reshape(shape).astype(np.float32).swapaxes(0, 1)


def _require_solved(found) -> None:
    """Of scipy's result: a fit that did not end is no probe to compare others with."""
    if not found.success:
        raise InvalidRequestError(
            f"the regressions found no solution in {found.nit} iterations ({found.message}): their probes would not be "
            "comparable; take more training tiles or fewer arms"
        )
