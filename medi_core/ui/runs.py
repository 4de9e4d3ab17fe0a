"""A run that takes a while: waiting, progress, cancel. The same in every tab."""

import threading
from collections.abc import Callable, Iterator, Sequence

import gradio as gr
from gradio.context import LocalContext

from medi_core.ui.shared import GPU_QUEUE, RUNS_AT_ONCE

WAITING = "Waiting for your turn …"
CANCELLED = "Cancelled; what is shown is unfinished."


class RunStop(threading.Event):
    """Ends a run."""

    said = CANCELLED
    """What its status says then."""

    def end(self, said: str) -> None:
        """End it, because something else takes its place."""
        self.said = said
        self.set()


def wire_run(
    start: gr.Button,
    cancel: gr.Button,
    status: gr.HTML,
    run: Callable,
    inputs: Sequence[gr.components.Component],
    outputs: Sequence[gr.components.Component],
    shown: gr.components.Component,
    prepare: tuple[Callable, Sequence[gr.components.Component], Sequence[gr.components.Component]] | None = None,
    queue: str = GPU_QUEUE,
) -> gr.State:
    """While `run` is queued or running, `start` is off and `cancel` is on.

    Args:
        run: a generator handler whose first output is `status`; of the model's queue a few at a time, of any other one.
        shown: the output that carries the queue position and is scrolled to.
        prepare: (handler, inputs, outputs) to finish before `run` reads its inputs.
        queue: what it waits for: the model, unless it does without.

    Returns:
        Holds the `RunStop` of the run that was started last, or `None`.
    """
    private = {"api_visibility": "private", "show_progress": "hidden"}
    stop = gr.State(None)  # the run's own event: Gradio's `cancels` would also take the next run, if it starts at once

    def on_start():
        return WAITING, gr.update(interactive=False), gr.update(interactive=True), RunStop()

    def until_stopped(stop: RunStop, *values) -> Iterator:
        updates = run(*values)
        try:
            for update in updates:
                if stop.is_set():
                    yield stop.said, *[gr.skip()] * (len(outputs) - 1)
                    return
                yield update
        finally:
            updates.close()

    waiting = start.click(on_start, None, [status, start, cancel, stop], queue=False, **private)
    if prepare is not None:
        handler, needs, gives = prepare
        waiting = waiting.then(handler, list(needs), list(gives), queue=False, **private)
    job = waiting.then(
        until_stopped,
        [stop, *inputs],
        list(outputs),
        concurrency_id=queue,
        concurrency_limit=RUNS_AT_ONCE if queue == GPU_QUEUE else 1,
        show_progress="minimal",
        show_progress_on=shown,
        scroll_to_output=True,  # on a phone the result is not where the button is
        api_visibility="private",
    )
    idle = (gr.update(interactive=True), gr.update(interactive=False))
    job.success(lambda: idle, None, [start, cancel], queue=False, **private)
    # the error has its own message
    job.failure(lambda: ("", *idle), None, [status, start, cancel], queue=False, **private)
    cancel.click(_set, stop, cancel, queue=False, **private)
    return stop


def stop_when_gone() -> Callable[[object], None]:
    """For `on_progress` of a run that answers once, at its end: it ends the run when the client has left.

    A run that yields is closed by Gradio; of any other one it only forgets the answer. Call it in the handler's thread.
    """
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = blocks._queue.event_ids_to_events.get(event_id) if blocks else None

    def check(_: object) -> None:
        if event is not None and not event.alive:
            raise gr.Error("the client has left", print_exception=False)

    return check


def _set(stop: RunStop):
    stop.set()
    return gr.update(interactive=False)
