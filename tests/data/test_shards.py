"""Tiles straight from tars: each once an epoch, in an order that the seed decides, and never all in memory."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medi_core.data import shards
from medi_core.data.shards import ShardTileDataset, index_shards, measure_some_stains
from medi_core.data.tile_dataset import SamplingConfig, record_of
from medi_core.errors import InvalidRequestError, ManifestError
from tests.toys import synthetic_tissue

NUM_SHARDS, TILES_A_SHARD, SIDE_PX = 5, 4, 32
NUM_TILES = NUM_SHARDS * TILES_A_SHARD
EVERY_TILE = SamplingConfig(temperature=1.0)
CENTERS = ("Lyon", "Paris", "Rome")


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Every tile is as large as a training tile: a crop shows which one it is."""
    for shard in range(NUM_SHARDS):
        with tarfile.open(tmp_path / f"part-{shard}.tar", "w") as tar:
            for tile in range(TILES_A_SHARD):
                number, buffer = shard * TILES_A_SHARD + tile, io.BytesIO()
                Image.fromarray(synthetic_tissue(SIDE_PX, number)).save(buffer, "PNG")
                label = {"label": "Thymoma", "center": CENTERS[number % 3], "patient_id": f"P{number}"}
                add(tar, f"t{number}.png", buffer.getvalue())
                add(tar, f"t{number}.json", json.dumps(label | {"split": "train", "mpp": 0.5}).encode())
    return tmp_path


@pytest.fixture
def dataset(folder, toy_vocabulary) -> ShardTileDataset:
    return ShardTileDataset(folder, index_shards(folder), toy_vocabulary, EVERY_TILE, SIDE_PX)


def which(tiles: torch.Tensor) -> list[int]:
    """The number of each tile, whatever its turn: turns keep the sorted pixels."""
    known = {np.sort(synthetic_tissue(SIDE_PX, n), axis=None).tobytes(): n for n in range(NUM_TILES)}
    return [known[np.sort(tile.numpy(), axis=None).tobytes()] for tile in tiles]


def load(dataset: ShardTileDataset, indices: list[range], num_workers: int) -> list[int]:
    loader = torch.utils.data.DataLoader(dataset, batch_sampler=indices, num_workers=num_workers)
    return which(torch.cat([tiles for tiles, _ in loader]))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_two_processes_with_their_workers_see_every_tile_once_an_epoch(dataset, num_workers):
    steps = range(0, 2 * NUM_TILES, 4)
    seen = [load(dataset, [range(s + 2 * p, s + 2 * p + 2) for s in steps], num_workers) for p in range(2)]
    assert Counter(seen[0] + seen[1]) == dict.fromkeys(range(NUM_TILES), 2)
    half = len(seen[0]) // 2
    assert sorted(seen[0][:half] + seen[1][:half]) == list(range(NUM_TILES))
    assert seen[0][:half] != seen[0][half:], "the next epoch has another order"


def test_the_seed_decides_the_order(folder, dataset, toy_vocabulary):
    again = ShardTileDataset(folder, index_shards(folder), toy_vocabulary, EVERY_TILE, SIDE_PX)
    assert np.array_equal(dataset.order_of(3), again.order_of(3))
    other = SamplingConfig(temperature=1.0, seed=1)
    other = ShardTileDataset(folder, index_shards(folder), toy_vocabulary, other, SIDE_PX)
    assert not np.array_equal(dataset.order_of(3), other.order_of(3))


def test_a_training_that_goes_on_repeats_no_tile_and_misses_none(folder, dataset, toy_vocabulary):
    before = load(dataset, [range(7)], 0)
    resumed = ShardTileDataset(folder, index_shards(folder), toy_vocabulary, EVERY_TILE, SIDE_PX)
    assert sorted(before + load(resumed, [range(7, NUM_TILES)], 2)) == list(range(NUM_TILES))


def test_reads_stay_within_a_window_of_shards(dataset, monkeypatch):
    monkeypatch.setattr(shards, "SHARDS_AT_ONCE", 2)
    opened = dataset._places["shard"].to_numpy()[dataset.order_of(0)]
    assert len(set(opened[: 2 * TILES_A_SHARD])) == 2
    assert len(set(opened[2 * TILES_A_SHARD : 4 * TILES_A_SHARD])) == 2


