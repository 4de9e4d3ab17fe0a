"""What a reader gets, and in which order. Run: pytest tests/review/test_blinding.py"""

import dataclasses

from medi_core.review.blinding import PAIRS, PRACTICE, REPEATS, TILES, PlacedItem, ReviewItem, neutral_id, steps_of
from medi_core.review.study import StudyDesign

DESIGN = StudyDesign("A", ("realism", "comment", "center_pair"), seed=3)
ITEMS = [
    *(PlacedItem(f"t{i}", TILES, False, {}) for i in range(20)),
    *(PlacedItem(f"r{i}", REPEATS, False, {}) for i in range(5)),
    *(PlacedItem(f"p{i}", PAIRS, True, {}) for i in range(4)),
    PlacedItem("x0", PRACTICE, True, {}),
    PlacedItem("x1", PRACTICE, False, {}),
]


def test_a_review_item_has_room_for_an_id_and_pixels_only():
    assert [field.name for field in dataclasses.fields(ReviewItem)] == ["id", "images"]


def test_ids_are_of_one_length_and_never_alike():
    ids = {neutral_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(item_id) for item_id in ids} == {16}


def test_practice_comes_first_then_tiles_then_repeats_then_pairs():
    order = [step.item.id[0] for step in steps_of(ITEMS, DESIGN, "ann")]
    assert [letter for i, letter in enumerate(order) if i == 0 or order[i - 1] != letter] == ["x", "t", "r", "p"]
    assert [step.item.id for step in steps_of(ITEMS, DESIGN, "ann")][:3] == ["x1", "x1", "x0"]


def test_every_question_comes_once_and_pairs_are_asked_of_pairs():
    steps = steps_of(ITEMS, DESIGN, "ann")
    assert len(steps) == len({(s.item.id, s.task) for s in steps}) == 26 * 2 + 5
    assert all((s.task == "center_pair") == s.item.is_pair for s in steps)


def test_the_order_is_a_readers_own_and_the_same_each_time():
    ann, again, bob = (steps_of(ITEMS[::step], DESIGN, name) for name, step in (("ann", 1), ("ann", -1), ("bob", 1)))
    assert ann == again
    assert ann != bob
    assert ann != steps_of(ITEMS, dataclasses.replace(DESIGN, seed=4), "ann")
