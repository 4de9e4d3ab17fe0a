"""A running app around a tiny checkpoint, one for all tests of this folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import pytest
import torch

from medi_core.bootstrap import Services, build_services
from medi_core.checkpoints import save_checkpoint
from medi_core.metadata.vocabulary import Support, Vocabulary
from medi_core.models.denoiser import Denoiser
from medi_core.models.metadata_embedder import MetadataEmbedder
from medi_core.pipelines.medi_pipeline import MediPipeline
from medi_core.pipelines.schedulers import build_scheduler
from medi_core.settings import Settings
from medi_core.ui.app import build_app, launch_options

VOCABULARY = Vocabulary(
    values={
        "cancer_type": ("Breast_invasive_carcinoma", "Lung_adenocarcinoma"),
        "center": ("Lyon", "Paris", "Rome"),
        "preparation": ("FFPE", "frozen"),
        "hematoxylin": ("1", "2", "3", "4", "5"),
        "eosin": ("1", "2", "3", "4", "5"),
        "gender": ("female", "male"),
        "age": ("1", "2", "3", "4"),
    },
    bin_edges={"hematoxylin": (0.5, 1.0, 1.5, 2.0), "eosin": (0.4, 0.8, 1.0, 1.2), "age": (50.0, 60.0, 70.0)},
    support={
        "cancer_type": {"Breast_invasive_carcinoma": Support(60, 9), "Lung_adenocarcinoma": Support(14, 5)},
        "center": {"Lyon": Support(42, 7), "Paris": Support(20, 3), "Rome": Support(12, 4)},
    },
    pair_support={
        "Breast_invasive_carcinoma @ Lyon": Support(40, 6),
        "Breast_invasive_carcinoma @ Paris": Support(20, 3),
        "Lung_adenocarcinoma @ Lyon": Support(2, 1),
        "Lung_adenocarcinoma @ Rome": Support(12, 4),
    },
    total=Support(74, 13),
)


@dataclass(frozen=True)
class RunningApp:
    """What a test talks to."""

    url: str
    services: Services
    blocks: gr.Blocks


def tiny_checkpoint(folder: Path) -> Path:
    """A checkpoint of the tiny network with all kinds of attributes."""
    torch.manual_seed(0)
    denoiser = Denoiser(
        block_out_channels=(16, 24), layers_per_block=1, head_channels=4, norm_num_groups=8, attention_head_dim=8
    )
    embedder = MetadataEmbedder(VOCABULARY.to_dict(), denoiser.embedding_dim)
    save_checkpoint(MediPipeline(denoiser, embedder, build_scheduler("euler")), folder / "tiny", {})
    return folder / "tiny"


@pytest.fixture(scope="session")
def running_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """The real app, served on a free port."""
    folder = tmp_path_factory.mktemp("app")
    assets = folder / "assets"
    assets.mkdir()
    (assets / "style.css").write_text("")
    settings = Settings(str(tiny_checkpoint(folder)), "cpu", "float32", folder, assets)
    services = build_services(settings)
    services.welcome.store()
    blocks = build_app(services)
    _, url, _ = blocks.queue().launch(
        prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, **launch_options(services)
    )
    yield RunningApp(url, services, blocks)
    blocks.close()
