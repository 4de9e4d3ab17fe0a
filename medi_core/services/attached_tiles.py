"""Real tiles that the user has on disk, shown where the reference set knows them. Copies no pixels.

A tile is looked up by the name of its image and its place in it, and shown only if its content hash is the one that the
reference set keeps: attaching costs nothing, and a wrong image is never taken for the right one.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.feature_cache import tile_digest
from medi_core.data.manifest import read_manifest
from medi_core.data.tile_dataset import read_grid_tile, read_image
from medi_core.errors import ManifestError

Place = tuple[str, float | None, float | None]
"""Name of the image, x, y; `None` for an image that is a tile itself."""


class AttachedTiles:
    """Places of tiles → rows of manifests."""

    def __init__(self) -> None:
        self._rows: dict[Place, list[pd.Series]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def attach(self, manifest_path: Path) -> int:
        """Learn where the tiles of a manifest are; returns how many places are known now.

        Raises:
            ManifestError: the manifest cannot be used, e.g. because images are missing; what was attached stays.
        """
        rows = {place: list(found) for place, found in self._rows.items()}
        for _, row in read_manifest(manifest_path).iterrows():
            rows.setdefault(_place(Path(row["path"]).name, row), []).append(row)
        self._rows = rows
        return len(rows)

    def rows(self) -> pd.DataFrame:
        """What was attached, as rows of a manifest."""
        return pd.DataFrame([row for found in self._rows.values() for row in found]).reset_index(drop=True)

    def image(self, tile: pd.Series) -> np.ndarray | None:
        """Pixels of a real tile, uint8 `(H, W, 3)`; `None` if they are not attached, or others than they were.

        Args:
            tile: row of a reference set.
        """
        for row in self._rows.get(_place(tile["image"], tile), ()):
            try:
                pixels = read_grid_tile(row, read_image(row["path"]))
            except ManifestError:  # moved or damaged since: as good as not attached
                continue
            if tile_digest(pixels) == tile["id"]:
                return pixels
        return None


def _place(name: str, row: pd.Series) -> Place:
    x, y = (None if pd.isna(row[axis]) else float(row[axis]) for axis in ("x", "y"))
    return name, x, y
