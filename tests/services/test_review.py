"""A reader's way through a study. Run: pytest tests/services/test_review.py"""

import base64
import json

import pytest

from medi_core.errors import InvalidRequestError
from medi_core.review.blinding import PAIRS, PRACTICE, TILES, ExampleSet, NewItem, PlacedItem, neutral_id
from medi_core.review.review_store import ReviewStore, Study, now
from medi_core.review.study import StudyDesign
from medi_core.services.review import SPECIALITIES, Credentials, ReviewService
from tests.toy_review import PNG, new_code

GUESS = {"choice": "real", "confidence": 1}


@pytest.fixture
def store(tmp_path) -> ReviewStore:
    return ReviewStore(tmp_path)


@pytest.fixture
def service(store) -> ReviewService:
    return ReviewService(store)


@pytest.fixture
def study(store) -> str:
    """Two practice tiles and six others, half real; two questions each."""
    design = StudyDesign("Real?", ("origin", "comment"), num_tiles=6, num_practice=2)
    kinds = ("real", "synthetic")
    items = [
        NewItem(
            PlacedItem(neutral_id(), PRACTICE if i < 2 else TILES, False, {}),
            (PNG,),
            {"origin": kinds[i % 2], "cancer_type": "Secret", "case": str(i), "tile": str(i)},
        )
        for i in range(8)
    ]
    made = Study(neutral_id(), design, {}, now(), None)
    store.add_study(made, items)
    return made.id


def join(service: ReviewService, study: str, name: str) -> Credentials:
    who = Credentials(study, name, new_code())
    service.join(who, 10, SPECIALITIES[0])
    return who


def test_a_reader_is_told_what_awaits_him_and_not_what_the_tiles_are(service, study):
    told = service.describe(study)
    assert (told["num_items"], told["num_practice"], told["is_closed"]) == (6, 2, False)
    assert "Secret" not in json.dumps(told)


def test_questions_come_one_by_one_and_practice_alone_has_feedback(service, study):
    who = join(service, study, "ann")
    step, feedback = service.step(who), []
    assert step["is_practice"]
    while not step["done"]:
        value = GUESS if step["task"] == "origin" else ""
        answer = service.answer(who, step["item"], step["task"], value)
        assert answer["stored"] == step["place"]
        feedback.append((step["is_practice"], answer["feedback"]))
        step = answer["next"]
    assert len(feedback) == 16
    assert all((text is not None) == is_practice for is_practice, text in feedback)
    assert {text for _, text in feedback[:4:2]} == {"Right: real.", "Not quite: it is synthetic."}


def test_practice_does_not_tell_the_origin_where_the_study_does_not_ask_for_it(service, store):
    design = StudyDesign("Realistic?", ("realism",), num_tiles=2, num_practice=1)
    made, placed = Study(neutral_id(), design, {}, now(), None), PlacedItem(neutral_id(), PRACTICE, False, {})
    store.add_study(made, [NewItem(placed, (PNG,), {"origin": "synthetic"})])
    feedback = service.answer(join(service, made.id, "ann"), placed.id, "realism", 3)["feedback"]
    assert feedback is None, "there is nothing to say, and no page to tap away"


def test_a_reader_goes_on_where_he_was_with_his_code_however_he_writes_it(service, study, store):
    who = join(service, study, "ann")
    step = service.step(who)
    for _ in range(5):
        step = service.answer(who, step["item"], step["task"], GUESS if step["task"] == "origin" else "")["next"]
    again = ReviewService(ReviewStore(store.path.parent))  # the server was started anew
    spelled = f" {who.code[:5].lower()}-{who.code[5:].lower()} "
    assert again.step(Credentials(study, " ann ", spelled)) == step


@pytest.mark.parametrize(("kind", "words"), [("real", "of other patients"), ("synthetic", "made by the model")])
def test_a_pair_comes_with_examples_of_the_center_and_says_what_they_are(service, store, kind, words):
    made = Study(neutral_id(), StudyDesign("Which?", ("center_pair",), num_practice=0), {}, now(), None)
    examples = ExampleSet(neutral_id(), (b"one", b"two"), ({"case": "Secret"}, {"case": "Secret"}))
    prompt = {"options": ["left", "right"], "center": "Lyon", "examples": examples.id, "examples_are": kind}
    pair = NewItem(PlacedItem(neutral_id(), PAIRS, True, {"center_pair": prompt}), (PNG, PNG), {"side": "left"})
    store.add_study(made, [pair], [examples])
    step = service.step(join(service, made.id, "ann"))
    assert [base64.b64decode(uri.split(",")[1]) for uri in step["examples"]] == [b"one", b"two"]
    assert "Lyon" in step["examples_note"]
    assert words in step["examples_note"]
    assert "Secret" not in json.dumps(step)
    assert examples.id not in json.dumps(step)


