"""A run that takes a while: waiting, progress, cancel. The same in every tab."""

from collections.abc import Callable, Sequence

import gradio as gr

from medi_core.ui.shared import GPU_QUEUE

WAITING = "Waiting for your turn …"
CANCELLED = "Cancelled; what is shown is unfinished."


def wire_run(
    start: gr.Button,
    cancel: gr.Button,
    status: gr.HTML,
    run: Callable,
    inputs: Sequence[gr.components.Component],
    outputs: Sequence[gr.components.Component],
    shown: gr.components.Component,
    prepare: tuple[Callable, Sequence[gr.components.Component], Sequence[gr.components.Component]] | None = None,
) -> None:
    """While `run` is queued or running, `start` is off and `cancel` is on.

    Args:
        run: a generator handler; one at a time on the device.
        shown: the output that carries the queue position and is scrolled to.
        prepare: (handler, inputs, outputs) to finish before `run` reads its inputs.
    """
    private = {"api_visibility": "private", "show_progress": "hidden"}
    busy = (WAITING, gr.update(interactive=False), gr.update(interactive=True))
    idle = (gr.update(interactive=True), gr.update(interactive=False))
    waiting = start.click(lambda: busy, None, [status, start, cancel], queue=False, **private)
    if prepare is not None:
        handler, needs, gives = prepare
        waiting = waiting.then(handler, list(needs), list(gives), queue=False, **private)
    job = waiting.then(
        run,
        list(inputs),
        list(outputs),
        concurrency_id=GPU_QUEUE,
        concurrency_limit=1,
        show_progress="minimal",
        show_progress_on=shown,
        scroll_to_output=True,  # on a phone the result is not where the button is
        api_visibility="private",
    )
    job.then(lambda: idle, None, [start, cancel], queue=False, **private)
    # an error has its own message; a cancelled run counts as failed, too, and keeps what it says
    job.failure(lambda now: now if now == CANCELLED else "", status, status, queue=False, **private)
    cancel.click(lambda: (CANCELLED, *idle), None, [status, start, cancel], cancels=[job], queue=False, **private)
