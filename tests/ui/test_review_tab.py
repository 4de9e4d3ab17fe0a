"""What reaches a reader's browser, over HTTP: nothing but the pixels tells what a tile is.

Run: pytest tests/ui/test_review_tab.py
"""

import json
import time
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_predict

from medi_core.data.tile_files import encode_blind
from medi_core.metrics.intervals import wilson_interval
from medi_core.review.blinding import PAIRS, TILES, ExampleSet, NewItem, PlacedItem, neutral_id
from medi_core.review.review_store import Study, now
from medi_core.review.study import StudyDesign
from tests.toy_review import HttpReader, reader_component
from tests.toys import synthetic_tissue

NUM_TILES = 80
EVIL = "<script>window.wasFooled = 1</script>'); DROP TABLE answers; --"


@pytest.fixture(scope="module")
def blind_study(running_app) -> Study:
    """Flat tiles are "real", textured ones "synthetic": compressed, their sizes would tell at once."""
    design = StudyDesign("Blind", ("origin", "comment"), num_tiles=NUM_TILES, num_practice=0)
    study = Study(neutral_id(), design, {}, now(), None)
    items = []
    for i in range(NUM_TILES):
        kind = ("real", "synthetic")[i % 2]
        image = synthetic_tissue(128, i) if i % 2 else np.full((128, 128, 3), 200 + i % 50, np.uint8)
        facts = {"origin": kind, "cancer_type": "Secretoma", "center": "Hidden", "support": "seen", "case": f"{i}"}
        placed = PlacedItem(neutral_id(), TILES, False, {})
        items.append(NewItem(placed, (encode_blind(image),), facts | {"tile": f"{i}"}))
    running_app.services.studies.store.add_study(study, items)
    return study