def test_an_answer_sent_twice_leads_to_the_same_next_question(service, study, store):
    who = join(service, study, "ann")
    step = service.step(who)
    once, twice = (service.answer(who, step["item"], "origin", GUESS) for _ in range(2))
    assert once == twice
    assert len(store.answers(store.reader(study, "ann"))) == 1


def test_one_can_go_back_see_the_answer_and_correct_it(service, study, store):
    who = join(service, study, "ann")
    step = service.step(who)
    service.answer(who, step["item"], "origin", GUESS)
    back = service.step(who, 0)
    assert (back["item"], back["answer"]) == (step["item"], GUESS)
    service.answer(who, step["item"], "origin", {"choice": "synthetic", "confidence": 5})
    assert service.step(who, 0)["answer"] == {"choice": "synthetic", "confidence": 5}
    assert store.num_corrections(store.reader(study, "ann")) == 1


def test_two_readers_have_their_own_state(service, study):
    ann, bob = join(service, study, "ann"), join(service, study, "bob")
    first = service.step(bob)
    step = service.step(ann)
    service.answer(ann, step["item"], step["task"], GUESS)
    assert service.step(bob) == first
    assert service.step(bob)["answer"] is None
    for thief in (Credentials(study, "bob", ann.code), Credentials(study, "bob", ""), Credentials(study, "eve", "")):
        with pytest.raises(InvalidRequestError, match="do not belong together"):
            service.step(thief)


def test_an_id_is_taken_but_joining_again_with_the_same_code_is_no_second_joining(service, study, store):
    who = join(service, study, "ann")
    service.join(who, 10, SPECIALITIES[0])
    assert len(store.progress(study)) == 1
    with pytest.raises(InvalidRequestError, match="'ann' is taken"):
        service.join(Credentials(study, "ann", new_code()), 10, SPECIALITIES[0])


@pytest.mark.parametrize(
    ("name", "code", "years", "speciality", "message"),
    [
        ("", "ABCDEFGHJK", 1, SPECIALITIES[0], "reader id"),
        ("<script>", "ABCDEFGHJK", 1, SPECIALITIES[0], "reader id"),
        (None, "ABCDEFGHJK", 1, SPECIALITIES[0], "reader id"),
        ("ann", "1234", 1, SPECIALITIES[0], "code"),
        ("ann", "ABCDEFGHJK", None, SPECIALITIES[0], "years"),
        ("ann", "ABCDEFGHJK", -1, SPECIALITIES[0], "years"),
        ("ann", "ABCDEFGHJK", 1, "magician", "speciality"),
    ],
)
def test_a_field_that_is_not_filled_in_is_named(service, study, name, code, years, speciality, message):
    with pytest.raises(InvalidRequestError, match=message):
        service.join(Credentials(study, name, code), years, speciality)


@pytest.mark.parametrize(("item", "task"), [("0" * 16, "origin"), (None, "origin"), ("", "comment")])
def test_an_answer_to_no_question_of_the_study_is_refused(service, study, item, task):
    with pytest.raises(InvalidRequestError, match="not part of the study"):
        service.answer(join(service, study, "ann"), item, task, GUESS)


@pytest.mark.parametrize("place", [-1, 99, "0", True, 1.5])
def test_a_place_beyond_the_study_is_refused(service, study, place):
    with pytest.raises(InvalidRequestError, match="place"):
        service.step(join(service, study, "ann"), place)


def test_a_closed_study_tells_a_reader_how_he_did_and_takes_no_more(service, study, store):
    who = join(service, study, "ann")
    step = service.step(who)
    while not step["done"]:
        step = service.answer(who, step["item"], step["task"], GUESS if step["task"] == "origin" else "")["next"]
    assert step["reveal"] is None
    store.close_study(study)
    assert "right in 3 of 6" in service.step(who)["reveal"]
    with pytest.raises(InvalidRequestError, match="closed"):
        service.answer(who, store.items(study)[0].id, "comment", "late")
    with pytest.raises(InvalidRequestError, match="closed"):
        join(service, study, "bob")
