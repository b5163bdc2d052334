"""A database, opened: one connection for each reader, and one writer at a time.

SQLite allows a single writer. Rather than have transactions collide and retry, writers of this process queue at a lock
of ours, in the order in which they came; with PostgreSQL they go side by side. Either way a transaction is whole or not
there at all, and once `writing` has returned it survives a crash of the machine (WAL, full sync).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from fairlead.errors import ConfigError

_BUSY_TIMEOUT_MS = 5_000
"""How long to wait for another process that writes, such as a backup."""


class Database:
    """The server's database. Close it in the end.

    Args:
        url: SQLAlchemy's, with an async driver: `sqlite+aiosqlite:///FILE` or `postgresql+asyncpg://...`.
    """

    def __init__(self, url: str | URL) -> None:
        self.engine: AsyncEngine = create_async_engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._turn = asyncio.Lock()
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
        """A connection that sees one state of the database for as long as this lasts."""
        async with self.engine.connect() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: stored as a whole when this ends, not at all where it raises."""
        turn = self._turn if self.is_sqlite else contextlib.nullcontext()
        async with turn, self.engine.connect() as connection:
            await connection.execution_options(fairlead_writes=True)
            async with connection.begin():
                yield connection

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


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