@pytest.fixture(scope="module")
def blind_pairs(running_app) -> Study:
    """Pairs of two centers, real ones flat and synthetic ones textured, with the examples of the center asked about."""
    design = StudyDesign("Pairs", ("center_pair",), num_pairs=NUM_TILES, num_practice=0)
    study = Study(neutral_id(), design, {}, now(), None)
    sets = [
        ExampleSet(neutral_id(), tuple(encode_blind(synthetic_tissue(128, 3 * k + i)) for i in range(3)), ({},) * 3)
        for k in range(2)
    ]
    items = []
    for i in range(NUM_TILES):
        kind, side, center = ("real", "synthetic")[i % 2], ("left", "right")[i // 2 % 2], i // 4 % 2
        flat = np.full((128, 128, 3), 200 + i % 50, np.uint8)
        images = tuple(encode_blind(synthetic_tissue(128, 2 * i + k) if i % 2 else flat) for k in range(2))
        prompt = {"options": ["left", "right"], "center": "AB"[center], "examples": sets[center].id}
        placed = PlacedItem(neutral_id(), PAIRS, True, {"center_pair": prompt | {"examples_are": "real"}})
        items.append(NewItem(placed, images, {"origin": kind, "side": side}))
    running_app.services.studies.store.add_study(study, items, sets)
    return study


def reader_of(running_app, study: Study, name: str) -> HttpReader:
    reader = HttpReader(running_app.url, study.id, name, reader_component(running_app.url))
    reader.join()
    return reader


def test_a_classifier_of_everything_but_the_pixels_is_at_chance(running_app, blind_study):
    reader, rows, labels = reader_of(running_app, blind_study, "classifier"), [], []
    truth = _truth(running_app, blind_study)
    for place in range(0, 2 * NUM_TILES, 2):
        started = time.perf_counter()
        headers, body = reader.call_raw("review_step", place=place)
        seconds = time.perf_counter() - started
        rows.append(_features(headers, json.loads(body), len(body), seconds))
        labels.append(truth[json.loads(body)["item"]])
    forest = RandomForestClassifier(200, random_state=0)
    predicted = cross_val_predict(forest, np.array(rows), np.array(labels), cv=5)
    right = int((predicted == np.array(labels)).sum())
    low, high = wilson_interval(right, NUM_TILES, 0.999)
    assert low <= 0.5 <= high, f"{right} of {NUM_TILES} right without a look at the pixels"


def test_neither_the_origin_nor_the_side_of_a_pair_shows_in_anything_but_pixels_examples_included(
    running_app, blind_pairs
):
    reader, rows, truth = reader_of(running_app, blind_pairs, "classifier"), [], _facts(running_app, blind_pairs)
    labels = {"origin": [], "side": []}
    for place in range(NUM_TILES):
        started = time.perf_counter()
        headers, body = reader.call_raw("review_step", place=place)
        seconds, step = time.perf_counter() - started, json.loads(body)
        rows.append([*_features(headers, step, len(body), seconds), *map(len, step["examples"])])
        rows[-1].append(zlib.crc32("".join(step["examples"]).encode()))  # which examples they are tells nothing either
        for name, values in labels.items():
            values.append(truth[step["item"]][name])
    assert all(len(row) == len(rows[0]) for row in rows)
    for name, values in labels.items():
        forest = RandomForestClassifier(200, random_state=0)
        right = int((cross_val_predict(forest, np.array(rows), np.array(values), cv=5) == np.array(values)).sum())
        low, high = wilson_interval(right, NUM_TILES, 0.999)
        assert low <= 0.5 <= high, f"{name}: {right} of {NUM_TILES} right without a look at the pixels"


def test_all_answers_have_the_same_headers_and_length_but_for_what_is_counted(running_app, blind_study):
    reader = reader_of(running_app, blind_study, "measurer")
    answers = [reader.call_raw("review_step", place=place) for place in range(20, 60, 2)]  # two digits throughout
    assert len({frozenset(headers) for headers, _ in answers}) == 1
    assert len({len(body) for _, body in answers}) == 1
    assert all("content-encoding" not in {name.lower() for name in headers} for headers, _ in answers)


def test_a_question_holds_no_more_than_it_must(running_app, blind_study):
    body = reader_of(running_app, blind_study, "looker").call("review_step")
    assert set(body) == {
        *("done", "place", "display_px", "item", "task", "form", "question", "options", "is_practice"),
        *("number", "total", "answer", "images", "examples", "examples_note"),
    }
    words = json.dumps({name: value for name, value in body.items() if name != "images"})
    assert not any(word in words for word in ("Secretoma", "Hidden", "seen", "seed"))
    assert [image.split(",")[0] for image in body["images"]] == ["data:image/png;base64"]


def test_the_api_knows_nothing_of_reviews_and_the_page_nothing_of_studies(running_app, blind_study):
    reader = reader_of(running_app, blind_study, "spy")
    with urllib.request.urlopen(f"{running_app.url}gradio_api/info", timeout=60) as answer:
        info = answer.read().decode().lower()
    assert '"/generate"' in info
    assert "review" not in info
    with urllib.request.urlopen(f"{running_app.url}config", timeout=60) as answer:
        config = answer.read().decode()
    for secret in (blind_study.id, blind_study.design.name + '"', "Secretoma", "open sesame", reader.code):
        assert secret not in config


def test_two_readers_at_once_each_see_their_own_answers_only(running_app, blind_study):
    def read(name: str) -> dict:
        reader, said = reader_of(running_app, blind_study, name), {}
        step = reader.call("review_step")
        for i in range(12):
            value = {"choice": "real", "confidence": 1 + i % 5} if step["task"] == "origin" else f"{name} {i}"
            said[step["item"], step["task"]] = value
            step = reader.call("review_answer", item=step["item"], task=step["task"], value=value)["next"]
        seen = [reader.call("review_step", place=place) for place in range(12)]
        assert {(s["item"], s["task"]): s["answer"] for s in seen} == said
        assert step["answer"] is None
        return said

    with ThreadPoolExecutor(2) as pool:
        ann, bob = pool.map(read, ("ann", "bob"))
    assert list(ann) != list(bob), "each has an order of his own"


def test_text_that_looks_like_code_comes_back_as_text(running_app, blind_study):
    reader = reader_of(running_app, blind_study, "evil")
    step = reader.call("review_step", place=1)
    assert step["task"] == "comment"
    reader.call("review_answer", item=step["item"], task="comment", value=EVIL)
    assert reader.call("review_step", place=1)["answer"] == EVIL
    assert "error" in reader.call("review_step", reader="' OR 1=1; --")
    assert "error" in reader.call("review_describe", study="' UNION SELECT facts FROM facts; --")


@pytest.mark.parametrize("given", [{"study": 3}, {"reader": None}, {"code": ["x"]}, {"place": "1; DROP"}])
def test_what_no_page_would_send_is_answered_by_a_message(running_app, blind_study, given):
    reader = reader_of(running_app, blind_study, f"fuzz-{'-'.join(given)}")
    assert set(reader.call("review_step", **given)) == {"error"}


def _truth(running_app, study: Study) -> dict[str, str]:
    """Item → origin, as only the test may know it before the study is closed."""
    return {item: facts["origin"] for item, facts in _facts(running_app, study).items()}


def _facts(running_app, study: Study) -> dict[str, dict]:
    with running_app.services.studies.store._connection() as db:
        query = "SELECT item, facts FROM facts JOIN items ON items.id = item WHERE study = ?"
        return {item: json.loads(facts) for item, facts in db.execute(query, (study.id,))}


def _features(headers: dict[str, str], step: dict, num_bytes: int, seconds: float) -> list[float]:
    """All that a browser gets of a tile, its pixels left out."""
    item, image = step["item"], "".join(step["images"])
    known = {name.lower(): value for name, value in headers.items() if name.lower() != "date"}
    return [
        *(int(item[i : i + 4], 16) for i in range(0, 16, 4)),
        *(step["place"], step["number"], num_bytes, len(image), seconds, len(known)),
        *(len(value) for _, value in sorted(known.items())),
    ]
