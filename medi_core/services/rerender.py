"""The image to re-render under other metadata ("what would this tile look like from center Y?").

The work itself is a `GenerationRequest` with `base_image` and `strength`.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medi_core.data.tile_files import crop_to_multiple, read_upload
from medi_core.stain.separation import require_tissue, stain_strengths


@dataclass(frozen=True)
class BaseImage:
    """What is re-rendered, as it enters the model."""

    image: np.ndarray = field(repr=False, compare=False)
    """uint8 `(H, W, 3)`; H and W multiples of 32, at most 512."""
    hematoxylin: float
    eosin: float


def read_base_image(path: str | Path) -> BaseImage:
    """An uploaded or local file.

    Raises:
        InvalidImageError: not a usable image.
        TooLittleTissueError: nothing on it to re-render.
    """
    return prepare_base_image(read_upload(path))


def prepare_base_image(image: np.ndarray) -> BaseImage:
    """An image in memory, uint8 `(H, W, 3)`, at least 32 px a side; errors as for `read_base_image`."""
    image = crop_to_multiple(image)
    require_tissue(image)
    return BaseImage(image, *stain_strengths(image))
