"""When a training saves and when it ends: what the commands that train for long share."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Step(Protocol):
    """What a training reports of a step."""

    @property
    def step(self) -> int:
        """Steps made so far."""


S = TypeVar("S", bound=Step)


@dataclass(frozen=True)
class Save(Generic[S]):
    """Now the training is to be saved."""

    steps: list[S]
    """Since the last save."""
    minutes: float
    """Since the loop began."""
    seconds: float
    """Since the last save."""


def save_points(
    steps: Iterable[S],
    num_steps: int,
    minutes: float | None,
    save_every_minutes: float,
    on_step: Callable[[S], None],
    any_process: Callable[[bool], bool] = lambda flag: flag,
) -> Iterator[Save[S]]:
    """Advance a training, and yield when it is to be saved: every so many minutes and at its end.

    It ends at `num_steps`, after `minutes` of wall-clock time, or on SIGTERM or Ctrl-C, after the step under way.

    Args:
        steps: a report a step.
        on_step: called with each.
        any_process: whether it is true in any process: all must end at the same step.
    """
    started = last_save = time.monotonic()
    since: list[S] = []
    with stop_on_sigterm() as is_stopped:
        for step in steps:
            since.append(step)
            on_step(step)
            now = time.monotonic()
            is_over = is_stopped() or (minutes is not None and now - started >= 60 * minutes)
            is_last = step.step >= num_steps or any_process(is_over)
            if is_last or now - last_save >= 60 * save_every_minutes:
                yield Save(since, (now - started) / 60, now - last_save)
                since, last_save = [], now
            if is_last:
                return


@contextmanager
def stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM and Ctrl-C into a flag, so that the step under way is finished and saved."""
    received: list[int] = []
    previous = {s: signal.signal(s, lambda number, _: received.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
