"""How the app starts, and when it does not. Run: pytest tests/test_app.py"""

import app


def test_a_review_store_that_cannot_be_used_is_told_at_the_start(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MEDI_DATA_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("MEDI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.argv", ["app.py", "--checkpoint", str(tiny_checkpoint), "--device", "cpu"])
    assert app.main() == 2
    error = capsys.readouterr().err
    assert "review.sqlite3 cannot be used" in error
    assert "MEDI_DATA_DIR" in error
    assert len(error.splitlines()) == 1
