"""Optical density, stain separation and stain strength of H&E images. numpy in, numpy out.

Optical density uses the *natural* logarithm throughout: OD = −ln(I / 255).
"""

import numpy as np
from skimage.color import hed_from_rgb, separate_stains

from medi_core.errors import TooLittleTissueError

TISSUE_OD = 0.15
"""A pixel is tissue above this mean optical density (Macenko et al. 2009, §2.1: β = 0.15)."""
MIN_TISSUE_FRACTION = 0.05
"""Below this share of tissue pixels a stain strength means nothing."""
STRENGTH_PERCENTILE = 95
"""A robust maximum, as Macenko's 99th, but steadier on the 16,384 pixels of one tile."""

# scikit-image divides its logarithm by ln(1e-6); this brings the concentrations back to natural log.
_SKIMAGE_TO_NATURAL_LOG = -np.log(1e-6)


def optical_density(image: np.ndarray) -> np.ndarray:
    """Beer–Lambert optical density.

    Args:
        image: uint8 `(H, W, 3)`, RGB.

    Returns:
        float32 `(H, W, 3)`, ≥ 0, natural logarithm; intensity 0 counts as 1.
    """
    return -np.log(np.maximum(image, 1).astype(np.float32) / 255.0)


def tissue_mask(image: np.ndarray) -> np.ndarray:
    """bool `(H, W)`: pixels whose mean optical density exceeds `TISSUE_OD`."""
    return optical_density(image).mean(axis=-1) > TISSUE_OD


def separate(image: np.ndarray) -> np.ndarray:
    """Hematoxylin and eosin concentrations by the fixed matrix of Ruifrok and Johnston (2001).

    Args:
        image: uint8 `(H, W, 3)`, RGB.

    Returns:
        float32 `(H, W, 2)`: hematoxylin, eosin; ≥ 0, in natural-log optical density.
    """
    stains = separate_stains(np.maximum(image, 1).astype(np.float32) / 255.0, hed_from_rgb.astype(np.float32))
    return (stains[..., :2] * _SKIMAGE_TO_NATURAL_LOG).astype(np.float32)


def stain_strengths(image: np.ndarray) -> tuple[float, float]:
    """Hematoxylin and eosin strength: the 95th percentile of each concentration over the tissue.

    Args:
        image: uint8 `(H, W, 3)`, RGB.

    Returns:
        (hematoxylin, eosin), natural-log optical density; both NaN where tissue covers less than
        `MIN_TISSUE_FRACTION` of the image.
    """
    mask = tissue_mask(image)
    if mask.mean() < MIN_TISSUE_FRACTION:
        return float("nan"), float("nan")
    hematoxylin, eosin = np.percentile(separate(image)[mask], STRENGTH_PERCENTILE, axis=0)
    return float(hematoxylin), float(eosin)


def require_tissue(image: np.ndarray) -> None:
    """Refuse an image on which a stain cannot be measured.

    Raises:
        TooLittleTissueError: tissue covers less than `MIN_TISSUE_FRACTION`.
    """
    fraction = float(tissue_mask(image).mean())
    if fraction < MIN_TISSUE_FRACTION:
        raise TooLittleTissueError(
            f"tissue covers {fraction:.1%} of the image; at least {MIN_TISSUE_FRACTION:.0%} is needed: "
            "choose a part of the slide with tissue, stained with H&E"
        )
