"""The data of one server: its database, opened at start and held against a second server until the end."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator

from fairlead.config import Settings
from fairlead.errors import ConfigError, StorageFailed
from fairlead.storage.database import Database
from fairlead.storage.exclusive import held
from fairlead.storage.migrate import migrate
from fairlead.storage.recovery import cut_off_unfinished

logger = logging.getLogger(__name__)


class Store:
    """Where a server keeps what outlives it.

    Raises:
        ConfigError: the settings' database is no URL.
    """

    def __init__(self, settings: Settings) -> None:
        self.database = Database.at(settings.database_location)
        self._open = contextlib.AsyncExitStack()
        self._is_open = False

    async def open(self) -> None:
        """Make the database ready for this server alone; nothing where it is already.

        Raises:
            ConfigError: another server uses it, a newer version wrote it, or it cannot be reached or written.
        """
        if self._is_open:
            return
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.database.close)
            with _reported(self.database):
                await stack.enter_async_context(held(self.database))
                await migrate(self.database)
                cut_off = await cut_off_unfinished(self.database)
            self._open = stack.pop_all()
        self._is_open = True
        if cut_off:
            logger.warning("%d answers were cut off when the server ended last", cut_off)

    async def close(self) -> None:
        """Let go of the database."""
        self._is_open = False
        await self._open.aclose()


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """The database of a server that may be running, for a command; made where it is not there.

    Raises:
        ConfigError: a newer version wrote it, or it cannot be reached or written.
    """
    database = Database.at(settings.database_location)
    try:
        with _reported(database):
            await migrate(database)
        yield database
    finally:
        await database.close()


@contextlib.contextmanager
def _reported(database: Database) -> Iterator[None]:
    """Tell in a sentence why a database cannot be used; the folder of SQLite's file is made first."""
    try:
        if database.file is not None:
            database.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield
    except OSError as error:
        raise ConfigError(f"The data cannot be kept in {error.filename}: {error.strerror}.") from None
    except StorageFailed as error:
        reason = getattr(error.__cause__, "orig", None) or error.__cause__
        raise ConfigError(f"The database {database.engine.url!r} cannot be used: {reason}.") from error
