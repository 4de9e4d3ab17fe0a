"""Images the tests make: nothing real."""

import numpy as np

HEMATOXYLIN_RGB, EOSIN_RGB = np.array([80, 60, 140]), np.array([225, 130, 180])


def synthetic_tissue(side_px: int, seed: int) -> np.ndarray:
    """Purple discs on pink: enough like H&E for stain measures; uint8 `(side, side, 3)`."""
    rng = np.random.default_rng(seed)
    image = np.broadcast_to(EOSIN_RGB, (side_px, side_px, 3)).astype(float).copy()
    grid_y, grid_x = np.mgrid[:side_px, :side_px]
    for x, y, radius in rng.uniform((0, 0, 4), (side_px, side_px, 9), (side_px // 6, 3)):
        image[(grid_x - x) ** 2 + (grid_y - y) ** 2 < radius**2] = HEMATOXYLIN_RGB
    return np.clip(image * rng.uniform(0.8, 1.1) + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
