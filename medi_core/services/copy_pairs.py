"""The copy audit of the loaded reference set: its report, and each tile beside its training window to look at."""

import json
from dataclasses import dataclass

import numpy as np

from medi_core.errors import InvalidRequestError
from medi_core.metrics.memorization import Region, nearest_windows
from medi_core.metrics.tile_windows import orient
from medi_core.services.attached_tiles import AttachedTiles
from medi_core.services.copy_audit import CopyReport, copy_report
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import request_from
from medi_core.services.reference import ReferenceService

ROUNDING = 0.01
"""Of a similarity: the file may have been saved anew."""


@dataclass(frozen=True)
class CopyPair:
    """A synthetic tile beside the training window that it is most like."""

    tile: GeneratedTile
    turned: np.ndarray
    """uint8 `(S, S, 3)`: the tile in the orientation in which it is like the window."""
    window: np.ndarray | None
    """uint8 `(S, S, 3)`; `None` where the training image is not attached, or another one under its name."""


class CopyAuditService:
    """The audit of the loaded reference set, and its pairs to look at."""

    def __init__(self, generation: GenerationService, reference: ReferenceService, attached: AttachedTiles) -> None:
        self._generation, self._reference, self._attached = generation, reference, attached

    def report(self, percentile: float = 1.0) -> CopyReport:
        """`copy_report` of the bank."""
        return copy_report(self._reference.load().tiles, percentile)

    def pair(self, tile_id: str, attached: AttachedTiles | None = None) -> CopyPair:
        """A tile of the bank, made again from its seed, and its training window.

        Args:
            tile_id: content hash of the tile.
            attached: real tiles of the visitor; by default those of the app.

        Raises:
            InvalidRequestError: the bank has no such tile, or it has no texture to compare.
        """
        tiles = self._reference.load().synthetic.tiles
        found = tiles[(tiles["id"] == tile_id) & tiles["window_similarity"].notna()]
        if found.empty:
            raise InvalidRequestError(f"the reference set has no audited synthetic tile {tile_id!r}: choose a row")
        row = found.iloc[0]
        (tile,) = self._generation.generate(request_from(json.loads(row["requested"])))
        place = (row["window_image"], row["window_x"], row["window_y"])
        window = (attached or self._attached).window(*place, len(tile.image))
        if window is not None and not _is_like(tile.image, window, row["window_similarity"]):
            window = None  # another image of that name
        return CopyPair(tile, orient(tile.image, int(row["window_turn"])), window)


def _is_like(tile: np.ndarray, window: np.ndarray, similarity: float) -> bool:
    """Whether the two are as similar as the audit found them."""
    found = nearest_windows(tile[None], [Region("window", window)]).similarity[0]
    return bool(found >= similarity - ROUNDING)
