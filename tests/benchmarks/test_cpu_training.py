"""Minutes of processor time: what counts, when snapshots are made, stopping and going on."""

import time
from dataclasses import replace

import pytest
from accelerate import Accelerator

from benchmarks import cpu_training
from benchmarks.cpu_training import CpuClock, pending, snapshot_folder, snapshots, train
from medi_core.data.manifest import read_manifest
from medi_core.errors import CheckpointError
from medi_core.training.run import load_dataset
from medi_core.training.train_diffusion import DiffusionTraining
from tests.toy_training import TINY_CONFIG

CONFIG = replace(TINY_CONFIG, num_steps=1000)
pytestmark = pytest.mark.usefixtures("fresh_accelerator")


class FakeTime:
    """A minute of processor time passes at every look."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def process_time(self) -> float:
        self.seconds += 60.0
        return self.seconds


@pytest.fixture
def start(toy_manifest):
    dataset = load_dataset(read_manifest(toy_manifest), "train", CONFIG)
    return lambda **changes: DiffusionTraining(
        replace(CONFIG, **changes), dataset, Accelerator(cpu=True, mixed_precision="no")
    )


@pytest.fixture
def written(monkeypatch):
    """Snapshots noted as (name, record); a minute passes at every look at the clock."""
    monkeypatch.setattr(cpu_training, "time", FakeTime())
    notes = []

    def write(folder, record):
        folder.mkdir()
        notes.append((folder.name, record))

    write.notes = notes
    return write


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_work_counts_and_waiting_and_pauses_do_not():
    clock = CpuClock(2.0)
    burn(0.06)
    time.sleep(0.3)
    with clock.paused():
        burn(0.3)
    assert 0.06 <= (clock.minutes - 2.0) * 60 < 0.25


def test_snapshots_are_listed_by_their_minutes_and_unfinished_ones_are_not(tmp_path):
    for minutes in (10, 5, 40, 2.5):
        snapshot_folder(tmp_path, minutes).mkdir()
    (tmp_path / f"{snapshot_folder(tmp_path, 20).name}.tmp").mkdir()
    snapshot_folder(tmp_path, 5).with_name(f"{snapshot_folder(tmp_path, 5).name}.kid.json").write_text("{}")
    assert snapshots(tmp_path) == [snapshot_folder(tmp_path, minutes) for minutes in (2.5, 5, 10, 40)]
    assert pending(tmp_path, [40, 20, 5, 80]) == [20, 80]


def test_a_training_stops_with_its_last_snapshot(start, written, tmp_path):
    train(start(), tmp_path / "ours", [6, 3], None, written)
    names, records = zip(*written.notes, strict=True)
    assert names == (snapshot_folder(tmp_path, 3).name, snapshot_folder(tmp_path, 6).name)
    assert 3 <= records[0]["minutes"] < 6 <= records[1]["minutes"]
    assert records[0]["tiles_seen"] == records[0]["step"] * CONFIG.global_batch < records[1]["tiles_seen"]
    assert records[0]["parameters"] > 1000
    assert records[0]["forward_flops"] > 1000


def test_a_training_in_pieces_makes_the_same_snapshots(start, written, tmp_path):
    folder = tmp_path / "ours"
    train(start(), folder, [3, 9], 4, written)
    assert pending(folder, [3, 9]) == [9]
    second = start()
    train(second, folder, [3, 9], None, written)
    assert [name for name, _ in written.notes] == [snapshot_folder(folder, m).name for m in (3, 9)]
    assert written.notes[1][1]["step"] > written.notes[0][1]["step"]
    train(start(), folder, [3, 9], None, written)  # nothing is left to do
    assert len(written.notes) == 2


def test_other_settings_are_named_and_refused(start, written, tmp_path):
    train(start(), tmp_path / "ours", [3], None, written)
    with pytest.raises(CheckpointError, match=r"global_batch: 4, now 2.*another --work"):
        train(start(global_batch=2), tmp_path / "ours", [3, 6], None, written)
