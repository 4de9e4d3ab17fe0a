"""The whole app around a tiny checkpoint: its services, and the app without a socket."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr
import httpx
from fastapi import FastAPI

from medi_core.bootstrap import Services, build_services
from medi_core.checkpoints import save_checkpoint
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.settings import Settings
from medi_core.ui.guarded_blocks import GuardedBlocks
from medi_core.ui.server import Server
from tests.toy_classifier import save_toy_classifier
from tests.toys import DISTILLED, build_tiny_pipeline, build_toy_vocabulary

PASSPHRASE = "open sesame"
MOUNTED = ("app_kwargs", "auth", "show_error", "max_file_size", "footer_links", "run_history", "enable_monitoring")


def vocabulary_of_all_kinds() -> Vocabulary:
    """The toy vocabulary, with an attribute of two values and a binned one that is no stain on top."""
    toy = build_toy_vocabulary()
    return replace(
        toy,
        values=toy.values | {"gender": ("female", "male"), "age": ("1", "2", "3", "4")},
        bin_edges=toy.bin_edges | {"age": (50.0, 60.0, 70.0)},
    )


def toy_services(folder: Path, **settings: object) -> Services:
    """Services of a tiny checkpoint and classifier, written into the folder; no rate limit: tests are in a hurry.

    The few-step checkpoint `tiny-fast` has the weights of the other: what it makes is told apart by its id.
    """
    assets = folder / "assets"
    assets.mkdir()
    (assets / "style.css").write_text("")
    save_checkpoint(build_tiny_pipeline(vocabulary_of_all_kinds()), folder / "tiny", {})
    save_checkpoint(build_tiny_pipeline(vocabulary_of_all_kinds()), folder / "tiny-fast", DISTILLED)
    save_toy_classifier(folder / "tile-classifier")
    given = {"data_dir": folder / "data", "admin_passphrase": PASSPHRASE, "rate_limit": 0} | settings
    given.setdefault("fast_checkpoint", "tiny-fast")
    services = build_services(Settings("tiny", "cpu", "float32", folder, assets, **given))
    services.welcome.store()
    return services


@dataclass(frozen=True)
class RunningApp:
    """What a test talks to."""

    url: str
    services: Services
    blocks: GuardedBlocks


@contextmanager
def serve(services: Services) -> Iterator[RunningApp]:
    """The real app behind all its layers, on a free port of this process."""
    server = Server(services)
    _, url, _ = server.blocks.launch(
        prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, **server.launch_options()
    )
    yield RunningApp(url, services, server.blocks)
    server.blocks.close(verbose=False)


@asynccontextmanager
async def in_process(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app, in this process and its event loop. Nothing raised inside is hidden by a 500."""
    options = {name: value for name, value in server.launch_options().items() if name in MOUNTED}
    app = gr.mount_gradio_app(FastAPI(), server.blocks, path="", **options)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://toy") as http:
        yield http
        server.blocks._queue.close()
        await asyncio.sleep(0.05)  # its loops end
