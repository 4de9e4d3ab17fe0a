"""The store keeps what it was given, once. Run: pytest tests/review/test_review_store.py"""

import io
import json
import sqlite3
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from medi_core.errors import InvalidRequestError, StorageError
from medi_core.review.blinding import PRACTICE, NewItem, PlacedItem, neutral_id
from medi_core.review.review_schema import MIGRATIONS, VERSION
from medi_core.review.review_store import Reader, ReviewStore, Study, now
from medi_core.review.study import StudyDesign
from medi_core.services.study_answers import export_zip
from medi_core.services.study_results import study_results
from tests.toy_review import PNG, add_toy_study

EVIL = "'); DROP TABLE answers; -- <script>alert(1)</script> \x00 \ud800"


@pytest.fixture
def store(tmp_path) -> ReviewStore:
    return ReviewStore(tmp_path / "data")


@pytest.fixture
def study(store) -> Study:
    return add_toy_study(store, num_tiles=6)


def add_reader(store: ReviewStore, study: Study, name: str) -> Reader:
    store.add_reader(study.id, Reader(neutral_id(), name, "hash", 3.0, "other"))
    return store.reader(study.id, name)


def test_nothing_is_written_before_it_is_needed(tmp_path):
    ReviewStore(tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_the_file_waits_for_the_disk(store, study):
    with store._connection() as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


def test_a_study_comes_back_as_it_was_made(store, study):
    assert store.studies() == [study]
    assert store.study(study.id) == study
    items = store.items(study.id)
    assert len(items) == 6
    assert all(store.review_item(item.id).images == (PNG,) for item in items)
    with pytest.raises(InvalidRequestError, match="no such study"):
        store.study("other")


def test_the_same_answer_twice_is_stored_once_and_a_correction_keeps_what_was(store, study):
    reader, item = add_reader(store, study, "ann"), store.items(study.id)[0].id
    for value in (2, 2, 5, 5):
        store.put_answer(study.id, reader, item, "realism", value)
    assert store.answers(reader) == {(item, "realism"): 5}
    assert store.num_corrections(reader) == 1
    with closing(sqlite3.connect(store.path)) as db:
        assert db.execute("SELECT old_value FROM corrections").fetchall() == [("2",)]


def test_two_readers_at_once_lose_nothing_and_see_only_their_own(store, study):
    readers = [add_reader(store, study, name) for name in ("ann", "bob", "eve", "joe")]
    items = [item.id for item in store.items(study.id)]
    jobs = [(reader, item, i) for i, reader in enumerate(readers, 1) for item in items]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda job: store.put_answer(study.id, job[0], job[1], "realism", job[2]), jobs))
    for i, reader in enumerate(readers, 1):
        assert store.answers(reader) == {(item, "realism"): i for item in items}


def test_an_id_is_taken_once_a_study(store, study):
    add_reader(store, study, "ann")
    with pytest.raises(InvalidRequestError, match="'ann' is taken"):
        add_reader(store, study, "ann")
    assert add_reader(store, add_toy_study(store), "ann").name == "ann"


def test_a_closed_study_takes_no_answer_and_an_open_one_reveals_nothing(store, study):
    reader, item = add_reader(store, study, "ann"), store.items(study.id)[0].id
    store.put_answer(study.id, reader, item, "realism", 4)
    with pytest.raises(InvalidRequestError, match="still open"):
        store.revealed(study.id)
    store.close_study(study.id)
    with pytest.raises(InvalidRequestError, match="closed"):
        store.put_answer(study.id, reader, item, "realism", 5)
    (row,) = store.revealed(study.id)
    assert (row["value"], row["corrections"], row["facts"]["cancer_type"]) == (4, 0, "A")
    closed_at = store.study(study.id).closed_at
    store.close_study(study.id)
    assert store.study(study.id).closed_at == closed_at, "closing twice changes nothing"


def test_a_deleted_reader_leaves_no_trace_in_the_file_and_the_others_stay(store, study):
    ann, bob = add_reader(store, study, "ann-the-first"), add_reader(store, study, "bob")
    items = [item.id for item in store.items(study.id)]
    for reader in (ann, bob):
        for item in items:
            store.put_answer(study.id, reader, item, "comment", f"said by {reader.name}")
    store.put_answer(study.id, ann, items[0], "comment", "ann-the-first changed it")
    assert b"ann-the-first" in everything_in(store)
    assert store.delete_reader(study.id, "ann-the-first") == len(items)
    assert b"ann-the-first" not in everything_in(store)
    assert store.reader(study.id, "ann-the-first") is None
    assert len(store.answers(bob)) == len(items)
    with closing(sqlite3.connect(store.path)) as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("SELECT COUNT(*) FROM corrections").fetchone() == (0,)
    with pytest.raises(InvalidRequestError, match="no reader 'ann-the-first'"):
        store.delete_reader(study.id, "ann-the-first")
    add_reader(store, study, "ann-the-first")


