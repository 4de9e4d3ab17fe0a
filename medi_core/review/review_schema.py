"""The tables of the review store, version by version: an old file is brought up step by step.

What a reader may see (`items`, `images`) and what it is (`facts`) are different tables.
"""

import sqlite3

from medi_core.errors import StorageError

MIGRATIONS: tuple[str, ...] = (
    # 1: studies, items, readers and their answers
    """
    CREATE TABLE studies (
        id TEXT PRIMARY KEY, design TEXT NOT NULL, made_with TEXT NOT NULL,
        created_at TEXT NOT NULL, closed_at TEXT
    );
    CREATE TABLE items (
        id TEXT PRIMARY KEY, study TEXT NOT NULL REFERENCES studies(id),
        block INTEGER NOT NULL, is_pair INTEGER NOT NULL, prompts TEXT NOT NULL
    );
    CREATE INDEX items_of_study ON items(study);
    CREATE TABLE images (
        item TEXT NOT NULL REFERENCES items(id), part INTEGER NOT NULL, png BLOB NOT NULL, PRIMARY KEY (item, part)
    );
    CREATE TABLE facts (item TEXT PRIMARY KEY REFERENCES items(id), facts TEXT NOT NULL);
    CREATE TABLE readers (
        key TEXT PRIMARY KEY, study TEXT NOT NULL REFERENCES studies(id), name TEXT NOT NULL,
        code_hash TEXT NOT NULL, years REAL NOT NULL, speciality TEXT NOT NULL, joined_at TEXT NOT NULL,
        UNIQUE (study, name)
    );
    CREATE TABLE answers (
        reader TEXT NOT NULL REFERENCES readers(key), item TEXT NOT NULL REFERENCES items(id),
        task TEXT NOT NULL, value TEXT NOT NULL, answered_at TEXT NOT NULL, PRIMARY KEY (reader, item, task)
    );
    """,
    # 2: what an answer was before it was corrected
    """
    CREATE TABLE corrections (
        id INTEGER PRIMARY KEY, reader TEXT NOT NULL, item TEXT NOT NULL, task TEXT NOT NULL,
        old_value TEXT NOT NULL, old_answered_at TEXT NOT NULL,
        FOREIGN KEY (reader, item, task) REFERENCES answers(reader, item, task)
    );
    """,
    # 3: examples of the center that pairs ask about; what they are, for the record, is in `facts`
    """
    CREATE TABLE examples (
        id TEXT NOT NULL, part INTEGER NOT NULL, study TEXT NOT NULL REFERENCES studies(id),
        png BLOB NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (id, part)
    );
    """,
)
VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Bring a file, new or old, to the present version; each step is whole or not at all.

    Args:
        connection: without a transaction of its own (`isolation_level=None`).
        name: what messages call the file.

    Raises:
        StorageError: the file is of a later version.
    """
    if _version(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")  # another process may be at it
    try:
        version = _version(connection)
        if version > VERSION:
            raise StorageError(
                f"{name} has schema version {version}, this program knows up to {VERSION}: update the program"
            )
        for step in MIGRATIONS[version:]:
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]
