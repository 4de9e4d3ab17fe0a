"""A study from the command line, from its making to its results. Run: pytest tests/commands/test_review_commands.py"""

import json
import zipfile

import pytest

from medi_core.cli import main
from medi_core.review.blinding import neutral_id
from medi_core.review.review_store import Reader, ReviewStore
from tests.toy_review import add_toy_study


@pytest.fixture
def run(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    """(arguments) → exit code, stdout, stderr."""
    monkeypatch.setenv("MEDI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MEDI_CHECKPOINT", str(tiny_checkpoint))
    monkeypatch.setenv("MEDI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDI_DEVICE", "cpu")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["review", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_study_is_made_answered_closed_and_read(run, tmp_path):
    new = ("new", "S", "--tasks", "realism", "--num-tiles", "2", "--practice", "0", "--seed", "3", "--json")
    code, out, _ = run(*new)
    made = json.loads(out)
    assert code == 0
    assert made["link"].endswith(made["study"])
    assert made["design"]["share_real"] == 0

    store = ReviewStore(tmp_path / "data")
    store.add_reader(made["study"], Reader(neutral_id(), "ann", "", 5.0, "other"))
    for item in store.items(made["study"]):
        store.put_answer(made["study"], store.reader(made["study"], "ann"), item.id, "realism", 4)
    (listed,) = json.loads(run("list", "--json")[1])["studies"]
    assert (listed["readers"], listed["closed_at"]) == ({"ann": 2}, None)

    code, _, error = run("results", made["study"])
    assert code == 2
    assert "still open" in error
    assert run("close", made["study"])[0] == 0
    results = json.loads(run("results", made["study"], "--json", "--out", str(tmp_path / "s.zip"))[1])
    assert results["realism"]["mean"]["synthetic"]["value"] == 4
    assert zipfile.ZipFile(tmp_path / "s.zip").testzip() is None
    assert "| realism | synthetic | 4" in run("results", made["study"])[1]

    assert run("backup", "--out", str(tmp_path / "copy.sqlite3"))[0] == 0
    assert (tmp_path / "copy.sqlite3").stat().st_size > 0


def test_a_reader_is_deleted_only_with_yes(run, tmp_path):
    store = ReviewStore(tmp_path / "data")
    study = add_toy_study(store).id
    for name in ("ann", "bob"):
        store.add_reader(study, Reader(neutral_id(), name, "", 5.0, "other"))
        store.put_answer(study, store.reader(study, name), store.items(study)[0].id, "realism", 4)
    code, _, error = run("delete-reader", study, "ann")
    assert code == 2
    assert "'ann' and 1 answers would be deleted" in error
    assert store.reader(study, "ann") is not None
    assert json.loads(run("delete-reader", study, "ann", "--yes", "--json")[1])["deleted_answers"] == 1
    assert [reader["name"] for reader in store.progress(study)] == ["bob"]


def test_a_study_is_deleted_only_with_yes(run, tmp_path):
    store = ReviewStore(tmp_path / "data")
    study = add_toy_study(store).id
    store.add_reader(study, Reader(neutral_id(), "ann", "", 5.0, "other"))
    store.put_answer(study, store.reader(study, "ann"), store.items(study)[0].id, "realism", 4)
    code, _, error = run("delete", study)
    assert code == 2
    assert "with 1 readers and 1 answers would be deleted" in error
    assert store.study(study).id == study
    assert json.loads(run("delete", study, "--yes", "--json")[1])["deleted_answers"] == 1
    assert store.studies() == []


def test_without_a_seed_each_study_has_one_of_its_own(run):
    new = ("new", "S", "--num-tiles", "2", "--practice", "0", "--json")
    first, second = (json.loads(run(*new)[1])["design"]["seed"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("close", "nothing"), "no such study"),
        (("results", "nothing"), "no such study"),
        (("delete-reader", "nothing", "ann", "--yes"), "no such study"),
        (("delete", "nothing", "--yes"), "no such study"),
        (("new", "S", "--tasks", "taste"), "tasks = taste"),
        (("new", "S", "--tasks", "origin"), "needs real tiles"),
        (("backup", "--out", "/nowhere/at/all", "--data-dir", "/none"), "nothing to back up"),
    ],
)
def test_bad_input_is_one_line(run, arguments, message):
    code, out, error = run(*arguments)
    assert (code, out) == (2, "")
    assert message in error
    assert len(error.splitlines()) == 1
