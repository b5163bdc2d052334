"""A database, opened: one connection for each reader, and one writer at a time.

SQLite allows a single writer. Rather than have transactions collide and retry, writers of this process queue at a lock
of ours, in the order in which they came; with PostgreSQL they go side by side. Either way a transaction is whole or not
there at all, and once `writing` has returned it survives a crash of the machine (WAL, full sync).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from fairlead.errors import ConfigError, StorageFailed, StorageFull

logger = logging.getLogger(__name__)

_BUSY_TIMEOUT_MS = 5_000
"""How long to wait for another process that writes, such as a backup."""

_SQLITE_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
_DISK_FULL: Final = "53100"
"""PostgreSQL's word for it."""


class Database:
    """The server's database. Close it in the end.

    Args:
        url: SQLAlchemy's, with an async driver: `sqlite+aiosqlite:///FILE` or `postgresql+asyncpg://...`.
    """

    def __init__(self, url: str | URL) -> None:
        self.engine: AsyncEngine = create_async_engine(url, pool_pre_ping=True, pool_use_lifo=True)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self.file = Path(self.engine.url.database or "") if self.is_sqlite else None
        """SQLite's; None in PostgreSQL."""
        self._turn = asyncio.Lock()
        driver: Any = self.engine.dialect.loaded_dbapi
        self._driver_error: type[Exception] = driver.Error if self.is_sqlite else driver.asyncpg.PostgresError
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _set_up_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin)

    @classmethod
    def at(cls, location: Path | str) -> Self:
        """The SQLite database in a file, which need not be there, or the one of a `postgresql://` URL.

        Raises:
            ConfigError: that is no such URL.
        """
        if isinstance(location, Path):
            return cls(URL.create("sqlite+aiosqlite", database=str(location)))
        try:
            url = make_url(location).set(drivername="postgresql+asyncpg")
        except (ArgumentError, ValueError):
            raise ConfigError("The database's URL is none: it reads postgresql://USER:PASSWORD@HOST/NAME.") from None
        query = dict(url.query)
        if (sslmode := query.pop("sslmode", None)) is not None:  # libpq's word for what asyncpg calls ssl
            query["ssl"] = sslmode
        return cls(url.set(query=query))

    @classmethod
    def in_file(cls, path: Path) -> Self:
        """The SQLite database in this file, which need not be there."""
        return cls.at(path)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one state of the database for as long as this lasts; StorageFailed as in `writing`."""
        async with self.connected() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: stored as a whole when this ends, not at all where it raises.

        Raises:
            StorageFull: there is no room left.
            StorageFailed: the database cannot be reached, written, or is damaged; its cause says more.
        """
        turn = self._turn if self.is_sqlite else contextlib.nullcontext()
        async with turn, self.connected(fairlead_writes=True) as connection, connection.begin():
            yield connection

    @contextlib.asynccontextmanager
    async def connected(self, **options: Any) -> AsyncIterator[AsyncConnection]:
        """A connection with these execution options, whose errors are told in our words."""
        is_connected = False
        try:
            async with self.engine.connect() as connection:
                is_connected = True
                yield await connection.execution_options(**options)
        except (IntegrityError, ProgrammingError, DataError):
            raise  # of a statement, not of the storage
        except DBAPIError as error:
            raise _failure(error.orig) from error
        except (OSError, PoolTimeout, self._driver_error) as error:
            if is_connected:
                raise
            raise _failure(error) from error

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def _failure(error: BaseException | None) -> StorageFailed:
    """What a driver's error comes to."""
    if getattr(error, "sqlite_errorcode", None) in _SQLITE_FULL or getattr(error, "sqlstate", None) == _DISK_FULL:
        return StorageFull("There is no room left on the server's disk: nothing can be stored until there is.")
    logger.error("the database failed: %s", error)
    return StorageFailed("The server's database cannot be used now; its log has more.")


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # SQLAlchemy begins transactions, not the driver
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_BUSY_TIMEOUT_MS}",  # first: setting another journal mode may have to wait, too
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Any) -> None:
    """Writers take the write lock at once: one that reads first could not be let in later."""
    writes = connection.get_execution_options().get("fairlead_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
