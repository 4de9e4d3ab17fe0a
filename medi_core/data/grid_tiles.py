"""The fixed grid tiles of a manifest, one image at a time: thousands of regions would not fit into memory."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from medi_core.data.tile_dataset import read_grid_tile, read_image


def iterate_grid_tiles(
    manifest: pd.DataFrame, on_progress: Callable[[int, int], None] = lambda *_: None
) -> Iterator[tuple[pd.DataFrame, list[np.ndarray]]]:
    """Rows of one image, and their tiles.

    Args:
        manifest: as `read_manifest` returns it.
        on_progress: called with (tiles read, tiles in all) before each image, and at the end.

    Yields:
        The rows, in the manifest's order and with its index; uint8 `(128, 128, 3)` each.

    Raises:
        ManifestError: an image that is missing, unreadable or smaller than a tile.
    """
    done = 0
    for path, rows in manifest.groupby("path", sort=False):
        on_progress(done, len(manifest))
        region = read_image(path)
        yield rows, [read_grid_tile(row, region) for _, row in rows.iterrows()]
        done += len(rows)
    on_progress(done, len(manifest))