def test_a_deleted_study_leaves_no_trace_and_the_others_stay(store, study):
    other = add_toy_study(store, num_tiles=6)
    for each, name in ((study, "ann-the-first"), (other, "bob")):
        reader, items = add_reader(store, each, name), store.items(each.id)
        for item in items:
            store.put_answer(each.id, reader, item.id, "comment", f"said by {name}")
        store.put_answer(each.id, reader, items[0].id, "comment", f"{name} changed it")
    with closing(sqlite3.connect(store.path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        before = {table: db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in tables}
    assert all(before.values()), "every table has rows, or the test would not see what is left in one"
    assert store.delete_study(study.id) == len(items)
    assert b"ann-the-first" not in everything_in(store)
    assert [left.id for left in store.studies()] == [other.id]
    assert len(store.answers(store.reader(other.id, "bob"))) == len(items)
    with closing(sqlite3.connect(store.path)) as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        for table in tables:
            assert db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] * 2 == before[table], table
    with pytest.raises(InvalidRequestError, match="no such study"):
        store.delete_study(study.id)


def everything_in(store: ReviewStore) -> bytes:
    """The file and its log."""
    return b"".join(path.read_bytes() for path in store.path.parent.iterdir())


def test_practice_is_no_result(store):
    design = StudyDesign("A", ("realism",))
    study = Study(neutral_id(), design, {}, now(), None)
    item = NewItem(PlacedItem(neutral_id(), PRACTICE, False, {}), (PNG,), {"origin": "real"})
    store.add_study(study, [item])
    reader = add_reader(store, study, "ann")
    store.put_answer(study.id, reader, item.placed.id, "realism", 3)
    assert store.practice_facts(item.placed.id) == {"origin": "real"}
    store.close_study(study.id)
    assert store.revealed(study.id) == []
    assert store.progress(study.id)[0]["answers"] == 0


def test_the_facts_of_a_study_item_are_no_practice_facts(store, study):
    with pytest.raises(ValueError, match="unpack"):
        store.practice_facts(store.items(study.id)[0].id)


def test_text_that_looks_like_sql_is_text(store, study):
    reader, item = add_reader(store, study, "ann'; --"), store.items(study.id)[0].id
    store.put_answer(study.id, reader, item, "comment", EVIL)
    assert store.answers(reader) == {(item, "comment"): EVIL}
    assert store.reader(study.id, "' OR '1'='1") is None
    assert len(store.studies()) == 1


def test_text_that_no_file_can_hold_does_not_stop_the_results(store):
    study = add_toy_study(store, tasks=("comment",))
    store.put_answer(study.id, add_reader(store, study, "ann"), store.items(study.id)[0].id, "comment", EVIL)
    store.close_study(study.id)
    rows = store.revealed(study.id)
    results = study_results(store.study(study.id), rows)
    (said,) = results["comment"]
    assert said["comment"] == EVIL.replace("\ud800", "?")
    with zipfile.ZipFile(io.BytesIO(export_zip(results, rows))) as archive:
        assert json.loads(archive.read("results.json"))["comment"] == [said]
        assert "DROP TABLE" in archive.read("answers.csv").decode()


def test_a_file_of_version_1_is_brought_up_with_all_its_rows(store):
    store.path.parent.mkdir()
    with closing(sqlite3.connect(store.path)) as db:
        db.executescript(MIGRATIONS[0])
        design = '{"name": "Old", "tasks": ["realism"]}'
        db.execute("INSERT INTO studies VALUES ('s', ?, '{}', '2026-01-01', NULL)", (design,))
        db.execute("INSERT INTO items VALUES ('i', 's', 0, 0, '{}')")
        db.execute("INSERT INTO readers VALUES ('k', 's', 'ann', 'h', 1, 'other', '2026-01-01')")
        db.execute("INSERT INTO answers VALUES ('k', 'i', 'realism', '3', '2026-01-01')")
        db.execute("PRAGMA user_version = 1")
        db.commit()
    reader = store.reader("s", "ann")
    assert store.answers(reader) == {("i", "realism"): 3}
    store.put_answer("s", reader, "i", "realism", 4)
    assert store.num_corrections(reader) == 1
    assert store.study("s").design.num_examples == 0, "it was made before there were any"
    assert store.examples("x") == ()
    with closing(sqlite3.connect(store.path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_a_file_of_a_later_program_is_left_alone(store, study):
    with closing(sqlite3.connect(store.path)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(StorageError, match="update the program"):
        store.studies()


def test_a_file_that_is_no_database_is_named(store):
    store.path.parent.mkdir()
    store.path.write_text("not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(StorageError, match=r"review\.sqlite3 cannot be used"):
        store.studies()


def test_a_backup_is_one_whole_file(store, study, tmp_path):
    reader, item = add_reader(store, study, "ann"), store.items(study.id)[0].id
    store.put_answer(study.id, reader, item, "realism", 4)
    store.backup(tmp_path / "copy" / "review.sqlite3")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["review.sqlite3"]
    copy = ReviewStore(tmp_path / "copy")
    assert copy.studies() == [study]
    assert copy.answers(copy.reader(study.id, "ann")) == {(item, "realism"): 4}
    with pytest.raises(StorageError, match="is a folder: give a file"):
        store.backup(tmp_path / "copy")
    with pytest.raises(StorageError, match="is the store itself"):
        store.backup(store.path.parent / "." / store.path.name)
    assert store.answers(reader) == {(item, "realism"): 4}
    with pytest.raises(StorageError, match="nothing to back up"):
        ReviewStore(tmp_path / "nowhere").backup(tmp_path / "x")
