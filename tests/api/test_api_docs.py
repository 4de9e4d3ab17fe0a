"""docs/api.md is true: every block on it runs, and it shows everything that is offered.

Run: pytest tests/api/test_api_docs.py
"""

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import medi_core.public
from medi_core.bootstrap import build_services
from medi_core.cli import main
from medi_core.settings import Settings
from medi_core.ui.server import Server
from tests.toy_explorer import write_example_files

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:7860/"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the page is run, with the files of one's own that it names."""
    folder = tmp_path_factory.mktemp("page")
    write_example_files(folder)
    return folder


@pytest.fixture(scope="module")
def names() -> dict[str, object]:
    """Of the Python blocks: a later one uses those of the earlier ones."""
    return {}


@pytest.mark.parametrize(("kind", "block"), BLOCKS, ids=[f"{i}-{kind}" for i, (kind, _) in enumerate(BLOCKS)])
def test_every_block_runs(kind, block, explorer, folder, names, monkeypatch, capsys):
    settings = explorer.services.settings
    for name in ("checkpoint", "device", "dtype", "checkpoints_dir", "assets_dir", "cache_dir", "data_dir"):
        monkeypatch.setenv(f"MEDI_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.chdir(folder)
    if kind == "python mcp" and not find_spec("mcp"):
        pytest.skip("mcp is not installed")
    run(kind, block.replace(ADDRESS, explorer.url), names)
    assert kind != "sh" or capsys.readouterr().out.strip(), "every command answers"


@pytest.mark.slow
def test_every_block_runs_with_what_is_shipped(tmp_path, monkeypatch):
    pytest.importorskip("mcp")
    write_example_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDI_DATA_DIR", str(tmp_path / "data"))
    services, names = build_services(Settings(data_dir=tmp_path / "data")), {}
    blocks = (server := Server(services)).blocks
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **server.launch_options())
    for kind, block in BLOCKS:
        run(kind, block.replace(ADDRESS, url), names)
    blocks.close()


def run(kind: str, block: str, names: dict[str, object]) -> None:
    """Commands in this process, each line one: what it costs to start Python anew is not what is tested."""
    assert kind in ("python", "python mcp", "sh"), f"nobody runs blocks of {kind!r}"
    if kind != "sh":
        exec(compile(block, "docs/api.md", "exec"), names)
        return
    for line in block.splitlines():
        start, *arguments = line.split("python -m medi_core ")
        assert start == "", line
        assert main(shlex.split(*arguments, comments=True)) == 0, line


def test_the_page_shows_every_public_name_and_every_endpoint_and_tool(explorer):
    python = "\n".join(block for kind, block in BLOCKS if kind == "python")
    tools = "\n".join(block for kind, block in BLOCKS if kind == "python mcp")
    shown = set(re.findall(r"\w+", PAGE))
    assert set(medi_core.public.__all__) - {"AugmentationPlan", "ComparisonRequest", "Services"} <= shown
    endpoints = {name.removeprefix("/") for name in explorer.blocks.get_api_info()["named_endpoints"]}
    assert endpoints - {"generate_tile"} == set(re.findall(r'api_name="/(\w+)"', python))
    assert endpoints - {"generate"} == set(re.findall(r'call\("(\w+)"', tools))


def test_every_name_that_is_offered_is_loaded_from_the_package():
    for name in medi_core.public.__all__:
        assert getattr(medi_core, name) is getattr(medi_core.public, name)
    with pytest.raises(AttributeError, match=r"no attribute 'generate_everything'; docs/api\.md lists"):
        medi_core.generate_everything  # noqa: B018


def test_the_package_alone_imports_nothing_heavy():
    code = "import sys, medi_core, medi_core.cli; print(sorted({'torch', 'gradio', 'pandas'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert told.stdout == "[]\n"