def test_no_image_stays_in_memory_and_one_is_decoded_for_each_tile(dataset, monkeypatch):
    num_decoded, decode = [], shards.decode_image
    monkeypatch.setattr(shards, "decode_image", lambda content: num_decoded.append(1) or decode(content))
    for i in range(2 * NUM_TILES):
        dataset[i]
        assert len(num_decoded) == i + 1
    held = [v for v in vars(dataset).values() if isinstance(v, np.ndarray)]
    assert sum(array.nbytes for array in held) + dataset._places.memory_usage().sum() < 200 * NUM_TILES + 2000
    assert SIDE_PX * SIDE_PX * 3 > 200, "an image is more than the index keeps of it"


def test_ids_are_those_of_the_labels(folder, dataset, toy_vocabulary):
    index = index_shards(folder)
    column = toy_vocabulary.attributes.index("center")
    for i in range(NUM_TILES):
        tile, ids = dataset[i]
        assert toy_vocabulary.values["center"][ids[column]] == CENTERS[which(tile[None])[0] % 3]
    for row, ids in zip(index.itertuples(index=False), dataset._ids, strict=True):
        assert tuple(ids) == toy_vocabulary.encode(
            record_of(index.loc[index["patient_id"] == row.patient_id].iloc[0], toy_vocabulary)
        )


def test_stains_are_measured_on_a_bounded_sample(folder, monkeypatch):
    monkeypatch.setattr(shards, "NUM_STAIN_TILES", 6)
    measured = measure_some_stains(folder, index_shards(folder), SIDE_PX)
    assert measured["eosin"].notna().sum() == 6


def test_shards_without_a_split_are_split_by_patient(folder):
    with tarfile.open(folder / "part-0.tar") as tar:
        images = [(m.name, tar.extractfile(m).read()) for m in tar if m.name.endswith(".png")]
    for path in folder.glob("*.tar"):
        path.unlink()
    with tarfile.open(folder / "part-0.tar", "w") as tar:
        for i in range(20):
            add(tar, f"t{i}.png", images[0][1])
            add(tar, f"t{i}.json", json.dumps({"label": "Thymoma", "patient_id": f"P{i // 2}"}).encode())
    index = index_shards(folder)
    assert set(index["split"]) == {"train", "val", "test"}
    assert (index.astype(object).groupby("patient_id")["split"].nunique() == 1).all()


def test_a_damaged_member_is_named(folder, dataset):
    index = index_shards(folder)
    offset = int(index.loc[index["shard"] == "part-2.tar", "offset"].iloc[1])
    with open(folder / "part-2.tar", "r+b") as tar:
        tar.seek(offset + 40)
        tar.write(b"\0" * 200)
    with pytest.raises(ManifestError, match=r"part-2\.tar: 't9\.png' cannot be read"):
        [dataset[i] for i in range(NUM_TILES)]


def test_a_cut_tar_and_an_empty_folder_are_refused_by_name(folder, tmp_path):
    content = (folder / "part-1.tar").read_bytes()
    (folder / "part-1.tar").write_bytes(content[:700])
    with pytest.raises(ManifestError, match=r"part-1\.tar"):
        index_shards(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match=r"empty has no \.tar file"):
        index_shards(tmp_path / "empty")


def test_tiles_that_are_too_small_are_named(folder, toy_vocabulary):
    dataset = ShardTileDataset(folder, index_shards(folder), toy_vocabulary, EVERY_TILE, 64)
    with pytest.raises(ManifestError, match=r"part-\d\.tar: 't\d+\.png' is 32×32 px; a tile needs 64 px a side"):
        dataset[0]


def test_a_temperature_that_would_draw_some_tiles_more_often_is_refused(folder, toy_vocabulary):
    with pytest.raises(InvalidRequestError, match=r"temperature = 0.5: .* must be 1"):
        ShardTileDataset(folder, index_shards(folder), toy_vocabulary, SamplingConfig(), SIDE_PX)
