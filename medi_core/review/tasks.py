"""The questions of a study, and what counts as an answer to each. Knows no tile and no reader."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from medi_core.errors import InvalidRequestError

ORIGIN, REALISM, CANCER_TYPE = "origin", "realism", "cancer_type"
MORPHOLOGY, ARTEFACTS, COMMENT, CENTER_PAIR = "morphology", "artefacts", "comment", "center_pair"
SCALE = (1, 2, 3, 4, 5)
_TRUTH = {ORIGIN: "origin", CANCER_TYPE: "cancer_type", CENTER_PAIR: "side"}
"""Task → the fact of an item that answers it."""
MAX_MARKS = 50
MAX_COMMENT = 2000

Prompt = Mapping[str, Any]
"""What a question about an item says beyond its pixels: `options`, and for pairs the `center` and its `examples`."""
EXAMPLES_OF = {
    "real": "Examples from {center}, of other patients",
    "synthetic": "Examples of {center}: synthetic, made by the model",
}
"""Kind of the examples → what stands above them."""


@dataclass(frozen=True)
class Task:
    """One question."""

    name: str
    label: str
    """In the list of an admin."""
    question: str
    """What a reader is asked; `{center}` and `{cancer_type}` are filled in."""
    form: str
    """How it is answered: origin, scale, choice, several, marks, text or side."""
    check: Callable[[Any, Sequence[str]], bool]
    """(answer, options) → whether it is one."""
    of_pairs: bool = False
    """Asked of two tiles side by side."""
    needs_real: bool = False
    """Makes no sense where every tile is synthetic."""


def _is_scale(value: Any, _options: Sequence[str] = ()) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in SCALE


def _is_origin(value: Any, _options: Sequence[str]) -> bool:
    is_whole = isinstance(value, dict) and value.keys() == {"choice", "confidence"}
    return is_whole and value["choice"] in ("real", "synthetic") and _is_scale(value["confidence"])


def _is_option(value: Any, options: Sequence[str]) -> bool:
    return isinstance(value, str) and value in options


def _are_options(value: Any, options: Sequence[str]) -> bool:
    if not isinstance(value, list) or not all(_is_option(v, options) for v in value):
        return False
    return len(set(value)) == len(value)


def _are_marks(value: Any, _options: Sequence[str]) -> bool:
    return isinstance(value, list) and len(value) <= MAX_MARKS and all(map(_is_mark, value))


def _is_mark(value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2
    return is_pair and all(isinstance(v, Real) and not isinstance(v, bool) and 0 <= v <= 1 for v in value)


def _is_text(value: Any, _options: Sequence[str]) -> bool:
    return isinstance(value, str) and len(value) <= MAX_COMMENT and _is_unicode(value)


def _is_unicode(text: str) -> bool:
    """Whether it can be written to a file: half of a surrogate pair cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            ORIGIN,
            "Real or synthetic, with confidence",
            "Is this tile real or synthetic?",
            "origin",
            _is_origin,
            needs_real=True,
        ),
        Task(REALISM, "Realism, 1 to 5", "How realistic does this tile look?", "scale", _is_scale),
        Task(CANCER_TYPE, "Which cancer type", "Which cancer type is this?", "choice", _is_option),
        Task(
            MORPHOLOGY,
            "Morphology checklist by cancer type",
            "{cancer_type}: what do you see?",
            "several",
            _are_options,
        ),
        Task(ARTEFACTS, "Mark artefacts", "Tap whatever looks wrong. Nothing wrong? Go on.", "marks", _are_marks),
        Task(COMMENT, "Free text", "Anything to add? (optional)", "text", _is_text),
        Task(CENTER_PAIR, "Which of two tiles is from a center", "Which is from {center}?", "side", _is_option, True),
    )
}
"""In the order in which a reader is asked."""


def check_answer(task: str, value: Any, options: Sequence[str]) -> None:
    """Refuse what is no answer to the task.

    Raises:
        InvalidRequestError: naming the task.
    """
    if task not in TASKS:
        raise InvalidRequestError(f"task = {task!r}: it must be one of {', '.join(TASKS)}")
    if not TASKS[task].check(value, options):
        raise InvalidRequestError(f"this is no answer to {TASKS[task].label!r}; nothing was stored: answer again")


def truth_of(task: str, facts: Mapping[str, Any]) -> str | None:
    """The right answer where a question has one."""
    return facts[_TRUTH[task]] if task in _TRUTH else None


def is_right(task: str, value: Any, facts: Mapping[str, Any]) -> bool | None:
    """Whether an answer is right; `None` where the question has no right answer."""
    truth = truth_of(task, facts)
    return None if truth is None else (value["choice"] if task == ORIGIN else value) == truth
