from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError

from fairlead.errors import ConfigError, StorageFailed, StorageFull
from fairlead.storage.database import Database
from fairlead.storage.tables import Message, Person
from tests.databases import PostgreSQL
from tests.storage.test_search import NOW, chat, person


async def test_a_transaction_is_whole_or_not_there(database: Database) -> None:
    async def fail() -> None:
        async with database.writing() as connection:
            await connection.execute(insert(Person).values(name="anna", created_at=NOW))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await person(database, "anna")
    with pytest.raises(IntegrityError):
        await person(database, "anna")
    await person(database, "ben")
    async with database.reading() as connection:
        assert list((await connection.execute(select(Person.name))).scalars()) == ["anna", "ben"]


async def test_writers_take_turns_and_readers_see_one_state(database: Database) -> None:
    row = await chat(database, await person(database), 1, "", "first")

    async def count() -> int:
        async with database.reading() as connection:
            return len((await connection.execute(select(Message.id))).all())

    async def write(number: int) -> None:
        async with database.writing() as connection:
            for place in (number, number + 1):
                values = {"chat_id": row, "number": place, "role": "user", "content": "x", "state": "complete"}
                await connection.execute(insert(Message).values(**values, created_at=NOW))
                await asyncio.sleep(0)

    async def counts() -> list[int]:
        return [await count() for _ in range(20)]

    seen, *_ = await asyncio.gather(counts(), *(write(number) for number in range(2, 42, 2)))
    assert seen is not None
    assert all(messages % 2 == 1 for messages in seen)
    assert await count() == 41


async def test_a_full_disk_is_told_reading_goes_on_and_there_is_room_again(
    migrated_sqlite: Path, tmp_path: Path
) -> None:
    """SQLite's own limit on a database's pages answers as a full disk does."""
    database = Database.at(Path(shutil.copy(migrated_sqlite, tmp_path)))
    row = await chat(database, await person(database), 1, "", "kept")

    async def allow(pages: int) -> None:
        """For every connection there is, which is one: this test does one thing at a time."""
        async with database.reading() as connection:
            await connection.execute(text(f"PRAGMA max_page_count = {pages}"))

    async def write(number: int) -> None:
        async with database.writing() as connection:
            values = {"chat_id": row, "number": number, "role": "user", "content": "words " * 100_000}
            await connection.execute(insert(Message).values(**values, state="complete", created_at=NOW))

    await allow(1)  # as many as there are
    for number in (2, 3):
        with pytest.raises(StorageFull, match="no room"):
            await write(number)
    async with database.reading() as connection:
        assert list((await connection.execute(select(Message.content))).scalars()) == ["kept"]
        assert (await connection.execute(text("PRAGMA integrity_check"))).scalar() == "ok"
    await allow(100_000)
    await write(2)
    await database.close()


async def test_a_server_that_goes_away_is_told_and_found_again(
    postgresql: PostgreSQL, migrated_postgresql: str
) -> None:
    database = Database.at(await postgresql.create(migrated_postgresql))
    await person(database, "anna")

    async def lose_it() -> None:
        async with database.writing() as connection:
            await connection.execute(insert(Person).values(name="ben", created_at=NOW))
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(StorageFailed) as caught:
        await lose_it()
    assert not isinstance(caught.value, StorageFull)
    await person(database, "carl")
    async with database.reading() as connection:
        assert list((await connection.execute(select(Person.name))).scalars()) == ["anna", "carl"]
    await database.close()


@pytest.mark.parametrize("url", ["postgresql://host:port/name", "nothing"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="postgresql://USER"):
        Database.at(url)
