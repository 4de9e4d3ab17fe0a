"""Each tile is encoded once; order, origin and company do not matter."""

import numpy as np
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.models.tile_encoder import TileEncoder
from medi_core.services import encoding
from medi_core.services.encoding import EncodingService
from tests.toys import synthetic_tissue


class CountingEncoder:
    """Mean colours as features; counts what it was asked for."""

    def __init__(self, name: str, device: str) -> None:
        self.name, self.dim, self.num_encoded = name, 3, 0

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        self.num_encoded += len(tiles)
        return tiles.mean(axis=(1, 2)).astype(np.float32)


@pytest.fixture
def counted(monkeypatch):
    made = []

    def build(name, device):
        made.append(CountingEncoder(name, device))
        return made[-1]

    monkeypatch.setattr(encoding, "TileEncoder", build)
    return made


def tiles_of(*seeds: int, side_px: int = 32) -> list[np.ndarray]:
    return [synthetic_tissue(side_px, seed) for seed in seeds]


def test_a_tile_is_encoded_once_and_found_again_by_another_process(counted, tmp_path):
    service = EncodingService("cpu", tmp_path)
    first = service.features_of(tiles_of(1, 2, 1))
    assert np.array_equal(first[0], first[2])
    second = service.features_of([*tiles_of(3), *tiles_of(1)])
    assert np.array_equal(second[1], first[0])
    assert counted[0].num_encoded == 3
    again = EncodingService("cpu", tmp_path).features_of(tiles_of(2, 3))
    assert counted[1].num_encoded == 0
    assert np.array_equal(again, np.stack([first[1], second[0]]))


def test_sizes_may_differ_and_the_order_is_kept(counted):
    tiles = [*tiles_of(1), *tiles_of(2, side_px=64), *tiles_of(3)]
    features = EncodingService("cpu", None).features_of(tiles)
    assert np.allclose(features, [tile.mean(axis=(0, 1)) for tile in tiles])
    assert EncodingService("cpu", None).features_of([]).shape == (0, 3)


def test_progress_is_told_and_a_cancel_keeps_what_was_done(counted, monkeypatch, tmp_path):
    monkeypatch.setattr(encoding, "ENCODE_BATCH", 2)
    told = []

    def on_progress(done: int, total: int) -> None:
        told.append((done, total))
        if done >= 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        EncodingService("cpu", tmp_path).features_of(tiles_of(1, 2, 3, 4, 5), on_progress)
    assert told == [(0, 5), (2, 5)]
    EncodingService("cpu", tmp_path).features_of(tiles_of(1, 2, 3, 4, 5))
    assert [encoder.num_encoded for encoder in counted] == [2, 3]


def test_a_folder_that_cannot_be_written_does_not_stop_the_work(counted, tmp_path):
    (tmp_path / "file").write_text("")
    service = EncodingService("cpu", tmp_path / "file")
    assert service.features_of(tiles_of(1, 2)).shape == (2, 3)
    assert service.features_of(tiles_of(2)).shape == (1, 3)


def test_an_unknown_encoder_is_refused_at_the_start():
    with pytest.raises(InvalidRequestError, match="'typo' is unknown; known: efficientnet-lite0"):
        EncodingService(name="typo")


def test_the_default_encoder_gives_the_features_of_the_model():
    tiles = tiles_of(1, 2, side_px=64)
    service = EncodingService()
    np.testing.assert_allclose(service.features_of(tiles), TileEncoder().encode(np.stack(tiles)), atol=1e-5)
    assert service.dim == 512
