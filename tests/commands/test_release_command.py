"""`release` on a toy: what is of another checkpoint is made anew, the rest is skipped, tables say whose they are."""

import json
from functools import partial
from types import SimpleNamespace

import pytest

from medi_core.cli import main
from medi_core.commands import release
from medi_core.commands.release import STEPS
from medi_core.projection import ProjectionConfig
from medi_core.services.release import FIDELITY_BLOCKS, block_of
from medi_core.settings import PROJECT_ROOT, Settings
from tests.services.conftest import built_reference, cheap_encoder, referenced  # noqa: F401  fixtures

QUICK = ["--device", "cpu", "--dtype", "float32", "--json"]


@pytest.fixture
def docs(referenced, tmp_path, monkeypatch):  # noqa: F811
    """A folder of pages with blocks, a card with one, and the toy's places in the environment."""
    settings = referenced.settings
    for name in ("assets_dir", "checkpoints_dir", "cache_dir", "data_dir"):
        monkeypatch.setenv(f"MEDI_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("MEDI_CHECKPOINT", "tiny")
    folder = tmp_path / "docs"
    folder.mkdir()
    text = "# Fidelity\n" + "".join(f"<!-- release:{n} -->\n<!-- /release:{n} -->\n" for n in FIDELITY_BLOCKS)
    (folder / "fidelity.md").write_text(text)
    (referenced.checkpoint.folder / "README.md").write_text("<!-- release:measured -->\n<!-- /release:measured -->\n")
    return folder


def run(capsys, docs, *arguments: str) -> dict:
    code = main(["release", "--docs", str(docs), *QUICK, *arguments])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def refusal(capsys, docs, *arguments: str) -> str:
    assert main(["release", "--docs", str(docs), *QUICK, *arguments]) == 2
    return capsys.readouterr().err


def test_tables_are_written_once_and_again_if_asked_for(referenced, docs, capsys):  # noqa: F811
    answer = run(capsys, docs, "--only", "docs", "welcome")
    assert [(step["step"], step["done"]) for step in answer["steps"]] == [("welcome", "made"), ("docs", "made")]
    page = (docs / "fidelity.md").read_text()
    for name in FIDELITY_BLOCKS:
        assert referenced.checkpoint.id in block_of(page, name), name
    assert "real or synthetic" in block_of(page, "targets")
    assert referenced.checkpoint.id in (referenced.checkpoint.folder / "README.md").read_text()
    status = {row["artefact"]: row["status"] for row in answer["artefacts"]}
    assert status["welcome"] == status["docs/fidelity.md:targets"] == status["tiny/README.md:measured"] == "current"
    answer = run(capsys, docs, "--only", "docs", "welcome")
    assert all(step["done"].startswith("skipped") for step in answer["steps"])
    assert run(capsys, docs, "--only", "docs", "--again")["steps"][0]["done"] == "made"


def test_a_reference_set_of_another_checkpoint_is_made_anew_and_its_tables_too(
    referenced,  # noqa: F811
    docs,
    toy_manifest,
    capsys,
    monkeypatch,
):
    monkeypatch.setattr("medi_core.projection.ProjectionConfig", partial(ProjectionConfig, method="pca"))  # no wait
    run(capsys, docs, "--only", "docs")
    facts = referenced.settings.assets_dir / "reference" / "reference.json"
    record = json.loads(facts.read_text())
    facts.write_text(json.dumps(record | {"checkpoint": "tiny@000000000000"}))
    listed = run(capsys, docs, "--list")
    assert listed["steps"] == []
    assert {r["artefact"]: r["status"] for r in listed["artefacts"]}["reference"] == "stale"
    few = ["--tiles-a-pair", "1", "--tiles-a-focus-pair", "2"]
    answer = run(capsys, docs, "--only", "reference", "docs", "--manifest", str(toy_manifest), *few)
    assert [step["done"] for step in answer["steps"]] == ["made", "made"]
    made = json.loads(facts.read_text())
    assert made["checkpoint"] == referenced.checkpoint.id
    assert made["bank"]["tiles_a_focus_pair"] == 2
    assert "--tiles-a-focus-pair 2" in block_of((docs / "fidelity.md").read_text(), "made-from")


def test_what_a_step_needs_is_said_before_anything_is_made(docs, capsys, referenced):  # noqa: F811
    assert "give --manifest" in refusal(capsys, docs)
    assert "give --class-only FOLDER" in refusal(capsys, docs, "--only", "class-only")
    (docs / "fidelity.md").write_text("no blocks")
    assert "fidelity.md has no block 'targets'" in refusal(capsys, docs, "--only", "docs")
    assert not (referenced.settings.assets_dir / "welcome").exists()


@pytest.mark.parametrize("step", ["regions", "experiment", "screenshots"])
def test_what_runs_beside_it_is_of_the_same_checkpoint_and_device(step, tmp_path, monkeypatch):
    calls = []

    def run_script(command, **how):
        calls.append((command, how["env"]))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(release.subprocess, "run", run_script)
    monkeypatch.setattr(release, "PROJECT_ROOT", tmp_path)
    (tmp_path / "docs" / "screenshots").mkdir(parents=True)
    monkeypatch.setenv("MEDI_CHECKPOINT", "another")
    folder = tmp_path / "tiny"
    services = SimpleNamespace(
        settings=Settings(device="cuda:1", dtype="float16", assets_dir=tmp_path / "assets"),
        checkpoint=SimpleNamespace(folder=folder, id="tiny@000000000000"),
    )
    places = SimpleNamespace(assets=tmp_path, fidelity=tmp_path / "f.md", experiment=tmp_path / "e.md")
    release._MAKERS[step](SimpleNamespace(manifest=tmp_path / "tiles.csv", regions=1), services, places)
    ((_, environment),) = calls
    assert environment["MEDI_CHECKPOINT"] == str(folder)
    assert (environment["MEDI_DEVICE"], environment["MEDI_DTYPE"]) == ("cuda:1", "float16")
    assert environment["MEDI_ASSETS_DIR"] == str(tmp_path / "assets")
    if step == "screenshots":
        assert "tiny@000000000000" in (tmp_path / "docs" / "screenshots" / "checkpoint.txt").read_text()


def test_what_is_made_from_a_new_set_is_made_anew_though_the_checkpoint_is_the_same(monkeypatch):
    made = []
    makers = {step: lambda *_, step=step: made.append(step) for step in STEPS}
    monkeypatch.setattr(release, "_MAKERS", makers)
    monkeypatch.setattr(release, "_is_done", lambda step, *_: step != "reference")
    monkeypatch.setattr("medi_core.services.release.artefacts", lambda *_: [])
    flags = SimpleNamespace(
        only=["welcome", "reference", "docs", "experiment"],
        manifest="tiles.csv",
        class_only=None,
        again=False,
        json=True,
    )
    flags.with_experiment = flags.with_screenshots = False
    release._run(flags, SimpleNamespace(checkpoint=SimpleNamespace(id="tiny@000000000000")), None)
    assert made == ["reference", "docs", "experiment"]


def test_the_page_about_it_names_every_step():
    page = (PROJECT_ROOT / "docs" / "release.md").read_text()
    assert [step for step in STEPS if f"| {step} |" not in page] == []
    assert "python -m medi_core release --list" in page
