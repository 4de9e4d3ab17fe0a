"""The same tissue in other stains. numpy in, numpy out.

Source: Macenko et al. (2009), "A method for normalizing histology slides for quantitative analysis", §2.2: the
concentrations of one image, scaled to the strengths of another one, are put back together with its stain colours.
"""

from dataclasses import dataclass

import numpy as np

from medi_core.stain.macenko import estimate_stain_matrix, separate_with
from medi_core.stain.separation import STRENGTH_PERCENTILE, optical_density, tissue_mask


@dataclass(frozen=True)
class StainProfile:
    """How one image is stained."""

    matrix: np.ndarray
    """float64 `(2, 3)`: optical density vectors of hematoxylin and eosin, of unit norm."""
    strengths: np.ndarray
    """float64 `(2,)`: 95th percentile of each concentration over the tissue, above 0."""


def measure_profile(image: np.ndarray) -> StainProfile:
    """Stain colours and strengths of an image, uint8 `(H, W, 3)`, RGB.

    Raises:
        TooLittleTissueError: too little tissue, or only one stain among it.
    """
    matrix = estimate_stain_matrix(image)
    concentrations = separate_with(image, matrix)[tissue_mask(image)]  # (N, 2)
    return StainProfile(matrix, np.maximum(np.percentile(concentrations, STRENGTH_PERCENTILE, axis=0), 1e-3))


def restain(image: np.ndarray, own: StainProfile, other: StainProfile) -> np.ndarray:
    """An image, uint8 `(H, W, 3)`, RGB, as if stained like another one; what is neither stain stays as it is.

    Args:
        image: any.
        own: of this image.
        other: of the image to be like.

    Returns:
        uint8 `(H, W, 3)`.
    """
    concentrations = separate_with(image, own.matrix)  # (H, W, 2)
    neither = optical_density(image) - concentrations @ own.matrix  # (H, W, 2) @ (2, 3) → (H, W, 3)
    density = neither + concentrations * (other.strengths / own.strengths) @ other.matrix
    return np.clip(255 * np.exp(-density), 0, 255).round().astype(np.uint8)
