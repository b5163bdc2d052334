"""The tokens that people had of the models, by the day (UTC): counted as answers end, written every few seconds.

What is not written yet when the server is killed is lost; an orderly end loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple

from fairlead.errors import StorageFailed, TokensUsedUp
from fairlead.storage import people
from fairlead.storage.database import Database

logger = logging.getLogger(__name__)

_WRITTEN_WITHIN_S: Final = 2.0


class Tokens(NamedTuple):
    """Of prompts and of answers."""

    prompt: int = 0
    completion: int = 0

    def plus(self, other: Tokens) -> Tokens:
        """Both together."""
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)

    @property
    def total(self) -> int:
        """All of them."""
        return self.prompt + self.completion


class Usage:
    """What people had today.

    Args:
        database: where it is kept.
        limit: most tokens that a person may have in a day, by their name; None is without limit.
        now: what time it is, in UTC.
    """

    def __init__(
        self,
        database: Database,
        limit: Callable[[str], int | None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._limit = limit
        self._now = now
        self._day = now().date()
        self._today: dict[str, Tokens] = {}
        """Of those who were asked about, what is written and what is not."""
        self._unwritten: dict[tuple[str, date], Tokens] = defaultdict(Tokens)
        self._access = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None

    def count(self, name: str, prompt: int, completion: int) -> None:
        """Somebody had so many more."""
        more = Tokens(prompt, completion)
        if not more.total:
            return
        self._turn_page()
        self._unwritten[name, self._day] = self._unwritten[name, self._day].plus(more)
        if name in self._today:
            self._today[name] = self._today[name].plus(more)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write_later(), name="usage")

    async def today(self, name: str) -> Tokens:
        """What somebody had since midnight."""
        self._turn_page()
        if name not in self._today:
            async with self._access, self._database.reading() as connection:
                written = Tokens(*await people.tokens(connection, name, self._day))
                self._today[name] = written.plus(self._unwritten.get((name, self._day), Tokens()))
        return self._today[name]

    async def check(self, name: str) -> None:
        """See that somebody may have more. TokensUsedUp where they had all that they may today."""
        limit = self._limit(name)
        if limit is None or (had := (await self.today(name)).total) < limit:
            return
        wait_s = (self.resets_at() - self._now()).total_seconds()
        raise TokensUsedUp(
            f"You had {had} tokens today and may have {limit}; the next day begins in {wait_s / 3600:.1f} h (UTC).",
            details={"limit": limit, "used": had, "retry_after_s": max(1.0, wait_s)},
        )

    def resets_at(self) -> datetime:
        """When the next day begins."""
        return datetime.combine(self._now().date() + timedelta(days=1), time(), UTC)

    async def write(self) -> None:
        """Write what is not written yet; StorageFailed leaves it for the next time."""
        async with self._access:
            batch = dict(self._unwritten)
            if not batch:
                return
            async with self._database.writing() as connection:
                for (name, day), more in batch.items():
                    row = await people.find_or_add(connection, name)
                    await people.add_tokens(connection, row, day, more.prompt, more.completion)
            for entry, more in batch.items():
                left = self._unwritten[entry]
                self._unwritten[entry] = Tokens(left.prompt - more.prompt, left.completion - more.completion)
                if not self._unwritten[entry].total:
                    del self._unwritten[entry]

    async def close(self) -> None:
        """Write what there is."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        with contextlib.suppress(StorageFailed):  # which has been logged
            await self.write()

    async def _write_later(self) -> None:
        while self._unwritten:
            await asyncio.sleep(_WRITTEN_WITHIN_S)
            try:
                await self.write()
            except StorageFailed:
                logger.warning("what people had of the models cannot be written now; it is tried again")
        self._writer = None

    def _turn_page(self) -> None:
        if (day := self._now().date()) != self._day:
            self._day = day
            self._today.clear()
