"""Memory of a process and its descendants, on a made-up /proc and on this process."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.memory import PROC, MemoryWatch, highest_mb, resident_mb


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """App 10 with child 11 and grandchild 12; 20 is a stranger, 13 a process without memory, 14 has just ended."""
    for pid, parent, memory in ((10, 1, 500), (11, 10, 200), (12, 11, 30), (13, 10, None), (20, 1, 4000)):
        (tmp_path / str(pid)).mkdir()
        kilobytes = "" if memory is None else f"VmHWM:\t  {2 * memory * 1000} kB\nVmRSS:\t  {memory * 1000} kB\n"
        (tmp_path / str(pid) / "status").write_text(f"Name:\tpython\nPid:\t{pid}\nPPid:\t{parent}\n{kilobytes}")
    (tmp_path / "14").mkdir()
    return tmp_path


def test_children_and_grandchildren_count_and_strangers_do_not(proc):
    assert resident_mb(10, proc) == 730
    assert highest_mb(10, proc) == 1460
    assert resident_mb(12, proc) == 30


def test_a_process_that_is_gone_has_no_memory(proc):
    assert resident_mb(99, proc) == 0


@pytest.mark.skipif(not PROC.exists(), reason="needs Linux")
def test_a_watch_sees_memory_that_was_given_back():
    before = resident_mb(os.getpid())
    with MemoryWatch(os.getpid()) as watch:
        block = np.ones(60_000_000, dtype=np.uint8)
        while watch.highest_mb < before + 50:  # the test's own time limit ends it
            assert block[-1] == 1
        del block
    assert watch.highest_mb >= before + 50
    assert highest_mb(os.getpid()) >= watch.highest_mb - 1
