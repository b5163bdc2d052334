"""A copy of an SQLite database while others use it: one state of it, which is whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fairlead.errors import StorageFailed

_MOST_WAIT_S = 30.0
"""For those who write: many rows put in at once take a second or two."""


def take(database: Path, copy: Path, keep: Callable[[set[str]], None]) -> None:
    """Copy a live database to a new file, in one state, and have the files kept that this state knows of.

    Args:
        database: others may use it; those who write wait while `keep` runs, and not for the copying.
        copy: a file that is not there yet.
        keep: called with the SHA-256 of the files that chats hold, none of which is removed before it returns:
            whoever removes one takes it out of the database first.

    Raises:
        StorageFailed: the database is damaged, or somebody else does not stop writing.
    """
    # Not read-only, though they write nothing: whoever is the last to leave puts the log away.
    with _opened(database, "rw") as writer, _opened(database, "rw") as source, closing(sqlite3.connect(copy)) as target:
        writer.execute("BEGIN IMMEDIATE")
        source.execute("BEGIN")  # from its first read on it sees one state, however long the copying takes
        keep(_hashes(source))
        writer.rollback()
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
        return _hashes(source)


def _hashes(source: sqlite3.Connection) -> set[str]:
    return {sha256 for (sha256,) in source.execute("SELECT DISTINCT sha256 FROM files")}


@contextmanager
def _opened(database: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection whose errors are told in our words."""
    try:
        uri = f"{database.as_uri()}?mode={mode}"
        with closing(sqlite3.connect(uri, uri=True, timeout=_MOST_WAIT_S)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise StorageFailed(f"The database cannot be copied: {error}.") from error
