"""The same tissue, stained a little differently: each stain's strength scaled. numpy in, numpy out.

Source: Tellez et al. (2018), "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train
distilled stain-invariant convolutional networks", §II-E (augmentation in stain space).
"""

import numpy as np
from skimage.color import rgb_from_hed

from medi_core.stain.separation import optical_density, separate


def scale_stains(image: np.ndarray, hematoxylin: float, eosin: float) -> np.ndarray:
    """Multiply the concentration of each stain; what neither stain explains stays.

    Args:
        image: uint8 `(H, W, 3)`, RGB.
        hematoxylin, eosin: factors ≥ 0; 1 changes nothing.

    Returns:
        uint8 `(H, W, 3)`.
    """
    colours = rgb_from_hed[:2].astype(np.float32)  # optical density of one unit of each stain, (2, 3)
    added = separate(image) * np.array([hematoxylin - 1, eosin - 1], dtype=np.float32)
    density = optical_density(image) + added @ colours
    return np.clip(np.rint(255 * np.exp(-density)), 0, 255).astype(np.uint8)


def jitter_stains(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Scale each stain by a factor drawn uniformly from [1 − strength, 1 + strength].

    Args:
        image: uint8 `(H, W, 3)`, RGB.
        strength: 0 to 1.
    """
    return scale_stains(image, *rng.uniform(1 - strength, 1 + strength, 2))
