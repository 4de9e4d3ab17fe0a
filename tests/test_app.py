"""What the app says when it starts. Run: pytest tests/test_app.py"""

from types import SimpleNamespace

import app
from medi_core.bootstrap import build_services
from medi_core.settings import Settings


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


def test_a_folder_that_goes_with_the_machine_is_warned_of(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("medi_core.storage.volatile_reason", lambda folder: "it is in memory")
    quiet = SimpleNamespace(studies=lambda: [])
    app.warn_of_storage(SimpleNamespace(settings=SimpleNamespace(data_dir=tmp_path), studies=quiet))
    assert "will be lost: it is in memory; set MEDI_DATA_DIR" in capsys.readouterr().err
