from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from fairlead.errors import StorageFull, TokensUsedUp
from fairlead.service import usage as module
from fairlead.service.usage import Tokens, Usage
from fairlead.storage.database import Database


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 26, 22, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def usage_of(database: Database, clock: Clock, limit: int | None = 100) -> Usage:
    return Usage(database, lambda name: limit if name == "anna" else None, clock)


async def test_tokens_are_counted_by_the_day_and_last(database: Database, clock: Clock) -> None:
    usage = usage_of(database, clock)
    assert await usage.today("anna") == Tokens(0, 0)
    usage.count("anna", 10, 5)
    usage.count("ben", 3, 0)
    assert await usage.today("anna") == Tokens(10, 5)
    assert await usage.today("ben") == Tokens(3, 0)
    await usage.write()
    usage.count("anna", 1, 1)
    assert await usage.today("anna") == Tokens(11, 6)
    await usage.close()
    again = usage_of(database, clock)
    again.count("anna", 100, 100)
    assert await again.today("anna") == Tokens(111, 106)
    clock.now = datetime(2026, 11, 27, 0, 0, tzinfo=UTC)
    assert await again.today("anna") == Tokens(0, 0)
    again.count("anna", 7, 0)
    await again.close()
    async with database.reading() as connection:
        rows = await connection.execute(text("SELECT prompt_tokens, completion_tokens FROM usage ORDER BY 1"))
        assert [tuple(row) for row in rows] == [(3, 0), (7, 0), (111, 106)]


async def test_who_had_all_tokens_of_the_day_is_told_when_the_next_begins(database: Database, clock: Clock) -> None:
    usage = usage_of(database, clock)
    usage.count("anna", 60, 39)
    usage.count("ben", 1000, 1000)
    await usage.check("anna")
    usage.count("anna", 0, 1)
    with pytest.raises(TokensUsedUp) as caught:
        await usage.check("anna")
    assert caught.value.details == {"limit": 100, "used": 100, "retry_after_s": 5400.0}
    await usage.check("ben")
    clock.now = datetime(2026, 11, 27, 0, 0, 1, tzinfo=UTC)
    await usage.check("anna")
    await usage.close()


async def test_counts_are_written_by_themselves(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WRITTEN_WITHIN_S", 0.01)
    usage = usage_of(database, clock)
    for _ in range(20):
        usage.count("anna", 1, 1)
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    assert await usage_of(database, clock).today("anna") == Tokens(20, 20)
    await usage.close()


async def test_what_cannot_be_written_is_kept_for_the_next_time(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = usage_of(database, clock)
    usage.count("anna", 5, 5)

    async def fails(*_: object) -> None:
        raise StorageFull("full")

    with monkeypatch.context() as patched:
        patched.setattr("fairlead.storage.people.add_tokens", fails)
        with pytest.raises(StorageFull):
            await usage.write()
    await usage.write()
    await usage.write()
    assert await usage_of(database, clock).today("anna") == Tokens(5, 5)
    await usage.close()
