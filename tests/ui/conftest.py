"""A running app around a tiny checkpoint, one for all tests of this folder."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import gradio as gr
import pytest

from medi_core.bootstrap import Services, build_services
from medi_core.checkpoints import save_checkpoint
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.settings import Settings
from medi_core.ui.server import Server
from tests.toy_classifier import save_toy_classifier
from tests.toys import build_tiny_pipeline, build_toy_vocabulary


@dataclass(frozen=True)
class RunningApp:
    """What a test talks to."""

    url: str
    services: Services
    blocks: gr.Blocks


def vocabulary_of_all_kinds() -> Vocabulary:
    """The toy vocabulary, with an attribute of two values and a binned one that is no stain on top."""
    toy = build_toy_vocabulary()
    return replace(
        toy,
        values=toy.values | {"gender": ("female", "male"), "age": ("1", "2", "3", "4")},
        bin_edges=toy.bin_edges | {"age": (50.0, 60.0, 70.0)},
    )


@pytest.fixture(scope="session")
def running_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """The real app, served on a free port."""
    folder = tmp_path_factory.mktemp("app")
    assets = folder / "assets"
    assets.mkdir()
    (assets / "style.css").write_text("")
    save_checkpoint(build_tiny_pipeline(vocabulary_of_all_kinds()), folder / "tiny", {})
    save_toy_classifier(folder / "tile-classifier")
    settings = Settings(
        *("tiny", "cpu", "float32", folder, assets),
        data_dir=folder / "data",
        admin_passphrase="open sesame",
        rate_limit=0,  # tests are in a hurry
    )
    services = build_services(settings)
    services.welcome.store()
    server = Server(services)
    _, url, _ = server.blocks.launch(
        prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, **server.launch_options()
    )
    yield RunningApp(url, services, server.blocks)
    server.blocks.close(verbose=False)
