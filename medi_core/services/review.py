"""A reader's way through a study: join, resume, one question at a time, back. Knows no origin and no widget.

Nothing of a session is kept here: every call names the reader and his code, so that a restart of the server, another
device or a second window lose nothing, and no reader can see another one's state.
"""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Any

from medi_core.errors import InvalidRequestError
from medi_core.review.blinding import PRACTICE, Step, neutral_id, steps_of
from medi_core.review.review_store import Reader, ReviewStore, Study
from medi_core.review.study import StudyDesign
from medi_core.review.tasks import EXAMPLES_OF, ORIGIN, TASKS, check_answer, is_right, truth_of

READER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,39}")
CODE = re.compile(r"[A-HJ-NP-Z2-9]{10}")
"""50 bits, without letters that look alike."""
MAX_YEARS = 80
SPECIALITIES = (
    "pathologist, board certified",
    "pathologist in training",
    "other physician",
    "technician or scientist",
    "student",
    "other",
)


@dataclass(frozen=True)
class Credentials:
    """Who is answering; sent with every call."""

    study: str
    reader: str
    code: str


class ReviewService:
    """What a reader's page asks for."""

    def __init__(self, store: ReviewStore) -> None:
        self._store = store

    def describe(self, study_id: str) -> dict[str, Any]:
        """What a reader is told before joining.

        Raises:
            InvalidRequestError: there is no such study.
        """
        study = self._store.study(study_id)
        design, items = study.design, self._store.items(study_id)
        return {
            "name": design.name,
            "tasks": [TASKS[name].label for name in TASKS if name in design.tasks],
            "num_items": sum(item.block != PRACTICE for item in items),
            "num_practice": sum(item.block == PRACTICE for item in items),
            "display_px": design.display_px,
            "is_closed": study.closed_at is not None,
            "specialities": list(SPECIALITIES),
        }

    def join(self, who: Credentials, years: float, speciality: str) -> None:
        """Enter a study. Joining again with the same code changes nothing: the first acknowledgement may be lost.

        Args:
            who: with a code that the page drew at random. It resumes the study, and nobody can look it up later.

        Raises:
            InvalidRequestError: the study is closed, the id is taken, or a field is not filled in.
        """
        name, study_id = _reader_name(who.reader), _text(who.study)
        if not CODE.fullmatch(_text(who.code)):
            raise InvalidRequestError("the code is not one that this page makes: reload the page")
        known = self._store.reader(study_id, name)
        if known is not None and secrets.compare_digest(_hash(who.code), known.code_hash):
            return
        if self._store.study(study_id).closed_at is not None:
            raise InvalidRequestError("this study is closed: it takes no more readers")
        if isinstance(years, bool) or not isinstance(years, int | float) or not 0 <= years <= MAX_YEARS:
            raise InvalidRequestError(f"years of experience = {years!r}: give a number from 0 to {MAX_YEARS}")
        if speciality not in SPECIALITIES:
            raise InvalidRequestError(f"speciality: choose one of {', '.join(SPECIALITIES)}")
        self._store.add_reader(study_id, Reader(neutral_id(), name, _hash(who.code), float(years), speciality))

    def step(self, who: Credentials, place: int | None = None) -> dict[str, Any]:
        """A question with its pixels, as plain JSON.

        Args:
            place: among the reader's questions; by default the first one without an answer.

        Returns:
            `done` where all are answered, with `reveal` once the study is closed; else `place`, `item`, `task`,
            `images` and what else a page shows.

        Raises:
            InvalidRequestError: no such study or reader, or the wrong code.
        """
        return self._step(*self._enter(who), place)

    def answer(self, who: Credentials, item_id: str, task: str, value: Any) -> dict[str, Any]:
        """Store or correct an answer; when this returns it is on the disk.

        Returns:
            `stored` (place of the question), `feedback` (in practice, where there is anything to say; else `None`) and
            `next`, a step.

        Raises:
            InvalidRequestError: as `step`, or what was given is no answer to this question.
            StorageError: it could not be stored.
        """
        study, reader, steps = self._enter(who)
        places = [i for i, step in enumerate(steps) if (step.item.id, step.task) == (item_id, task)]
        if not places:
            raise InvalidRequestError("this question is not part of the study: reload the page")
        step = steps[places[0]]
        check_answer(task, value, step.item.prompts.get(task, {}).get("options", ()))
        self._store.put_answer(who.study, reader, item_id, task, value)
        feedback = self._feedback(study.design, step, value) if step.item.block == PRACTICE else None
        return {"stored": places[0], "feedback": feedback, "next": self._step(study, reader, steps, places[0] + 1)}

    def _enter(self, who: Credentials) -> tuple[Study, Reader, list[Step]]:
        """Study, reader and his questions, if the code is right."""
        study = self._store.study(_text(who.study))
        reader = self._store.reader(study.id, _text(who.reader).strip())
        code = re.sub(r"[^A-Z0-9]", "", _text(who.code).upper())
        expected = reader.code_hash if reader else _hash("")
        if not secrets.compare_digest(_hash(code), expected) or reader is None:
            raise InvalidRequestError("reader id and code do not belong together in this study: check both")
        return study, reader, steps_of(self._store.items(study.id), study.design, reader.name)

    def _step(self, study: Study, reader: Reader, steps: list[Step], place: int | None) -> dict[str, Any]:
        if study.closed_at is not None:
            return {"done": True, "place": len(steps), "reveal": self._reveal(study, reader)}
        answers = self._store.answers(reader)
        if place is None:
            unanswered = (i for i, step in enumerate(steps) if (step.item.id, step.task) not in answers)
            place = next(unanswered, len(steps))
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place <= len(steps):
            raise InvalidRequestError(f"place = {place!r}: it must be from 0 to {len(steps)}")
        if place == len(steps):
            return {"done": True, "place": place, "reveal": None}
        step = steps[place]
        return {"done": False, "place": place, "display_px": study.design.display_px} | self._question(
            step, steps, answers.get((step.item.id, step.task))
        )

    def _question(self, step: Step, steps: list[Step], answer: Any) -> dict[str, Any]:
        task, prompt = TASKS[step.task], step.item.prompts.get(step.task, {})
        is_practice = step.item.block == PRACTICE
        mates = list(dict.fromkeys(s.item.id for s in steps if (s.item.block == PRACTICE) == is_practice))
        words = {name: prompt[name] for name in ("center", "cancer_type") if name in prompt}
        images = self._store.review_item(step.item.id).images
        return {
            "item": step.item.id,
            "task": step.task,
            "form": task.form,
            "question": task.question.format(**words) if words else task.question,
            "options": list(prompt.get("options", ())),
            "is_practice": is_practice,
            "number": mates.index(step.item.id) + 1,
            "total": len(mates),
            "answer": answer,
            "images": list(map(_uri, images)),
            "examples": list(map(_uri, self._store.examples(prompt["examples"]))) if "examples" in prompt else [],
            "examples_note": EXAMPLES_OF[prompt["examples_are"]].format(**words) if "examples" in prompt else "",
        }

    def _reveal(self, study: Study, reader: Reader) -> str:
        """How often the reader was right, in words."""
        own = [row for row in self._store.revealed(study.id) if row["reader"] == reader.key]
        judged = [is_right(row["task"], row["value"], row["facts"]) for row in own]
        rights = [right for right in judged if right is not None]
        if not rights:
            return "The study is closed. Thank you for taking part."
        return f"The study is closed. You were right in {sum(rights)} of {len(rights)} questions that have an answer."

    def _feedback(self, design: StudyDesign, step: Step, value: Any) -> str | None:
        """Practice for the questions of the study; where origin is none of them, it stays unsaid.

        `None` where there is nothing to say, so that nobody has to tap an empty page away.
        """
        facts = self._store.practice_facts(step.item.id)
        right = is_right(step.task, value, facts)
        if right is None:
            told = f"There is no right or wrong here. This tile is {facts['origin']}."
            return told if ORIGIN in design.tasks else None
        truth = str(truth_of(step.task, facts)).replace("_", " ")
        return f"Right: {truth}." if right else f"Not quite: it is {truth}."


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _reader_name(name: Any) -> str:
    text = _text(name).strip()
    if not READER_NAME.fullmatch(text):
        raise InvalidRequestError("reader id: 1 to 40 letters, digits, spaces, dots or dashes; no name is needed")
    return text


def _text(value: Any) -> str:
    """As text, whatever a browser sent."""
    return value if isinstance(value, str) else ""


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
