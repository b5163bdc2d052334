from __future__ import annotations

from sqlalchemy import select

from fairlead.storage.database import Database
from fairlead.storage.recovery import cut_off_unfinished
from fairlead.storage.tables import Message
from tests.storage.test_search import chat, person


async def test_answers_under_way_are_cut_off_with_what_there_is_of_them(database: Database) -> None:
    anna = await person(database)
    await chat(database, anna, 1, "", "whole")
    await chat(database, anna, 2, "", "half of an", state="generating")
    assert await cut_off_unfinished(database) == 1
    assert await cut_off_unfinished(database) == 0
    async with database.reading() as connection:
        rows = (await connection.execute(select(Message.content, Message.state, Message.finished_at))).all()
    assert [row[:2] for row in rows] == [("whole", "complete"), ("half of an", "cut_off")]
    assert rows[1].finished_at is not None
