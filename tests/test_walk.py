"""The whole way on toy tiles: manifest → training → checkpoint → tiles of a condition, each step with its own code."""

from dataclasses import replace

import numpy as np
import torch

from medi_core.checkpoints import list_checkpoints, load_checkpoint
from medi_core.metadata.schema import MetadataRecord
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest
from medi_core.training.run import run_training
from tests.toy_training import TINY_CONFIG


def test_from_toy_tiles_to_generated_tiles(toy_manifest, tmp_path, monkeypatch, fresh_accelerator):
    monkeypatch.setattr("medi_core.training.run.write_sample_grid", lambda *_: None)  # has a test of its own
    assert run_training(toy_manifest, tmp_path / "run", replace(TINY_CONFIG, num_steps=2), mixed_precision="no") == 2

    assert list_checkpoints(tmp_path / "run") == ["checkpoint"]
    checkpoint = load_checkpoint("checkpoint", tmp_path / "run", torch.device("cpu"), torch.float32)
    assert checkpoint.training_config["step"] == 2
    assert checkpoint.vocabulary.values["center"] == ("Lyon", "Paris", "Rome")

    service = GenerationService(checkpoint, batch_size=2)
    record = MetadataRecord(cancer_type="Lung_adenocarcinoma", center="Rome", eosin="5")
    tiles = service.generate(GenerationRequest(record, seeds=(1, 2, 3), num_inference_steps=2, side_px=(32, 64)))
    assert [tile.seed for tile in tiles] == [1, 2, 3]
    assert [tile.image.shape for tile in tiles] == [(32, 64, 3)] * 3
    assert {tile.checkpoint_id for tile in tiles} == {checkpoint.id}
    assert not np.array_equal(tiles[0].image, tiles[1].image)
    again = service.generate(GenerationRequest(record, seeds=(2,), num_inference_steps=2, side_px=(32, 64)))
    assert np.abs(again[0].image.astype(int) - tiles[1].image).max() <= 1
