"""Features are found by what a tile shows; what is on the disk is never trusted blindly."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from medi_core.data.feature_cache import FeatureCache, tile_digest
from medi_core.errors import StorageError
from tests.toys import synthetic_tissue


def test_a_digest_is_of_pixels_and_shape():
    tile = synthetic_tissue(64, 1)
    region = synthetic_tissue(100, 2)
    assert tile_digest(tile) == tile_digest(tile.copy())
    assert tile_digest(region[10:74, 10:74]) == tile_digest(region[10:74, 10:74].copy())
    changed = tile.copy()
    changed[0, 0, 0] ^= 1
    assert len({tile_digest(t) for t in (tile, changed, tile.reshape(32, 128, 3))}) == 3


def test_what_was_saved_is_there_again(tmp_path):
    rng = np.random.default_rng(0)
    features = {f"{i:032x}": rng.normal(size=4).astype(np.float32) for i in range(5)}
    cache = FeatureCache(tmp_path / "lite0", 4)
    for i, (digest, row) in enumerate(features.items()):
        cache.add(digest, row)
        if i in (2, 4):
            cache.save()
    again = FeatureCache(tmp_path / "lite0", 4)
    assert len(again) == 5
    assert all(np.array_equal(again.get(digest), row) for digest, row in features.items())
    assert again.get("f" * 32) is None


def test_files_that_are_damaged_or_of_another_width_are_left_out(tmp_path):
    cache = FeatureCache(tmp_path, 4)
    cache.add("0" * 32, np.ones(4, np.float32))
    cache.save()
    (tmp_path / "damaged.safetensors").write_bytes(b"no")
    digests = np.zeros((1, 16), np.uint8)
    save_file({"digests": digests, "features": np.ones((1, 3), np.float32)}, tmp_path / "wide.safetensors")
    save_file({"digests": digests, "features": np.full((1, 4), np.nan, np.float32)}, tmp_path / "nan.safetensors")
    assert np.array_equal(FeatureCache(tmp_path, 4).get("0" * 32), np.ones(4))
    assert len(FeatureCache(tmp_path, 4)) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    cache = FeatureCache(None, 2)
    cache.add("0" * 32, np.ones(2, np.float32))
    cache.save()  # in memory only: nothing to write
    cache = FeatureCache(tmp_path / "file" / "lite0", 2)
    cache.add("0" * 32, np.ones(2, np.float32))
    with pytest.raises(StorageError, match="file"):
        cache.save()
