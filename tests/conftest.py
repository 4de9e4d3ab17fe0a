"""Fixtures that several areas share: a toy vocabulary, a toy manifest and a pipeline that samples in no time."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from medi_core.bootstrap import Services, build_services
from medi_core.checkpoints import save_checkpoint
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.pipelines.medi_pipeline import MediPipeline
from medi_core.settings import Settings
from medi_core.web.logs import LOGGER
from tests.toys import build_tiny_pipeline, build_toy_vocabulary, synthetic_tissue


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process a core; of the browser tests one in all, for each of them loads an app that uses all cores."""
    return 0 if "browser" in config.option.markexpr.replace("not browser", "") else os.cpu_count() or 1


def pytest_configure(config: pytest.Config) -> None:
    """Processes that run side by side have a core each: more threads of torch would wait for one another."""
    if hasattr(config, "workerinput"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """A test that starts the app's logs must not leave behind a handler whose stream ends with it."""
    logger = logging.getLogger(LOGGER)
    handlers, propagates, level = list(logger.handlers), logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate = handlers, propagates
    logger.setLevel(level)


@pytest.fixture
def toy_vocabulary() -> Vocabulary:
    """Two cancer types, three centers; Lung at Paris was never seen, Lung at Lyon is rare."""
    return build_toy_vocabulary()


@pytest.fixture
def toy_manifest(tmp_path: Path) -> Path:
    """24 regions of 12 patients, two cancer types, three centers, all splits; made here, not real."""
    rows = []
    for i in range(24):
        patient = i // 2
        name = f"regions/region-{i:02d}.png"
        (tmp_path / "regions").mkdir(exist_ok=True)
        Image.fromarray(synthetic_tissue(160, i)).save(tmp_path / name)
        rows.append(
            {
                "path": name,
                "cancer_type": ("Breast_invasive_carcinoma", "Lung_adenocarcinoma")[patient % 2],
                "center": ("Lyon", "Paris", "Rome")[patient % 3],
                "preparation": "frozen" if patient == 5 else "FFPE",
                "scanner": ("Aperio AT2", "Hamamatsu NanoZoomer")[patient % 2],
                "gender": ("female", "male")[patient % 2],
                "race": ("white", "asian")[patient % 2],
                "age": 40 + 3 * patient,
                "patient_id": f"P{patient:02d}",
                "slide": f"P{patient:02d}-DX1",
                "mpp": 0.5,
                "split": "train" if patient < 8 else "val" if patient < 10 else "test",
                "dataset": "toy",
                "licence": "CC0-1.0",
            }
        )
    path = tmp_path / "manifest.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture
def tiny_pipeline(toy_vocabulary: Vocabulary) -> MediPipeline:
    """Random weights, 1/100 of the shipped size; samples a tile in well under a second."""
    return build_tiny_pipeline(toy_vocabulary)


@pytest.fixture
def tiny_checkpoint(tmp_path: Path, tiny_pipeline: MediPipeline) -> Path:
    """The tiny pipeline as a checkpoint folder called `tiny`."""
    folder = tmp_path / "checkpoints" / "tiny"
    save_checkpoint(tiny_pipeline, folder, {})
    return folder


@pytest.fixture
def tiny_services(tiny_checkpoint: Path, tmp_path: Path) -> Services:
    """All services around the tiny checkpoint, on the CPU in float32; assets are a folder of the test."""
    return build_services(
        Settings(
            *("tiny", "cpu", "float32", tiny_checkpoint.parent, tmp_path / "assets"),
            cache_dir=tmp_path / "cache",
            data_dir=tmp_path / "data",
        )
    )


@pytest.fixture
def fresh_accelerator() -> Iterator[None]:
    """accelerate keeps its settings for the life of a process; a test that trains must not leave them behind."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
