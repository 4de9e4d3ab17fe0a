"""What can be asked of the generator: a request, checked when made; and the request that makes a tile again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from numbers import Integral
from typing import Any

import numpy as np

from medi_core.errors import InvalidRequestError
from medi_core.metadata.schema import MetadataRecord
from medi_core.pipelines.row_batcher import TRAINED_SIDE_PX
from medi_core.services.request_checks import (
    ALL_LEVELS,
    check_attribute_guidance,
    check_interval,
    check_number,
    check_side,
    check_text,
    check_window,
)

MAX_TILES = 10_000
MAX_SEED = 2**53 - 1  # exact in JSON and in a browser
MAX_STEPS = 200
MAX_GUIDANCE = 10.0
WINDOW_PX = TRAINED_SIDE_PX
"""The window to offer: what the network was trained on."""


@dataclass(frozen=True)
class GenerationRequest:
    """Tiles wanted: one a seed, all under one condition. Checked when made."""

    record: MetadataRecord
    seeds: tuple[int, ...]
    num_inference_steps: int | None = None
    """`None` = what the checkpoint is made for: 12, or the 1 to 4 of a few-step one."""
    guidance_scale: float | None = None
    """Guidance towards all attributes together; 1 = none. `None` = 2, or 1 where it is in the weights."""
    attribute_guidance: tuple[tuple[str, float], ...] = ()
    """Guidance towards single attributes on top: (attribute, scale)."""
    side_px: tuple[int, int] = (TRAINED_SIDE_PX, TRAINED_SIDE_PX)
    """Height, width: multiples of 32, at most 512."""
    base_image: np.ndarray | None = field(default=None, compare=False)
    """Re-render this, uint8 `(H, W, 3)`, instead of starting from noise."""
    strength: float = 1.0
    """How far the base image is taken to noise, above 0 to 1."""
    other_record: MetadataRecord | None = None
    """Interpolate towards this condition …"""
    other_weight: float = 0.0
    """… by this share, 0 to 1."""
    window_px: int | None = None
    """Denoise in overlapping windows of this side, a multiple of 32 within the tile; `None` = all at once."""
    guidance_interval: tuple[float, float] = ALL_LEVELS
    """Guide only between these noise levels: low, high; 0 = the finished tile, 1 = noise."""

    def __post_init__(self) -> None:
        for record in filter(None, (self.record, self.other_record)):
            check_text(record.to_dict())
        check_number("number of tiles", len(self.seeds), 1, MAX_TILES)
        for seed in self.seeds:
            check_number("seed", seed, 0, MAX_SEED, Integral)
        if self.num_inference_steps is not None:
            check_number("steps", self.num_inference_steps, 1, MAX_STEPS, Integral)
        if self.guidance_scale is not None:
            check_number("guidance", self.guidance_scale, 0, MAX_GUIDANCE)
        check_attribute_guidance(self.attribute_guidance, MAX_GUIDANCE)
        check_number("strength", self.strength, 0.01, 1)
        check_number("interpolation", self.other_weight, 0, 1)
        if self.base_image is None and self.strength < 1:
            raise InvalidRequestError(f"strength = {self.strength}: it needs an image to re-render")
        if self.other_record is None and self.other_weight > 0:
            raise InvalidRequestError(f"interpolation = {self.other_weight}: it needs a second condition")
        for side in self.side_px:
            check_side("side in px", side)
        if self.window_px is not None:
            check_window(self.window_px, self.size_px)
        check_interval(self.guidance_interval)

    @property
    def size_px(self) -> tuple[int, int]:
        """Height, width of the tiles: a base image has its own."""
        return self.side_px if self.base_image is None else self.base_image.shape[:2]


def request_from(provenance: Mapping[str, Any], base_image: np.ndarray | None = None) -> GenerationRequest:
    """The request that makes a tile again with the checkpoint its provenance names.

    Args:
        provenance: what `GeneratedTile.provenance` gave and its PNG carries.
        base_image: what a re-rendered tile was made from; provenance keeps only its digest.

    Raises:
        InvalidRequestError: not the provenance of a tile, or not its base image.
    """
    try:
        digest, other = provenance.get("rerendered_from"), provenance.get("interpolated_towards")
        request = GenerationRequest(
            MetadataRecord(**provenance["metadata"]),
            (provenance["seed"],),
            provenance["num_inference_steps"],
            provenance["guidance_scale"],
            tuple(provenance.get("attribute_guidance", {}).items()),
            (provenance["height_px"], provenance["width_px"]),
            None if digest is None else base_image,
            provenance.get("strength", 1.0) if base_image is not None else 1.0,
            None if other is None else MetadataRecord(**other),
            provenance.get("interpolation", 0.0),
            provenance.get("window_px"),
            tuple(provenance.get("guidance_interval", ALL_LEVELS)),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise InvalidRequestError(f"this is not the provenance of a synthetic tile: {error!r}") from error
    if digest is not None and (base_image is None or digest_of(base_image) != digest):
        raise InvalidRequestError(f"the tile was re-rendered from an image of digest {digest}; give that image")
    return request


def digest_of(image: np.ndarray) -> str:
    return sha256(np.ascontiguousarray(image)).hexdigest()[:12]
