"""Studies, readers and answers in one SQLite file: the only SQL of the project. Knows no pixels and no statistics.

An answer is one transaction, and the method returns after the commit: WAL with `synchronous = FULL` has it on the disk
by then. Every call opens a connection of its own, for handlers run in threads; one more stays open, because the last to
close would fold the log into the file and delete it, at each call.
"""

import json
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medi_core.errors import InvalidRequestError, StorageError
from medi_core.review.blinding import PRACTICE, ExampleSet, NewItem, PlacedItem, ReviewItem
from medi_core.review.review_schema import migrate
from medi_core.review.study import StudyDesign

FILE_NAME = "review.sqlite3"
BUSY_SECONDS = 30.0
OF_STUDY = ("items", "examples", "readers")
"""Tables whose rows belong to a study directly."""


@dataclass(frozen=True)
class Study:
    """A study without its items."""

    id: str
    """Part of the link: random, it cannot be guessed."""
    design: StudyDesign
    made_with: dict[str, Any]
    """Checkpoint, real tiles and time of making, for the paper."""
    created_at: str
    closed_at: str | None


@dataclass(frozen=True)
class Reader:
    """A reader of one study, under an id he chose."""

    key: str
    """Random; what answers are stored under."""
    name: str
    code_hash: str
    years: float
    speciality: str


