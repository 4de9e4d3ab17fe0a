"""A function that reports by callback, as an iterator. Run: pytest tests/services"""

import threading
import time

import pytest

from medi_core.errors import UnknownValueError
from medi_core.services.streaming import stream

PATIENCE = 10.0
"""Seconds after which a test gives up; none should come near."""


def count_to(num: int):
    def run(emit):
        for i in range(num):
            emit(i)
        return "done"

    return run


def test_events_come_in_order_and_the_result_last():
    assert list(stream(count_to(100))) == [*range(100), "done"]


def test_a_function_that_reports_nothing_gives_its_result():
    assert list(stream(count_to(0))) == ["done"]


def test_an_event_comes_while_the_function_still_runs():
    go_on = threading.Event()

    def run(emit):
        emit("waiting")
        assert go_on.wait(PATIENCE)
        return "done"

    events = stream(run)
    assert next(events) == "waiting"
    go_on.set()
    assert list(events) == ["done"]


@pytest.mark.parametrize("error", [UnknownValueError("center='X'"), ZeroDivisionError("0"), KeyboardInterrupt()])
def test_an_error_reaches_the_caller_as_it_was_raised_after_the_events_before_it(error):
    def run(emit):
        emit(1)
        raise error

    seen = []
    with pytest.raises(type(error)) as caught:
        seen.extend(iter(stream(run)))
    assert caught.value is error
    assert "run" in [entry.name for entry in caught.traceback]


def test_nothing_runs_before_the_first_event_is_asked_for():
    started = []
    stream(lambda emit: started.append(1))
    assert started == []


def test_closing_ends_the_function_at_its_next_event_and_waits_for_that():
    emitted, left = [], threading.Event()

    def run(emit):
        try:
            for i in range(1_000_000):
                emit(i)
                emitted.append(i)
                time.sleep(0.001)
        finally:
            left.set()

    events = stream(run)
    next(events)
    events.close()
    assert left.is_set()
    num = len(emitted)
    time.sleep(0.01)
    assert len(emitted) == num < 1_000_000


def test_leaving_a_loop_is_closing():
    left = threading.Event()

    def run(emit):
        try:
            while True:
                emit(0)
                time.sleep(0.001)
        finally:
            left.set()

    for _ in stream(run):
        break
    assert left.wait(PATIENCE)


def test_two_streams_at_once_do_not_mix():
    first, second = stream(count_to(50)), stream(lambda emit: [emit("a"), emit("b")] and "end")
    mixed = [next(first), next(second), next(first), next(second)]
    assert mixed == [0, "a", 1, "b"]
    assert list(first)[-1] == "done"
    assert list(second) == ["end"]
