"""A training small enough for a test, in plain float32."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from accelerate import Accelerator

from medi_core.data.manifest import read_manifest
from medi_core.data.tile_dataset import RandomTileDataset
from medi_core.training import run
from medi_core.training.run import load_dataset
from medi_core.training.train_diffusion import DiffusionTraining, DiffusionTrainingConfig
from tests.toy_training import TINY_CONFIG


@pytest.fixture
def tiny_config() -> DiffusionTrainingConfig:
    return TINY_CONFIG


@pytest.fixture
def toy_dataset(toy_manifest: Path, tiny_config: DiffusionTrainingConfig) -> RandomTileDataset:
    return load_dataset(read_manifest(toy_manifest), "train", tiny_config)


@pytest.fixture
def start(toy_dataset: RandomTileDataset, tiny_config) -> Callable[..., DiffusionTraining]:
    """A fresh training on the toy tiles, with changes to the tiny configuration."""

    def build(dataset: RandomTileDataset = toy_dataset, **changes) -> DiffusionTraining:
        return DiffusionTraining(replace(tiny_config, **changes), dataset, Accelerator(cpu=True, mixed_precision="no"))

    return build


@pytest.fixture(autouse=True)
def _small_samples(monkeypatch) -> None:
    """Save in a fraction of the time: 2 × 2 sample tiles."""
    draw = run.write_sample_grid
    monkeypatch.setattr(run, "write_sample_grid", lambda *args: draw(*args, columns=2, rows=2))


@pytest.fixture(autouse=True)
def _fresh_accelerator(fresh_accelerator) -> None:
    """Every test here trains."""
