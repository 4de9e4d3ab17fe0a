"""Turn a function that reports by callback into an iterator, so that a caller can show, and cancel."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
Event = TypeVar("Event")


class _CancelledError(Exception):
    """Raised inside the function's own callback when nobody listens any more."""


def stream(run: Callable[[Callable[[Event], None]], T]) -> Iterator[Event | T]:
    """Yield what `run` emits while it runs, then what it returns.

    Closing the iterator (a user who cancels or leaves) ends `run` at its next emit.

    Args:
        run: called with `emit` in a thread of its own.
    """
    events: queue.Queue[tuple[str, object]] = queue.Queue()
    is_cancelled = threading.Event()

    def emit(event: Event) -> None:
        if is_cancelled.is_set():
            raise _CancelledError
        events.put(("event", event))

    def work() -> None:
        try:
            events.put(("result", run(emit)))
        except _CancelledError:
            pass
        except BaseException as error:  # handed to the caller's thread, where it is raised again
            events.put(("error", error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = events.get()
            if kind == "error":
                raise value
            yield value
            if kind == "result":
                return
    finally:
        is_cancelled.set()
        thread.join()