class ReviewStore:
    """The file `review.sqlite3` in a folder; made at the first write or read."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock, self._is_held = threading.Lock(), False

    def add_study(self, study: Study, items: Sequence[NewItem], examples: Sequence[ExampleSet] = ()) -> None:
        """A study with all its items and examples, in one transaction."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO studies VALUES (?, ?, ?, ?, NULL)",
                (study.id, _json(study.design.to_dict()), _json(study.made_with), study.created_at),
            )
            for new in items:
                row = (new.placed.id, study.id, new.placed.block, new.placed.is_pair, _json(new.placed.prompts))
                db.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?)", row)
                parts = [(new.placed.id, part, png) for part, png in enumerate(new.images)]
                db.executemany("INSERT INTO images VALUES (?, ?, ?)", parts)
                db.execute("INSERT INTO facts VALUES (?, ?)", (new.placed.id, _json(new.facts)))
            for shown in examples:
                pairs = enumerate(zip(shown.images, shown.facts, strict=True))
                rows = [(shown.id, part, study.id, png, _json(facts)) for part, (png, facts) in pairs]
                db.executemany("INSERT INTO examples VALUES (?, ?, ?, ?, ?)", rows)

    def studies(self) -> list[Study]:
        """All of them, the newest first."""
        return [_study(row) for row in self._read("SELECT * FROM studies ORDER BY created_at DESC, id")]

    def study(self, study_id: str) -> Study:
        """Raises: InvalidRequestError where there is none of this id."""
        rows = self._read("SELECT * FROM studies WHERE id = ?", (study_id,))
        if not rows:
            raise InvalidRequestError("there is no such study: check the link you were given")
        return _study(rows[0])

    def close_study(self, study_id: str) -> None:
        """No answer is taken any more, and facts may be read. It cannot be opened again."""
        self.study(study_id)
        with self._transaction() as db:
            db.execute("UPDATE studies SET closed_at = ? WHERE id = ? AND closed_at IS NULL", (now(), study_id))

    def items(self, study_id: str) -> list[PlacedItem]:
        """What is asked about, without what it is."""
        rows = self._read("SELECT id, block, is_pair, prompts FROM items WHERE study = ?", (study_id,))
        return [PlacedItem(r["id"], r["block"], bool(r["is_pair"]), json.loads(r["prompts"])) for r in rows]

    def review_item(self, item_id: str) -> ReviewItem:
        """The pixels of an item."""
        rows = self._read("SELECT png FROM images WHERE item = ? ORDER BY part", (item_id,))
        return ReviewItem(item_id, tuple(row["png"] for row in rows))

    def examples(self, example_set: str) -> tuple[bytes, ...]:
        """The pixels of examples, as the prompt of a pair names them."""
        rows = self._read("SELECT png FROM examples WHERE id = ? ORDER BY part", (example_set,))
        return tuple(row["png"] for row in rows)

    def practice_facts(self, item_id: str) -> dict[str, Any]:
        """What a practice item is; a bug where it is none."""
        query = "SELECT facts FROM facts JOIN items ON items.id = facts.item WHERE item = ? AND block = ?"
        (row,) = self._read(query, (item_id, PRACTICE))
        return json.loads(row["facts"])

    def add_reader(self, study_id: str, reader: Reader) -> None:
        """Raises: InvalidRequestError where the study has a reader of this name."""
        values = (reader.key, study_id, reader.name, reader.code_hash, reader.years, reader.speciality, now())
        try:
            with self._transaction() as db:
                db.execute("INSERT INTO readers VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        except sqlite3.IntegrityError as error:
            raise InvalidRequestError(
                f"the reader id {reader.name!r} is taken: choose another, or resume with its code if it is yours"
            ) from error

    def reader(self, study_id: str, name: str) -> Reader | None:
        """`None` where the study has no reader of this name."""
        query = "SELECT key, name, code_hash, years, speciality FROM readers WHERE study = ? AND name = ?"
        rows = self._read(query, (study_id, name))
        return Reader(**rows[0]) if rows else None

    def delete_reader(self, study_id: str, name: str) -> int:
        """Delete a reader with all answers, corrections included; returns how many answers there were.

        Deleted rows are overwritten with zeros (`secure_delete`), and the log that still holds them is emptied.

        Raises:
            InvalidRequestError: the study has no reader of this name.
        """
        reader = self.reader(study_id, name)
        if reader is None:
            raise InvalidRequestError(f"the study has no reader {name!r}: see the list of its readers")
        with self._transaction() as db:
            db.execute("DELETE FROM corrections WHERE reader = ?", (reader.key,))
            num = db.execute("DELETE FROM answers WHERE reader = ?", (reader.key,)).rowcount
            db.execute("DELETE FROM readers WHERE key = ?", (reader.key,))
        self._read("PRAGMA wal_checkpoint(TRUNCATE)")
        return num

    def delete_study(self, study_id: str) -> int:
        """Delete a study with its tiles, readers and answers; returns how many answers there were.

        Deleted rows are overwritten as in `delete_reader`; the file keeps its size, and uses the room again.

        Raises:
            InvalidRequestError: there is no such study.
        """
        self.study(study_id)
        of_readers = "WHERE reader IN (SELECT key FROM readers WHERE study = ?)"
        of_items = "WHERE item IN (SELECT id FROM items WHERE study = ?)"
        with self._transaction() as db:
            db.execute(f"DELETE FROM corrections {of_readers}", (study_id,))
            num = db.execute(f"DELETE FROM answers {of_readers}", (study_id,)).rowcount
            for rows in (
                f"images {of_items}",
                f"facts {of_items}",
                *(f"{table} WHERE study = ?" for table in OF_STUDY),
            ):
                db.execute(f"DELETE FROM {rows}", (study_id,))
            db.execute("DELETE FROM studies WHERE id = ?", (study_id,))
        self._read("PRAGMA wal_checkpoint(TRUNCATE)")
        return num

    def put_answer(self, study_id: str, reader: Reader, item_id: str, task: str, value: Any) -> None:
        """Store or correct an answer; it is on the disk when this returns. The same answer twice is stored once.

        Raises:
            InvalidRequestError: the study is closed.
            StorageError: it could not be stored.
        """
        key, text = (reader.key, item_id, task), _json(value)
        with self._transaction() as db:
            if db.execute("SELECT closed_at FROM studies WHERE id = ?", (study_id,)).fetchone()["closed_at"]:
                raise InvalidRequestError("this study is closed: it takes no more answers")
            of_key = "reader = ? AND item = ? AND task = ?"
            db.execute(
                "INSERT INTO corrections (reader, item, task, old_value, old_answered_at) SELECT reader, item, task, "
                f"value, answered_at FROM answers WHERE {of_key} AND value != ?",
                (*key, text),
            )
            db.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?) ON CONFLICT (reader, item, task) DO UPDATE "
                "SET value = excluded.value, answered_at = excluded.answered_at WHERE value != excluded.value",
                (*key, text, now()),
            )

    def answers(self, reader: Reader) -> dict[tuple[str, str], Any]:
        """(item, task) → answer, of one reader."""
        rows = self._read("SELECT item, task, value FROM answers WHERE reader = ?", (reader.key,))
        return {(row["item"], row["task"]): json.loads(row["value"]) for row in rows}

    def num_corrections(self, reader: Reader) -> int:
        """How often a reader changed an answer."""
        return self._read("SELECT COUNT(*) AS n FROM corrections WHERE reader = ?", (reader.key,))[0]["n"]

    def progress(self, study_id: str) -> list[dict[str, Any]]:
        """Readers with their number of answers, practice left out; says nothing of what was answered."""
        query = """
            SELECT name, years, speciality, joined_at, COUNT(items.id) AS answers, MAX(answered_at) AS last_answer
            FROM readers LEFT JOIN answers ON answers.reader = readers.key
            LEFT JOIN items ON items.id = answers.item AND items.block != ?
            WHERE readers.study = ? GROUP BY key ORDER BY joined_at
        """
        return [dict(row) for row in self._read(query, (PRACTICE, study_id))]

    def revealed(self, study_id: str) -> list[dict[str, Any]]:
        """Every answer of a closed study beside what its item is, practice left out.

        Raises:
            InvalidRequestError: the study is still open.
        """
        if self.study(study_id).closed_at is None:
            raise InvalidRequestError("this study is still open: close it first, then its results are revealed")
        query = """
            SELECT readers.key AS reader, years, speciality, item, block, task, value, answered_at, facts, prompts,
                (SELECT COUNT(*) FROM corrections AS c
                 WHERE c.reader = readers.key AND c.item = items.id AND c.task = answers.task) AS corrections
            FROM answers JOIN readers ON readers.key = answers.reader JOIN items ON items.id = answers.item
            JOIN facts USING (item) WHERE items.study = ? AND block != ? ORDER BY readers.key, answered_at, item
        """
        parsed = ("value", "facts", "prompts")
        rows = [dict(row) for row in self._read(query, (study_id, PRACTICE))]
        rows = [row | {name: json.loads(row[name]) for name in parsed} for row in rows]
        return [row | {"value": _writable(row["value"])} for row in rows]

    def backup(self, target: Path) -> None:
        """A whole copy of the file, while readers go on.

        Raises:
            StorageError: it cannot be written, or there is nothing to copy.
        """
        if not self.path.is_file():
            raise StorageError(f"there is no {self.path}: nothing to back up")
        if target.is_dir():
            raise StorageError(f"{target} is a folder: give a file to write, such as {target / FILE_NAME}")
        if target.exists() and target.samefile(self.path):
            raise StorageError(f"{target} is the store itself: give another file to write")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._connection() as source, closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, that can be moved
                (state,) = copy.execute("PRAGMA integrity_check").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"could not write {target}: {error}; choose another place") from error
        if state != "ok":
            raise StorageError(f"the copy in {target} is damaged ({state}): make another")

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._connection() as db:
            return db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._hold()
            with closing(self._open()) as db:
                yield db
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"{self.path} cannot be used: {error}; free space, or set MEDI_DATA_DIR to a folder on a local disk"
            ) from error

    def _hold(self) -> None:
        """Open the connection that stays, once; it is closed with this object."""
        with self._lock:
            if not self._is_held:
                weakref.finalize(self, self._open().close)
                self._is_held = True

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            db.row_factory = sqlite3.Row
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise sqlite3.OperationalError("its file system cannot hold a write-ahead log")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA secure_delete = ON")
            migrate(db, self.path.name)
        except BaseException:
            db.close()
            raise
        return db


def now() -> str:
    """UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)  # ASCII: a lone surrogate in free text is no UTF-8


def _writable(value: Any) -> Any:
    """An answer without lone surrogates, which older versions took in free text and no file can hold."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _study(row: sqlite3.Row) -> Study:
    design = StudyDesign.from_dict(json.loads(row["design"]))
    return Study(row["id"], design, json.loads(row["made_with"]), row["created_at"], row["closed_at"])
