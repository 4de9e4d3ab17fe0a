"""`generate-dataset` in a process of its own: killed or interrupted, the same command goes on and ends the same."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medi_core.cli import main
from medi_core.metadata.schema import MetadataRecord
from medi_core.planning.plan import AugmentationPlan, PlannedCell, write_plan
from medi_core.services.dataset_generation import DatasetOptions
from tests.toy_classifier import save_toy_classifier

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plan(tiny_services, tmp_path) -> AugmentationPlan:
    """16 tiles in 8 shards, slow enough to be interrupted; beside it a checkpoint and a classifier."""
    save_toy_classifier(tiny_services.settings.classifier_dir)
    cell = PlannedCell(MetadataRecord(center="Lyon"), 1, 1, 1, 1, None, 16)
    made = AugmentationPlan(tiny_services.checkpoint.id, ("center",), {}, (cell,), num_inference_steps=40)
    write_plan(made, tmp_path / "plan.json")
    return made


def start(tiny_services, tmp_path: Path) -> subprocess.Popen:
    settings = tiny_services.settings
    command = [sys.executable, "-m", "medi_core", "generate-dataset", str(tmp_path / "plan.json")]
    command += ["--out", str(tmp_path / "set"), "--shard-size", "2", "--device", "cpu", "--dtype", "float32"]
    places = {"MEDI_CHECKPOINT": str(settings.checkpoints_dir / "tiny"), "MEDI_DATA_DIR": str(settings.data_dir)}
    places |= {"MEDI_CLASSIFIER": str(settings.classifier_dir), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | places, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def digests(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*.*") if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(tiny_services, plan, tmp_path, how, code):
    running = start(tiny_services, tmp_path)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "set").glob("records/*.json"))) < 2:
        assert running.poll() is None, running.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(how)
    _, said = running.communicate(timeout=60)
    assert running.returncode == code
    assert not (tmp_path / "set" / "manifest.csv").exists(), "stopped before its end"
    if how == signal.SIGINT:
        assert f"the same command goes on with what is in {tmp_path / 'set'}" in said
    again = start(tiny_services, tmp_path)
    answer, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert "of 8 shards were there" in said
    assert "16 of 16 planned tiles in 8 shards" in answer
    tiny_services.datasets.run(plan, tmp_path / "whole", DatasetOptions(shard_size=2))
    assert digests(tmp_path / "set") == digests(tmp_path / "whole")


def test_a_plan_that_is_none_is_one_line_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "plan.json").write_text("[]")
    assert main(["generate-dataset", str(tmp_path / "plan.json"), "--out", str(tmp_path / "set")]) == 2
    said = capsys.readouterr().err
    assert "this is no plan of format 1" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "set").exists()
