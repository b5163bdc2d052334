"""People: names on the outside, rows in the database, and what each of them may have and has.

In open mode whoever gives a name is that person, made with their first use; in secured mode a key says who asks.
The engine's view of them, and whose turn it is, is in `users.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from fairlead.config import Settings, UserSettings
from fairlead.errors import StorageUsedUp
from fairlead.service.keys import Keyring, Keys
from fairlead.service.usage import Tokens, Usage
from fairlead.storage import people
from fairlead.storage.database import Database

_MOST_KNOWN: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that a person may have; None is without limit."""

    weight: float
    max_waiting: int
    tokens_per_day: int | None
    storage_bytes: int | None


class People:
    """Those who use one server.

    Args:
        database: where they are kept.
        settings: what each may have.
        local_only: whether the server can be reached from this machine alone.
    """

    def __init__(self, database: Database, settings: Settings, *, local_only: bool) -> None:
        self.keyring = Keyring(Keys(database, settings.key_secret), local_only=local_only)
        self.usage = Usage(database, lambda name: self.limits(name).tokens_per_day)
        self._database = database
        self._settings = settings
        self._rows: OrderedDict[str, int] = OrderedDict()

    async def row(self, name: str) -> int:
        """The row of the person of this name, who may be new."""
        row = self._rows.get(name)
        if row is None:
            async with self._database.reading() as connection:
                row = await people.find(connection, name)
            if row is None:
                async with self._database.writing() as connection:
                    row = await people.find_or_add(connection, name)
            self._rows[name] = row
            if len(self._rows) > _MOST_KNOWN:
                self._rows.popitem(last=False)
        return row

    async def known(self, name: str) -> int:
        """The row of the person of this name; 0, which is nobody's, where there is none: looking makes nobody."""
        if (row := self._rows.get(name)) is not None:
            return row
        async with self._database.reading() as connection:
            return await people.find(connection, name) or 0

    def limits(self, name: str) -> Limits:
        """What a person may have."""
        own, common = self._settings.users.get(name, UserSettings()), self._settings
        return Limits(
            weight=own.weight,
            max_waiting=common.max_waiting_per_user if own.max_waiting is None else own.max_waiting,
            tokens_per_day=common.tokens_per_day if own.tokens_per_day is None else own.tokens_per_day,
            storage_bytes=common.storage_bytes if own.storage_bytes is None else own.storage_bytes,
        )

    async def tokens_today(self, name: str) -> Tokens:
        """What a person had of the models since midnight (UTC)."""
        return await self.usage.today(name)

    async def stored_bytes(self, name: str) -> int:
        """What the files in a person's chats and their collections take."""
        async with self._database.reading() as connection:
            return await people.stored_bytes(connection, name)

    async def check_storage(self, name: str, added_bytes: int) -> None:
        """See that a person may store so much more. StorageUsedUp where it would be more than they may have."""
        limit = self.limits(name).storage_bytes
        if limit is None or (stored := await self.stored_bytes(name)) + added_bytes <= limit:
            return
        raise StorageUsedUp(
            f"Your files and collections take {stored} of the {limit} bytes that you may store, and this would take "
            f"{added_bytes} more: remove some first.",
            details={"limit_bytes": limit, "used_bytes": stored, "added_bytes": added_bytes},
        )

    async def close(self) -> None:
        """Write down what is not written yet."""
        await self.usage.close()
        await self.keyring.close()
