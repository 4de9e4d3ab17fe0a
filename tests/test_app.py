"""What the app says when it starts. Run: pytest tests/test_app.py"""

from pathlib import Path
from types import SimpleNamespace

import pytest

import app
from medi_core.bootstrap import build_services
from medi_core.errors import MediError
from medi_core.settings import Settings
from medi_core.ui.app import launch_options


def test_a_review_store_that_cannot_be_used_is_told_at_the_start_and_stops_nothing_else(
    tiny_checkpoint, tmp_path, capsys
):
    (tmp_path / "file").write_text("no folder")
    settings = Settings("tiny", "cpu", "float32", tiny_checkpoint.parent, tmp_path, data_dir=tmp_path / "file")
    app.warn_of_storage(build_services(settings))
    error = capsys.readouterr().err
    assert error.startswith("warning: reviews are off: ")
    assert "MEDI_DATA_DIR" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("is_installed", [True, False])
def test_without_mcp_the_app_starts_all_the_same_and_says_how_to_have_its_tools(monkeypatch, capsys, is_installed):
    launched = []

    class Quiet:
        def __init__(self, services) -> None:
            launched.append(launch_options(services)["mcp_server"])

        def serve(self, host: str, port: int) -> None:
            pass

    services = SimpleNamespace(settings=Settings(assets_dir=Path()), instant_off="there is no few-step checkpoint")
    monkeypatch.setattr("medi_core.bootstrap.build_services", lambda _: services)
    monkeypatch.setattr("medi_core.ui.server.Server", Quiet)
    monkeypatch.setattr("medi_core.ui.api.find_spec", lambda _: object() if is_installed else None)
    monkeypatch.setattr(app, "warn_of_storage", lambda _: None)
    monkeypatch.setattr("sys.argv", ["app.py"])
    assert app.main() == 0
    assert launched == [is_installed]
    said = capsys.readouterr().out
    assert ("pip install -r requirements-mcp.txt" in said) is not is_installed
    assert "instant mode is off: there is no few-step checkpoint" in said


def test_a_folder_that_goes_with_the_machine_is_warned_of(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("medi_core.storage.volatile_reason", lambda folder: "it is in memory")
    quiet = SimpleNamespace(studies=lambda: [])
    app.warn_of_storage(SimpleNamespace(settings=SimpleNamespace(data_dir=tmp_path), studies=quiet))
    assert "will be lost: it is in memory; set MEDI_DATA_DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "environment", "compiled"), [([], "", "auto"), ([], "off", "off"), (["--compile", "on"], "off", "on")]
)
def test_the_app_compiles_where_it_pays_unless_told_otherwise(monkeypatch, flags, environment, compiled):
    def refuse(settings: Settings):
        seen.append(settings.compile)
        raise MediError("seen enough")

    seen = []
    monkeypatch.setenv("MEDI_COMPILE", environment)
    monkeypatch.setattr("medi_core.bootstrap.build_services", refuse)
    monkeypatch.setattr("sys.argv", ["app.py", *flags])
    assert app.main() == 2
    assert seen == [compiled]
    assert Settings().compile == "off"
