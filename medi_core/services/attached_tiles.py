"""Real tiles that the user has on disk, shown where the reference set knows them. Copies no pixels.

A tile is looked up by the name of its image and its place in it, and shown only if its content hash is the one that the
reference set keeps: attaching costs nothing, and a wrong image is never taken for the right one.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.feature_cache import tile_digest
from medi_core.data.manifest import read_manifest
from medi_core.data.safe_zip import unpack_zip
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
        self._rows: dict[Place, list[pd.Series]] = {}
        self._paths: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def attach(self, manifest_path: Path) -> int:
        """Learn where the tiles of a manifest are; returns how many places are known now.

        Raises:
            ManifestError: the manifest cannot be used, e.g. because images are missing; what was attached stays.
        """
        return self._learn(read_manifest(manifest_path))

    def _learn(self, manifest: pd.DataFrame) -> int:
        rows = {place: list(found) for place, found in self._rows.items()}
        for _, row in manifest.iterrows():
            rows.setdefault(_place(Path(row["path"]).name, row), []).append(row)
        self._rows = rows
        self._paths = self._paths | {Path(path).name: path for path in manifest["path"].unique()}
        return len(rows)

    def attach_zip(self, path: Path, folder: Path) -> int:
        """The same for a zip of a manifest and its images, unpacked into a folder of the caller's.

        Raises:
            ManifestError: the zip, the manifest or an image cannot be used; what was attached stays.
            StorageError: no room on the disk.
        """
        manifest = read_manifest(unpack_zip(path, folder))
        outside = [Path(image).name for image in manifest["path"] if not Path(image).resolve().is_relative_to(folder)]
        if outside:
            raise ManifestError(f"{path.name} names images that are not in it, e.g. {outside[0]}; pack them with it")
        return self._learn(manifest)

    def num_known(self, tiles: pd.DataFrame) -> int:
        """How many rows of a reference set have a place here; whether the pixels are theirs is seen when looked at."""
        places = (_place(tile["image"], tile) for _, tile in tiles[["image", "x", "y"]].iterrows())
        return sum(place in self._rows for place in places)

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
        return self._besides.image(tile) if self._besides else None

    def window(self, image_name: str, x: float, y: float, side_px: int) -> np.ndarray | None:
        """A piece of an attached image, uint8 `(side, side, 3)`; `None` if there is no such image, or it is smaller.

        Nothing but the image's name says that it is the right one: a window has no hash.
        """
        try:
            image = read_image(self._paths[image_name])
        except (KeyError, ManifestError):
            return self._besides.window(image_name, x, y, side_px) if self._besides else None
        window = image[int(y) : int(y) + side_px, int(x) : int(x) + side_px]
        return window if window.shape[:2] == (side_px, side_px) else None


def _place(name: str, row: pd.Series) -> Place:
    x, y = (None if pd.isna(row[axis]) else float(row[axis]) for axis in ("x", "y"))
    return name, x, y
