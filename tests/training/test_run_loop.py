"""A long training is saved in time and ends when it should."""

import os
import signal
from dataclasses import dataclass

import pytest

from medi_core.training import run_loop
from medi_core.training.run_loop import save_points


@dataclass(frozen=True)
class Report:
    step: int


@pytest.fixture
def clock(monkeypatch):
    """Each look at it is a minute after the one before: a step takes a minute."""
    minutes = iter(range(1000))
    monkeypatch.setattr(run_loop.time, "monotonic", lambda: 60.0 * next(minutes))


def reports(num: int = 100):
    return (Report(step) for step in range(1, num + 1))


def numbers(saves) -> list[list[int]]:
    return [[report.step for report in save.steps] for save in saves]


def test_every_step_is_in_one_save_and_the_last_is_saved(clock):
    told = []
    assert numbers(save_points(reports(), 5, None, 2, told.append)) == [[1, 2], [3, 4], [5]]
    assert [report.step for report in told] == [1, 2, 3, 4, 5]


def test_it_ends_after_the_minutes_and_says_how_long_it_took(clock):
    saves = list(save_points(reports(), 100, 3, 2, lambda _: None))
    assert numbers(saves) == [[1, 2], [3]]
    assert [save.minutes for save in saves] == [2, 3]
    assert [save.seconds for save in saves] == [120, 60]


def test_all_processes_end_when_one_does(clock):
    flags = []
    saves = save_points(reports(), 100, None, 50, lambda _: None, lambda flag: flags.append(flag) or len(flags) == 4)
    assert numbers(saves) == [[1, 2, 3, 4]]
    assert flags == [False] * 4


def test_sigterm_ends_it_after_the_step_and_is_as_before_then(clock):
    before = signal.getsignal(signal.SIGTERM)

    def stop(report: Report) -> None:
        if report.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    assert numbers(save_points(reports(), 100, None, 50, stop)) == [[1, 2, 3]]
    assert signal.getsignal(signal.SIGTERM) == before


def test_where_nothing_is_to_be_done_nothing_is_saved(clock):
    assert list(save_points(iter(()), 100, None, 50, lambda _: None)) == []
