"""Fréchet distance between two sets of features. Knows nothing of images or models.

It compares means and covariances only, as if the features were Gaussian. And it is biased: a covariance
fitted to N tiles is too wide in some directions and too narrow in others, so two samples of one
distribution lie apart, the further the fewer they are. With N near D or below, the bias is most of the
number; then the kernel distance, which has none, is the one to read. A Fréchet distance is only
comparable with others of the same numbers of tiles and the same encoder.

The name: FID is this distance on the features of one Inception network. On any other encoder it is to be
shown as FD-<encoder>, never as FID.
"""

import numpy as np

from medi_core.metrics.checks import require_features

MIN_TILES = 2


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Fréchet distance |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½) of the Gaussians fitted to both sets.

    Finite also for fewer tiles than channels, where Σ has no full rank; see above for what it is worth then.

    Args:
        first: features, `(N, D)`; computed with in float64.
        second: features, `(M, D)`.

    Returns:
        The distance, at least 0; in squared units of the features. Covariances are unbiased (N − 1).

    Raises:
        TooFewTilesError: fewer than 2 tiles on a side.
        InvalidRequestError: features of different encoders, or not finite.

    Source: Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule" (arXiv 1706.08500), eq. 6;
    Dowson & Landau 1982, "The Fréchet distance between multivariate normal distributions".
    """
    require_features(first, second, MIN_TILES, "a Fréchet distance")
    (mean_first, root_first), (mean_second, root_second) = _fit(first), _fit(second)
    between_means = np.sum((mean_first - mean_second) ** 2)
    spreads = np.sum(root_first**2) + np.sum(root_second**2)
    distance = between_means + spreads - 2 * _trace_of_root(root_first, root_second)
    return max(float(distance), 0.0)  # of two equal sets it is a difference of equal sums, rounded either way


def _fit(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(D,)` and a root R of the covariance, Σ = RᵀR, `(min(N, D), D)`, float64.

    QR gives R without forming Σ, whose small eigenvalues the squares would drown in rounding.
    """
    features = features.astype(np.float64)
    mean = features.mean(axis=0)
    return mean, np.linalg.qr(features - mean, mode="r") / np.sqrt(len(features) - 1)


def _trace_of_root(root_first: np.ndarray, root_second: np.ndarray) -> float:
    """tr((Σ₁ Σ₂)^½) as the sum of the singular values of R₁R₂ᵀ.

    Σ₁Σ₂ = R₁ᵀ(R₁R₂ᵀ)R₂ has, but for zeros, the eigenvalues of (R₁R₂ᵀ)(R₁R₂ᵀ)ᵀ: the squares of those singular
    values. None can be negative or complex, as those of a matrix root computed directly can.
    """
    return float(np.linalg.svd(root_first @ root_second.T, compute_uv=False).sum())
