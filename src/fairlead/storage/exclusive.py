"""One server for one database: whoever comes second is refused, and harms nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import text

from fairlead.errors import ConfigError
from fairlead.storage.database import Database

_POSTGRESQL_LOCK: Final = 0x6661_6972_6C65_6165  # "fairleae", next to that of migrations
_REFUSAL: Final = "Another server uses this database: end that one, or give this one another --home or --database."


@contextlib.asynccontextmanager
async def held(database: Database) -> AsyncIterator[None]:
    """Hold a database for as long as this lasts; ConfigError where another server does.

    By a lock on a file beside SQLite's, which ends with the process however that ends, or by one of the session's in
    PostgreSQL.
    """
    if database.file is not None:
        with _locked(database.file.with_name(database.file.name + ".lock")):
            yield
        return
    async with database.connected(isolation_level="AUTOCOMMIT") as session:
        got = await session.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _POSTGRESQL_LOCK})
        if not got.scalar_one():
            raise ConfigError(_REFUSAL)
        try:
            yield
        finally:
            await session.invalidate()  # end the session, and the lock with it


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ConfigError(_REFUSAL) from None
    try:
        yield
    finally:
        os.close(lock)
