"""A file that cannot be used is told before the checkpoint is loaded, which takes seconds."""

from pathlib import Path

import pytest

from medi_core.cli import main
from medi_core.metadata.schema import MetadataRecord
from medi_core.planning.plan import AugmentationPlan, PlannedCell, write_plan

LOADERS = ("bootstrap", "training.adaptation_run", "training.distillation_run")


@pytest.fixture
def loaded(monkeypatch) -> list[str]:
    """Names of the checkpoints that were loaded; none is."""
    names: list[str] = []

    def load(name: str, *_):
        names.append(name)
        raise AssertionError("the checkpoint is loaded although the input cannot be used")

    for module in LOADERS:
        monkeypatch.setattr(f"medi_core.{module}.load_checkpoint", load)
    return names


def plan_file(folder: Path, num_tiles: int) -> Path:
    cell = PlannedCell(MetadataRecord(center="Lyon"), 1, 1, 1, 1, None, num_tiles)
    write_plan(AugmentationPlan("tiny@1", ("center",), {}, (cell,)), folder / "plan.json")
    return folder / "plan.json"


def refused(capsys, *arguments: object) -> str:
    """The one line of a command that ends with exit code 2."""
    assert main(list(map(str, arguments))) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize("command", ["plan", "adapt", "distill"])
def test_a_manifest_that_is_not_there(command, loaded, tmp_path, capsys):
    said = refused(capsys, command, "--manifest", tmp_path / "none.csv", "--out", tmp_path / "out.json")
    assert "none.csv does not exist" in said
    assert loaded == []
    assert not (tmp_path / "out.json").exists()


def test_a_split_that_the_manifest_does_not_have(loaded, toy_manifest, capsys):
    said = refused(capsys, "plan", "--manifest", toy_manifest, "--split", "tran")
    assert "no row of the split 'tran'; it has test, train, val" in said
    assert loaded == []


def test_a_folder_that_adapt_must_not_replace(loaded, toy_manifest, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear to me")
    assert str(tmp_path / "mine") in refused(capsys, "adapt", "--manifest", toy_manifest, "--out", tmp_path / "mine")
    assert loaded == []


@pytest.mark.parametrize(
    ("num_tiles", "flags", "message"),
    [
        (0, (), "the plan asks for no tile"),
        (2, ("--shard-size", "0"), "shard size = 0: it must be from 1"),
        (2, ("--drop-copies", "none.csv"), "none.csv does not exist"),
    ],
)
def test_what_generate_dataset_cannot_use(num_tiles, flags, message, loaded, tmp_path, capsys):
    plan = plan_file(tmp_path, num_tiles)
    assert message in refused(capsys, "generate-dataset", plan, "--out", tmp_path / "set", *flags)
    assert loaded == []


def test_a_plan_that_cannot_be_read(loaded, tmp_path, capsys):
    (tmp_path / "plan.json").write_text("{")
    assert "is not JSON" in refused(capsys, "generate-dataset", tmp_path / "plan.json", "--out", tmp_path / "set")
    assert loaded == []
