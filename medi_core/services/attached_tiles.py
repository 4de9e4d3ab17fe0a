"""Real tiles that the user has on disk, shown where the reference set knows them. Copies no pixels.

A tile is looked up by the name of its image and its place in it, and shown only if its content hash is the one that the
reference set keeps: attaching costs nothing, and a wrong image is never taken for the right one.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
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
    """Places of tiles → rows of manifests.

    Args:
        besides: tiles that are attached as well, e.g. those of the app beside a visitor's own.
    """

    def __init__(self, besides: "AttachedTiles | None" = None) -> None:
        self._besides = besides
        self._manifest = pd.DataFrame()
        self._rows: dict[Place, list[int]] = {}
        self._paths: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def attach(self, manifest_path: Path) -> int:
        """Learn where the tiles of a manifest are; returns how many places are known now.

        Raises:
            ManifestError: the manifest cannot be used, e.g. because images are missing; what was attached stays.
        """
        return self.learn(read_manifest(manifest_path))

    def num_known(self, tiles: pd.DataFrame) -> int:
        """How many rows of a reference set have a place here; whether the pixels are theirs is seen when looked at."""
        return sum(place in self._rows for place in _places(tiles["image"], tiles))

    def rows(self) -> pd.DataFrame:
        """What was attached, as rows of a manifest."""
        return self._manifest

    def learn(self, manifest: pd.DataFrame) -> int:
        """The same with the rows of a manifest."""
        rows = {place: list(found) for place, found in self._rows.items()}
        names = manifest["path"].map(os.path.basename)
        for i, place in enumerate(_places(names, manifest), start=len(self._manifest)):
            rows.setdefault(place, []).append(i)
        self._manifest = pd.concat([self._manifest, manifest], ignore_index=True)
        self._rows = rows
        self._paths = self._paths | dict(zip(names, manifest["path"], strict=True))
        return len(rows)

    def image(self, tile: pd.Series) -> np.ndarray | None:
        """Pixels of a real tile, uint8 `(H, W, 3)`; `None` if they are not attached, or others than they were.

        Args:
            tile: row of a reference set.
        """
        place = _place(tile["image"], tile["x"], tile["y"])
        for row in (self._manifest.iloc[i] for i in self._rows.get(place, ())):
            try:
                pixels = read_grid_tile(row, read_image(row["path"]))
            except ManifestError:  # moved or damaged since: as good as not attached
                continue
            if tile_digest(pixels) == tile["id"]:
                return pixels
        return self._besides.image(tile) if self._besides else None

    def window(self, image_name: str, x: float, y: float, side_px: int) -> np.ndarray | None:
        """A piece of an attached image, uint8 `(side, side, 3)`; `None` if there is no such image, or it is smaller.

        Nothing but the image's name says that it is the right one: a window has no hash.
        """
        path = self._paths.get(image_name)
        with suppress(ManifestError):  # moved or damaged since: as good as not attached
            if path is not None:
                window = read_image(path)[int(y) : int(y) + side_px, int(x) : int(x) + side_px]
                if window.shape[:2] == (side_px, side_px):
                    return window
        return self._besides.window(image_name, x, y, side_px) if self._besides else None


def _places(names: Iterable[str], rows: pd.DataFrame) -> Iterator[Place]:
    return map(_place, names, rows["x"], rows["y"])


def _place(name: str, x: float | None, y: float | None) -> Place:
    return name, None if pd.isna(x) else float(x), None if pd.isna(y) else float(y)
