"""Review: a reader judges tiles without knowing what they are; an admin makes studies and reads their results.

The reader's page is one component. Its script (review_reader.js) calls four functions of the server and shows what they
answer; an answer counts once the server has said so. None of them is an endpoint of the app's API.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from medi_core.errors import InvalidRequestError, MediError
from medi_core.services.review import Credentials, ReviewService
from medi_core.ui.review_admin import build_review_admin
from medi_core.ui.shared import Shared

SCRIPT = Path(__file__).with_name("review_reader.js")


def build_review_tab(shared: Shared) -> None:
    """The reader's page, and the admin's below it."""
    build_reader(shared.services.review)
    with gr.Accordion("For the administrator of a study", open=False, elem_id="review-admin"):
        build_review_admin(shared)


def build_reader(service: ReviewService) -> gr.HTML:
    """The reader's page; it starts when it comes into sight."""

    @_spoken
    def review_describe(given: dict) -> dict:
        return service.describe(_text(given, "study"))

    @_spoken
    def review_join(given: dict) -> dict:
        service.join(_credentials(given), given.get("years"), _text(given, "speciality"))
        return {}

    @_spoken
    def review_step(given: dict) -> dict:
        return service.step(_credentials(given), given.get("place"))

    @_spoken
    def review_answer(given: dict) -> dict:
        question = (_text(given, name) for name in ("item", "task"))
        return service.answer(_credentials(given), *question, given.get("value"))

    return gr.HTML(
        "",
        html_template='<div class="medi-review"></div>',
        js_on_load=SCRIPT.read_text(encoding="utf-8"),
        server_functions=[review_describe, review_join, review_step, review_answer],
        elem_id="review-reader",
        apply_default_css=False,
    )


def _spoken(answer: Callable[[dict], dict]) -> Callable[[Any], dict]:
    """An error for the user as `{"error": …}`; anything else is a bug, and the page tries again."""

    @functools.wraps(answer)
    def wrapped(given):
        try:
            if not isinstance(given, dict):
                raise InvalidRequestError("this is no question of the review page: reload it")
            return answer(given)
        except MediError as error:
            return {"error": str(error)}

    return wrapped


def _credentials(given: dict) -> Credentials:
    return Credentials(*(_text(given, name) for name in ("study", "reader", "code")))


def _text(given: dict, name: str) -> str:
    value = given.get(name)
    return value if isinstance(value, str) else ""
