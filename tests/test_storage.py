"""Which folders would lose what is written to them. Run: pytest tests/test_storage.py"""

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from medi_core.storage import volatile_reason, whole_file

MOUNTS = """overlay / overlay rw 0 0
/dev/sda1 /data ext4 rw 0 0
tmpfs /data/memory tmpfs rw 0 0
/dev/sdb1 /home ext4 rw 0 0
"""


@pytest.fixture
def mounts(tmp_path) -> Path:
    path = tmp_path / "mounts"
    path.write_text(MOUNTS)
    return path


@pytest.mark.parametrize(("folder", "kind"), [("/data/memory/x", "tmpfs"), ("/app/data", "overlay")])
def test_memory_and_a_containers_own_layer_are_lost(mounts, folder, kind):
    assert f"it lies on {kind}" in volatile_reason(Path(folder), mounts)


@pytest.mark.parametrize("folder", ["/data", "/data/review", "/home/ann/.local/share/medi-explorer"])
def test_a_mounted_disk_is_kept(mounts, folder):
    assert volatile_reason(Path(folder), mounts) is None


def test_the_temporary_folder_is_lost_and_without_a_table_of_mounts_nothing_is_said(tmp_path):
    assert "temporary" in volatile_reason(Path(tempfile.gettempdir()) / "x", tmp_path / "none")
    assert volatile_reason(Path("/data"), tmp_path / "none") is None


def test_a_file_is_whole_or_as_it_was_and_two_writers_do_not_share_one(tmp_path):
    path = tmp_path / "a.txt"
    with whole_file(path) as first, whole_file(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first", "the last one to end"
    with suppress(KeyboardInterrupt), whole_file(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
