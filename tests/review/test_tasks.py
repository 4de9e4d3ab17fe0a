"""What counts as an answer. Run: pytest tests/review/test_tasks.py"""

import pytest

from medi_core.errors import InvalidRequestError
from medi_core.review.tasks import TASKS, check_answer, is_right, truth_of

OPTIONS = ["A", "B"]
GOOD = [
    ("origin", {"choice": "real", "confidence": 5}),
    ("realism", 1),
    ("cancer_type", "B"),
    ("morphology", []),
    ("morphology", ["B", "A"]),
    ("artefacts", [[0, 1], [0.5, 0.25]]),
    ("comment", ""),
    ("comment", "'; DROP TABLE answers; -- <script>"),
    ("center_pair", "A"),
]
BAD = [
    ("origin", "real"),
    ("origin", {"choice": "real"}),
    ("origin", {"choice": "fake", "confidence": 3}),
    ("origin", {"choice": "real", "confidence": 3, "more": 1}),
    ("realism", 0),
    ("realism", 6),
    ("realism", True),
    ("realism", 2.5),
    ("realism", None),
    ("cancer_type", "C"),
    ("cancer_type", ["A"]),
    ("morphology", ["A", "A"]),
    ("morphology", ["C"]),
    ("morphology", [["A"]]),
    ("artefacts", [[0.5, 1.1]]),
    ("artefacts", [[0.5, float("nan")]]),
    ("artefacts", [[0.5]]),
    ("artefacts", [[0.5, 0.5]] * 51),
    ("comment", "x" * 2001),
    ("comment", 3),
    ("comment", "half of a pair: \ud83d"),
    ("nonsense", 1),
]


@pytest.mark.parametrize(("task", "value"), GOOD)
def test_an_answer_to_a_task_is_taken(task, value):
    check_answer(task, value, OPTIONS)


@pytest.mark.parametrize(("task", "value"), BAD)
def test_what_is_no_answer_is_refused(task, value):
    with pytest.raises(InvalidRequestError):
        check_answer(task, value, OPTIONS)


def test_only_tasks_with_a_right_answer_are_judged():
    facts = {"origin": "synthetic", "cancer_type": "B", "side": "left"}
    assert is_right("origin", {"choice": "synthetic", "confidence": 1}, facts) is True
    assert is_right("origin", {"choice": "real", "confidence": 5}, facts) is False
    assert is_right("cancer_type", "B", facts) is True
    assert is_right("center_pair", "right", facts) is False
    unjudged = set(TASKS) - {"origin", "cancer_type", "center_pair"}
    assert all(truth_of(task, facts) is None and is_right(task, 3, facts) is None for task in unjudged)
