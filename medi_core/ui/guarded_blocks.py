"""Gradio's Blocks with an edge: a bug becomes one sentence, a full queue says so politely, a session stays small."""

import json
import logging
import time
from typing import Any

import gradio as gr
from gradio.blocks import BlocksConfig
from gradio.processing_utils import add_root_url
from gradio.queueing import Queue
from gradio_client.utils import is_file_obj_with_meta

from medi_core.ui.uploads import uploaded_path
from medi_core.web.logs import log, log_fault

MAX_WAITING = 40
"""Runs that wait for the same device; whoever comes next is asked to come again."""
MAX_WAITING_OF_SESSION = 8
"""Runs of one session among them, so that one visitor does not fill it."""
MAX_WAITING_OF_MCP = MAX_WAITING // 2
"""Of all MCP clients together: Gradio runs their calls in one session of its own."""
MAX_WAITING_OF_ADDRESS = MAX_WAITING // 2
"""Of one address, for whoever calls as ever new sessions, or as none."""
MAX_MESSAGE_CHARS = 1000
BUG = (
    "Something went wrong here, and was noted. Try again; if it happens again, download what you need before you "
    "reload the page."
)


class GuardedBlocks(gr.Blocks):
    """What every event of the app runs through."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.default_config = _AppConfig(self)  # nothing is in it yet

    @property
    def mcp_server_obj(self) -> Any:
        """Gradio's MCP server, once there is one: it makes it with the routes."""
        return self._mcp_server

    @mcp_server_obj.setter
    def mcp_server_obj(self, server: Any) -> None:
        self._mcp_server = server
        if server is not None:
            answer_in_json(server)

    def queue(self, *args: Any, **kwargs: Any) -> "GuardedBlocks":
        """As Gradio's, but full only for those who wait for the same thing."""
        super().queue(*args, **kwargs)
        made = self._queue
        self._queue = WaitingRoom(
            live_updates=made.live_updates,
            concurrency_count=made.max_thread_count,
            update_intervals=made.update_intervals,
            max_size=None,
            blocks=self,
            default_concurrency_limit=made.default_concurrency_limit,
        )
        return self

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run an event. What goes wrong reaches the visitor as one sentence, and the log without its values.

        Raises:
            gr.Error: whatever went wrong.
        """
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        name, start, outcome = function.api_name or function.name, time.monotonic(), "cancelled"
        try:
            _check(function, inputs)
            answer = await super().process_api(function, inputs, *args, **kwargs)
            outcome = "done" if not answer["is_generating"] else ""
            return answer
        except gr.Error as error:  # for the visitor: no traceback in the log either
            error.print_exception, error.message, outcome = False, _readable(str(error.message)), "refused"
            raise
        except Exception as error:
            outcome = "failed"
            log_fault("bug", error, run=name)
            raise gr.Error(BUG, print_exception=False) from None
        finally:
            if outcome:
                passed = round((time.monotonic() - start) * 1000)  # each step of a streamed run comes here anew
                log(logging.INFO, "run", name=name, outcome=outcome, last_step_ms=passed)

    def occupancy(self) -> dict[str, int]:
        """Runs waiting and running now."""
        return {"waiting": len(self._queue), "running": self._queue.get_active_worker_count()}

    def is_answering(self) -> bool:
        """Whether somebody still waits for an answer, or for one to be fetched by his page."""
        return any(self.occupancy().values()) or any(self._queue.pending_event_ids_session.values())


class WaitingRoom(Queue):
    """Gradio's queue, whose limit counts all events: a full one for the model would stop the map as well."""

    async def push(self, body: Any, request: Any, username: str | None) -> Any:
        """Take a run in, or say politely why not (the route answers 503)."""
        waiting = self._waiting_with(body)
        own = sum(event.session_hash == body.session_hash for event in waiting)
        near = sum(_address(event.request) == _address(request) for event in waiting)
        is_mcp = self._is_mcp(body.session_hash)
        if len(waiting) >= MAX_WAITING:
            text = f"The queue is full: {len(waiting)} runs are waiting. Nothing is lost; please try again in a minute."
            return False, text, "queue_full"
        if body.session_hash and own >= (MAX_WAITING_OF_MCP if is_mcp else MAX_WAITING_OF_SESSION):
            whose = "MCP clients" if is_mcp else "yours"
            return False, f"{own} runs of {whose} are waiting already: let them finish first.", "queue_full"
        if near >= MAX_WAITING_OF_ADDRESS and not is_mcp:
            text = f"{near} runs from your network are waiting already: please try again in a minute."
            return False, text, "queue_full"
        return await super().push(body, request, username)

    def compute_analytics_summary(self, records: Any) -> dict[str, Any]:  # noqa: ARG002  as Gradio calls it
        """None: Gradio would make a table of the last 10,000 events after each one, for a page that is off."""
        return self.cached_event_analytics_summary

    def _is_mcp(self, session_hash: str | None) -> bool:
        """Whether this is the session of Gradio's MCP server, whose name never leaves it."""
        client = getattr(self.blocks.mcp_server_obj, "_client_instance", None)
        return client is not None and client.session_hash == session_hash

    def _waiting_with(self, body: Any) -> list[Any]:
        function = self.blocks.fns.get(body.fn_index)
        queue = self.event_queue_per_concurrency_id.get(getattr(function, "concurrency_id", None))
        return list(queue.queue) if queue else []


def answer_in_json(server: Any) -> None:
    """What is neither a text nor a file reaches MCP clients as JSON; Gradio would send it as Python writes it."""
    as_content = server.postprocess_output_data

    def in_json(data: list[Any], root_url: str) -> list[Any]:
        linked = add_root_url(data, root_url, None)  # files within an answer get whole addresses before it is text
        return as_content([_as_text(answer) for answer in linked], root_url)

    server.postprocess_output_data = in_json


def _as_text(answer: Any) -> Any:
    is_ready = isinstance(answer, str) or is_file_obj_with_meta(answer)
    return answer if is_ready else json.dumps(answer, ensure_ascii=False)


def _address(request: Any) -> str | None:
    return request.client.host if request.client else None


class _AppConfig(BlocksConfig):
    """Components and events of the app; each session begins with a copy."""

    def __copy__(self) -> BlocksConfig:
        new = super().__copy__()
        new.__class__ = _SessionConfig
        return new


class _SessionConfig(BlocksConfig):
    """What a session has of them. Gradio would also keep a description of every component and all that was shown in it,
    for links that this app does not offer: 80 ms for each new session, and megabytes once it has seen figures.
    """

    @staticmethod
    def config_for_block(*_: Any) -> dict[str, Any]:
        """Nothing."""
        return {}


def _readable(message: str) -> str:
    """Messages quote what was given: not all of it, where that is a book, and as characters that can be sent."""
    text = message.encode("utf-8", "replace").decode()
    half = MAX_MESSAGE_CHARS // 2
    return text if len(text) <= MAX_MESSAGE_CHARS else f"{text[:half]} … {text[-half:]}"


def _check(function: Any, inputs: list[Any]) -> None:
    """As many inputs as the function takes, and no file but an uploaded one: Gradio would copy or fetch it first."""
    if len(inputs) < len(function.inputs):
        raise gr.Error(f"this takes {len(function.inputs)} values, and {len(inputs)} were given")
    todo = list(inputs)
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo.extend(item)
        elif isinstance(item, dict):
            if "meta" in item and "path" in item and uploaded_path(item["path"]) is None:
                raise gr.Error("a file is named that was not uploaded: upload it first (gradio_client: handle_file)")
            todo.extend(item.values())
