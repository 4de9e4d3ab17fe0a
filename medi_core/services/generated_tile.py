"""A synthetic tile with all that made it, and its provenance as plain JSON. Knows no model."""

import json
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from medi_core.metadata.schema import MetadataRecord
from medi_core.services.request_checks import ALL_LEVELS


@dataclass(frozen=True)
class GeneratedTile:
    """A synthetic tile and all that is needed to make it again."""

    image: np.ndarray = field(repr=False, compare=False)
    """uint8 `(H, W, 3)`, RGB."""
    record: MetadataRecord
    seed: int
    checkpoint_id: str
    num_inference_steps: int
    guidance_scale: float
    attribute_guidance: tuple[tuple[str, float], ...]
    strength: float
    """Below 1 or with `base_digest`: a re-rendered image."""
    base_digest: str | None
    """First 12 hex digits of the SHA-256 of the base image's pixels."""
    other_record: MetadataRecord | None
    other_weight: float
    window_px: int | None
    guidance_interval: tuple[float, float]
    hematoxylin: float
    """Measured strength; NaN without tissue."""
    eosin: float

    @property
    def id(self) -> str:
        """The same for the same checkpoint, condition, seed and sampling."""
        return sha256(json.dumps(self.provenance(), sort_keys=True).encode()).hexdigest()[:16]

    def provenance(self) -> dict[str, object]:
        """Plain JSON: what the PNG text and the manifest carry."""
        facts: dict[str, object] = {
            "origin": "synthetic",
            "checkpoint": self.checkpoint_id,
            "seed": int(self.seed),
            "metadata": self.record.to_dict(),
            "num_inference_steps": int(self.num_inference_steps),
            "guidance_scale": float(self.guidance_scale),  # 2 and 2.0 are one request, and one id
            "height_px": self.image.shape[0],
            "width_px": self.image.shape[1],
        }
        if self.attribute_guidance:
            facts["attribute_guidance"] = {name: float(scale) for name, scale in self.attribute_guidance}
        if self.base_digest:
            facts |= {"rerendered_from": self.base_digest, "strength": float(self.strength)}
        if self.other_record is not None:
            facts |= {"interpolated_towards": self.other_record.to_dict(), "interpolation": float(self.other_weight)}
        if self.window_px is not None:
            facts["window_px"] = int(self.window_px)
        if self.guidance_interval != ALL_LEVELS:
            facts["guidance_interval"] = [float(level) for level in self.guidance_interval]
        return facts
