"""The stain colours of one image, estimated from its own pixels. numpy in, numpy out.

Source: Macenko et al. (2009), "A method for normalizing histology slides for quantitative analysis",
§2.1 (equations) and its list of steps. Two departures: optical density uses the *natural* logarithm,
as everywhere in this package, and β is compared with the mean optical density of a pixel, as in
`tissue_mask`: eosin hardly absorbs red, so a threshold on each channel would drop the purest eosin.
"""

import numpy as np

from medi_core.errors import TooLittleTissueError
from medi_core.stain.separation import optical_density, require_tissue, tissue_mask

ALPHA = 1.0
"""Robust extremes: the α-th and (100 − α)-th percentile of the angle."""
MIN_ANGLE_DEG = 10.0
"""Closer vectors are the noise of a single stain; hematoxylin and eosin lie 15° to 40° apart (regions of
13 sources; one stain with camera noise of σ = 4 grey levels spreads over 7° to 11°)."""


def estimate_stain_matrix(image: np.ndarray) -> np.ndarray:
    """The optical density vectors of hematoxylin and eosin in this image.

    Args:
        image: uint8 `(H, W, 3)`, RGB.

    Returns:
        float64 `(2, 3)`: rows hematoxylin, eosin; columns red, green, blue; each row of unit norm.

    Raises:
        TooLittleTissueError: too few pixels above β = 0.15, or only one stain among them.
    """
    require_tissue(image)
    density = optical_density(image)[tissue_mask(image)].astype(np.float64)  # steps 1–2, eq. 1 → (N, 3)
    plane = _principal_plane(density)  # steps 3–4
    on_plane = density @ plane.T  # step 5: (N, 3) → (N, 2); the angle does not need unit length
    angles = np.arctan2(on_plane[:, 1], on_plane[:, 0])  # step 6
    extremes = np.percentile(angles, [ALPHA, 100 - ALPHA])  # step 7
    between_deg = float(np.degrees(extremes[1] - extremes[0]))
    if between_deg < MIN_ANGLE_DEG:
        raise TooLittleTissueError(
            f"only one stain is visible: the two stain colours lie {between_deg:.1f}° apart, at least "
            f"{MIN_ANGLE_DEG:g}° are needed; choose a part of the slide with nuclei and stroma"
        )
    vectors = np.stack([np.cos(extremes), np.sin(extremes)], axis=1) @ plane  # step 8: back to (2, 3)
    hematoxylin_first = np.argsort(-vectors[:, 0])  # hematoxylin is blue: it absorbs more red than eosin
    return vectors[hematoxylin_first]


def separate_with(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Concentrations of the two stains by a given stain matrix; eq. 2, in the least-squares sense.

    Args:
        image: uint8 `(H, W, 3)`, RGB.
        matrix: `(2, 3)`, e.g. of `estimate_stain_matrix`: rows hematoxylin, eosin.

    Returns:
        float32 `(H, W, 2)`: hematoxylin, eosin; ≥ 0, in natural-log optical density along each row.
    """
    assert matrix.shape == (2, 3), matrix.shape
    concentrations = optical_density(image) @ np.linalg.pinv(matrix)  # (H, W, 3) @ (3, 2) → (H, W, 2)
    return np.maximum(concentrations, 0).astype(np.float32)


def _principal_plane(density: np.ndarray) -> np.ndarray:
    """Orthonormal rows `(2, 3)` that span the plane of the two largest singular values of `(N, 3)`.

    Not centred: the plane of two mixed stains goes through the origin, which is unstained glass.
    """
    _, vectors = np.linalg.eigh(density.T @ density)  # right singular vectors of the densities, ascending
    plane = vectors[:, [2, 1]].T
    # the first direction points into the densities, so that no angle wraps around ±180°
    return plane * np.where(plane @ density.mean(axis=0) < 0, -1.0, 1.0)[:, None]
