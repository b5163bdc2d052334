from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import insert

from fairlead.config import Settings, UserSettings
from fairlead.errors import StorageUsedUp
from fairlead.service.people import Limits, People
from fairlead.storage.database import Database
from fairlead.storage.tables import File
from tests.storage.test_search import NOW, chat


def people_of(database: Database, home: Path) -> People:
    users = {"anna": UserSettings(weight=2, storage_bytes=100, tokens_per_day=7)}
    return People(database, Settings(home, users=users, storage_bytes=10), local_only=True)


async def test_a_person_is_made_once_however_many_ask(database: Database, tmp_path: Path) -> None:
    people, others = people_of(database, tmp_path), people_of(database, tmp_path)
    rows = await asyncio.gather(*[each.row("ann 😀") for each in (people, others) for _ in range(5)])
    assert len(set(rows)) == 1
    assert await people.row("x" * 256) != rows[0]
    await people.close()


def test_limits_are_the_users_own_or_those_of_all(tmp_path: Path) -> None:
    people = people_of(Database.at(tmp_path / "none.db"), tmp_path)
    assert people.limits("anna") == Limits(weight=2, max_waiting=64, tokens_per_day=7, storage_bytes=100)
    assert people.limits("ben") == Limits(weight=1, max_waiting=64, tokens_per_day=None, storage_bytes=10)


async def test_files_may_take_the_room_that_is_their_owners(database: Database, tmp_path: Path) -> None:
    people = people_of(database, tmp_path)
    row = await chat(database, await people.row("anna"), 1, "")
    await people.check_storage("anna", 100)
    async with database.writing() as connection:
        for number, size in ((1, 60), (2, 30)):
            await connection.execute(
                insert(File).values(
                    chat_id=row, number=number, name="a.txt", kind="text", sha256="0" * 64, size_bytes=size,
                    state="ready", created_at=NOW,
                )
            )  # fmt: skip
    assert await people.stored_bytes("anna") == 90
    await people.check_storage("anna", 10)
    with pytest.raises(StorageUsedUp) as caught:
        await people.check_storage("anna", 11)
    assert caught.value.details == {"limit_bytes": 100, "used_bytes": 90, "added_bytes": 11}
    await people.check_storage("ben", 10)
