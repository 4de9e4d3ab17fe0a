"""Features kept by the content of their tiles, in memory and in a folder. Knows no encoder but its name.

A tile that was encoded once, real or synthetic, is never encoded again, whatever file it comes from.
"""

import hashlib
import os
import secrets
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from medi_core.storage import translate_write_errors

DIGEST_CHARS = 32


def tile_digest(tile: np.ndarray) -> str:
    """32 hex digits of the SHA-256 of a tile's shape and pixels, uint8 `(H, W, 3)`."""
    assert tile.dtype == np.uint8, tile.dtype
    sha = hashlib.sha256(str(tile.shape).encode())
    sha.update(np.ascontiguousarray(tile).data)
    return sha.hexdigest()[:DIGEST_CHARS]


class FeatureCache:
    """Digest → features of one encoder.

    Each `save` adds a file of its own, so that two processes never write the same one; a file that cannot be
    read is left out, for everything in it can be made again.

    Args:
        folder: where the files of this encoder are; `None` keeps everything in memory.
        dim: D. Files of another width are left out: they are of another version of the encoder.
    """

    def __init__(self, folder: Path | None, dim: int) -> None:
        self._folder, self.dim = folder, dim
        self._known: dict[str, np.ndarray] = {}
        self._unsaved: list[str] = []
        for path in sorted(folder.glob("*.safetensors")) if folder else ():
            self._known |= _read(path, dim)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, digest: str) -> np.ndarray | None:
        """Features `(D,)`, or `None`."""
        return self._known.get(digest)

    def add(self, digest: str, features: np.ndarray) -> None:
        """Remember features, float32 `(D,)`."""
        assert features.shape == (self.dim,), features.shape
        self._known[digest] = features
        self._unsaved.append(digest)

    def save(self) -> None:
        """Write what was added since the last save.

        Raises:
            StorageError: the folder cannot be written; what is there is as it was.
        """
        if self._folder is None or not self._unsaved:
            return
        digests = list(dict.fromkeys(self._unsaved))
        tensors = {
            "digests": np.array([list(bytes.fromhex(d)) for d in digests], dtype=np.uint8),
            "features": np.stack([self._known[d] for d in digests]).astype(np.float32),
        }
        path = self._folder / f"{secrets.token_hex(8)}.safetensors"
        with translate_write_errors(str(self._folder)):
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            try:
                save_file(tensors, unfinished)
                os.replace(unfinished, path)
            finally:
                unfinished.unlink(missing_ok=True)
        self._unsaved = []


def _read(path: Path, dim: int) -> dict[str, np.ndarray]:
    try:
        tensors = load_file(path)
        digests, features = tensors["digests"], tensors["features"]
    except (OSError, SafetensorError, KeyError):
        return {}
    if features.shape != (len(digests), dim) or not np.isfinite(features).all():
        return {}
    return {bytes(d).hex(): f for d, f in zip(digests, features, strict=True)}
