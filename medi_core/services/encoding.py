"""Tiles → features, each tile once: the resident encoder behind a lock and a cache. Knows no widgets."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.feature_cache import FeatureCache, tile_digest
from medi_core.data.grid_tiles import iterate_grid_tiles
from medi_core.errors import InvalidRequestError, StorageError
from medi_core.models.encoder_catalogue import DEFAULT_ENCODER, ENCODERS
from medi_core.models.tile_encoder import ENCODE_BATCH, TileEncoder

SAVE_EVERY_TILES = 2048
ROWS_AT_ONCE = 512
"""Tiles of a manifest that wait to be encoded: 25 MB."""


class EncodingService:
    """One encoder on one device, loaded when it is first needed.

    Args:
        device: where it runs.
        cache_dir: holds a folder an encoder; `None` keeps features in memory only.
        name: a key of `ENCODERS`.

    Raises:
        InvalidRequestError: no such encoder.
    """

    def __init__(self, device: str = "cpu", cache_dir: Path | None = None, name: str = DEFAULT_ENCODER) -> None:
        if name not in ENCODERS:  # now, not at the first tile
            raise InvalidRequestError(f"encoder {name!r} is unknown; known: {', '.join(ENCODERS)}")
        self.name, self._device, self._cache_dir = name, device, cache_dir
        self._lock = threading.RLock()
        self._encoder: TileEncoder | None = None
        self._cache: FeatureCache | None = None

    @property
    def dim(self) -> int:
        """D of the features."""
        return self._loaded()[0].dim

    def features_of(
        self, tiles: Sequence[np.ndarray], on_progress: Callable[[int, int], None] = lambda *_: None
    ) -> np.ndarray:
        """Features of tiles of any origin.

        Args:
            tiles: uint8 `(H, W, 3)`, RGB; sizes may differ.
            on_progress: called with (tiles done, tiles in all); an error it raises ends the work, and what was
                encoded until then is kept.

        Returns:
            float32 `(N, D)`, in the order of the tiles.

        Raises:
            CheckpointError: the encoder cannot be loaded.
        """
        digests = [tile_digest(tile) for tile in tiles]
        with self._lock:
            encoder, cache = self._loaded()
            missing = {digest: i for i, digest in enumerate(digests) if cache.get(digest) is None}
            done, since_save = len(tiles) - len(missing), 0
            try:
                for batch in _batches_of_one_shape([(tiles[i], digest) for digest, i in missing.items()]):
                    on_progress(done, len(tiles))
                    features = encoder.encode(np.stack([tile for tile, _ in batch]))
                    for (_, digest), row in zip(batch, features, strict=True):
                        cache.add(digest, row)
                    done, since_save = done + len(batch), since_save + len(batch)
                    if since_save >= SAVE_EVERY_TILES:
                        _save(cache)
                        since_save = 0
            finally:
                _save(cache)
            on_progress(len(tiles), len(tiles))
            return np.stack([cache.get(d) for d in digests]) if digests else np.empty((0, encoder.dim), np.float32)

    def features_of_rows(
        self, rows: pd.DataFrame, on_progress: Callable[[int, int], None] = lambda *_: None
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """Features of the grid tiles of a manifest; `ROWS_AT_ONCE` tiles are in memory.

        Args:
            rows: as `read_manifest` returns them.
            on_progress: called with (tiles read, tiles in all); an error it raises ends the work.

        Returns:
            The rows in the order in which they were read, image by image, and float32 `(N, D)` in the same order.

        Raises:
            CheckpointError: the encoder cannot be loaded.
            ManifestError: an image cannot be used.
        """
        parts: list[pd.DataFrame] = []
        features: list[np.ndarray] = []
        waiting: list[np.ndarray] = []
        for part, tiles in iterate_grid_tiles(rows, on_progress):
            parts.append(part)
            waiting += tiles
            if len(waiting) >= ROWS_AT_ONCE:
                features.append(self.features_of(waiting))
                waiting = []
        features.append(self.features_of(waiting))
        return pd.concat(parts), np.concatenate(features)

    def _loaded(self) -> tuple[TileEncoder, FeatureCache]:
        with self._lock:
            if self._encoder is None:
                encoder = TileEncoder(self.name, self._device)
                folder = self._cache_dir / encoder.name if self._cache_dir else None
                self._cache, self._encoder = FeatureCache(folder, encoder.dim), encoder
            return self._encoder, self._cache


def _save(cache: FeatureCache) -> None:
    """A cache that cannot be written costs time later, and nothing now: everything in it can be made again."""
    with suppress(StorageError):
        cache.save()


def _batches_of_one_shape(tiles: list[tuple[np.ndarray, str]]) -> list[list[tuple[np.ndarray, str]]]:
    by_shape: dict[tuple[int, ...], list[tuple[np.ndarray, str]]] = {}
    for tile in tiles:
        by_shape.setdefault(tile[0].shape, []).append(tile)
    starts = ((group, i) for group in by_shape.values() for i in range(0, len(group), ENCODE_BATCH))
    return [group[i : i + ENCODE_BATCH] for group, i in starts]
