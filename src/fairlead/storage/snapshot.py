"""A copy of an SQLite database while others use it: one state of it, which is whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fairlead.errors import StorageFailed


def take(database: Path, copy: Path) -> None:
    """Copy a live database to a new file. Those who write are not kept waiting; StorageFailed where it is damaged.

    In one step, which sees one state however long it takes; by many small ones it would begin anew with each write.
    """
    # Not read-only, though it writes nothing: whoever is the last to leave puts the log away.
    with _opened(database, "rw") as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, without others beside it


def check(database: Path) -> None:
    """See that a copy is whole; StorageFailed where it is not."""
    with _opened(database, "ro") as source:
        (found,) = source.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise StorageFailed(f"The database in the backup is damaged: {found}.")


def hashes(database: Path) -> set[str]:
    """The SHA-256 of every file that the chats of a copy hold."""
    with _opened(database, "ro") as source:
        return {sha256 for (sha256,) in source.execute("SELECT DISTINCT sha256 FROM files")}


@contextmanager
def _opened(database: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection whose errors are told in our words."""
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode={mode}", uri=True)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise StorageFailed(f"The database cannot be copied: {error}.") from error
