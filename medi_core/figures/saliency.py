"""Saliency over a tile as one image. arrays in, array out."""

import numpy as np
from plotly.colors import sample_colorscale, unlabel_rgb

SCALE = "Viridis"
"""Ordered in lightness, so that it is read without colour vision; its greens and yellows are not colours of H&E."""
OPACITY = 0.65
NUM_COLOURS = 64


def saliency_overlay(tile: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """The tile under the map: clear where there is no evidence, yellow where there is most.

    Args:
        tile: uint8 `(H, W, 3)`.
        saliency: float `(H, W)` in [0, 1].

    Returns:
        uint8 `(H, W, 3)`.
    """
    colours = _colours()[np.rint(saliency * (NUM_COLOURS - 1)).astype(np.int64)]
    opacity = OPACITY * np.sqrt(saliency)[..., None]  # the root, so that weak evidence is seen
    return np.rint((1 - opacity) * tile + opacity * colours).astype(np.uint8)


def scale_css() -> str:
    """The colours from no evidence to most, as a CSS gradient: the legend of the overlay."""
    stops = sample_colorscale(SCALE, [0, 0.25, 0.5, 0.75, 1])
    return f"linear-gradient(to right, {', '.join(stops)})"


def _colours() -> np.ndarray:
    """float64 `(NUM_COLOURS, 3)`, 0 to 255."""
    return np.array([unlabel_rgb(colour) for colour in sample_colorscale(SCALE, NUM_COLOURS)])
