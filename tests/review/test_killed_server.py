"""What is acknowledged is stored, whatever dies: a writer that is killed, and the app under twenty readers.

The second test takes minutes, most of them to start the app five times:
pytest -m slow tests/review/test_killed_server.py
"""

import json
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from medi_core.checkpoints import save_checkpoint
from medi_core.review.blinding import neutral_id
from medi_core.review.review_store import Reader, ReviewStore
from tests.toy_review import ROOT, HttpReader, RunningReview, add_toy_study, reader_component
from tests.toys import build_tiny_pipeline, build_toy_vocabulary

WRITER = """
import json, sys
from pathlib import Path
from medi_core.review.review_store import ReviewStore
folder, study, first = sys.argv[1:]
store = ReviewStore(Path(folder))
reader = store.reader(study, "ann")
items = sorted(item.id for item in store.items(study))
for i in range(int(first), len(items)):
    store.put_answer(study, reader, items[i], "realism", 1 + i % 5)
    print(json.dumps(items[i]), flush=True)
"""
READERS, ANSWERS, KILLS = 20, 100, 4
STALL_SECONDS = 600
"""The test gives up where no answer is acknowledged for so long: a slow machine is no fault, a stand-still is."""


def test_every_acknowledged_answer_outlives_a_killed_writer(tmp_path: Path):
    store, rng = ReviewStore(tmp_path), random.Random(0)
    study = add_toy_study(store, num_tiles=300)
    store.add_reader(study.id, Reader(neutral_id(), "ann", "", 1.0, "other"))
    reader, acknowledged = store.reader(study.id, "ann"), []
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path), study.id, str(len(acknowledged))]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        wanted = rng.randint(5, 40)
        acknowledged += [json.loads(writer.stdout.readline()) for _ in range(wanted)]
        writer.kill()
        rest, _ = writer.communicate()
        acknowledged += [json.loads(line) for line in rest.splitlines() if line.endswith('"')]
        stored = store.answers(reader)
        assert {(item, "realism") for item in acknowledged} <= stored.keys()
        assert len(stored) <= len(acknowledged) + 1, "at most the one that was under way"
    order = {item: i for i, item in enumerate(sorted(item.id for item in store.items(study.id)))}
    assert all(value == 1 + order[item] % 5 for (item, _), value in store.answers(reader).items())
    assert store.num_corrections(reader) == 0


@pytest.mark.slow
def test_twenty_readers_lose_nothing_while_the_server_is_killed_at_random_moments(tmp_path: Path):
    save_checkpoint(build_tiny_pipeline(build_toy_vocabulary()), tmp_path / "tiny", {})
    store, rng = ReviewStore(tmp_path / "data"), random.Random(0)
    study = add_toy_study(store, num_tiles=ANSWERS)
    app = RunningReview(tmp_path / "data", tmp_path / "tiny")
    app.start()
    component = reader_component(app.url)
    readers = [HttpReader(app.url, study.id, f"reader-{i}", component) for i in range(READERS)]
    for reader in readers:
        reader.join()
    stop = threading.Event()
    with ThreadPoolExecutor(READERS) as pool:
        ends = [pool.submit(_read_all, reader, random.Random(reader.name), stop) for reader in readers]
        try:
            for kill in range(1, KILLS + 1):
                _wait_until(readers, ends, kill * READERS * ANSWERS // (KILLS + 1))
                time.sleep(rng.random() * 0.5)
                app.kill()
                _check_stored(store, study.id, readers)
                app.start()
            _wait_until(readers, ends, READERS * ANSWERS)
        finally:
            stop.set()
            app.kill()
    assert _num_acknowledged(readers) == READERS * ANSWERS
    _check_stored(store, study.id, readers)
    for reader in readers:
        known = store.reader(study.id, reader.name)
        assert {key: reader.acknowledged[key] for key in store.answers(known)} == store.answers(known)
        assert store.num_corrections(known) == 0, "an answer sent again is no second one"


def _read_all(reader: HttpReader, rng: random.Random, stop: threading.Event) -> None:
    """Answer until all is answered; ask again where the server is gone, as the page does."""
    step = _persist(reader, stop, "review_step")
    while not step["done"]:
        key, value = (step["item"], step["task"]), rng.randint(1, 5)
        answer = _persist(reader, stop, "review_answer", item=key[0], task=key[1], value=value)
        reader.acknowledged[key] = value
        step = answer["next"]


def _persist(reader: HttpReader, stop: threading.Event, function: str, **given) -> dict:
    while not stop.is_set():
        try:
            answer = reader.call(function, **given)
        except (OSError, HTTPException):
            stop.wait(0.5)
            continue
        assert "error" not in answer, answer
        return answer
    raise AssertionError(f"{reader.name} was stopped after {len(reader.acknowledged)} answers")


def _check_stored(store: ReviewStore, study_id: str, readers: list[HttpReader]) -> None:
    for reader in readers:
        said = dict(reader.acknowledged)
        stored = store.answers(store.reader(study_id, reader.name))
        missing = {key for key, value in said.items() if stored.get(key) != value}
        assert not missing, f"{reader.name} lost {len(missing)} of {len(said)} answers"


def _num_acknowledged(readers: list[HttpReader]) -> int:
    return sum(len(reader.acknowledged) for reader in readers)


def _wait_until(readers: list[HttpReader], ends: list[Future], wanted: int) -> None:
    """Until so many answers are acknowledged; a reader who fails ends the test with what he met."""
    before, since = -1, time.monotonic()
    while (num := _num_acknowledged(readers)) < wanted:
        for end in ends:
            if end.done():
                end.result()
        if num > before:
            before, since = num, time.monotonic()
        assert time.monotonic() - since < STALL_SECONDS, f"no answer for {STALL_SECONDS} s, {num:,} of {wanted:,}"
        time.sleep(0.02)
