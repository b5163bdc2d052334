"""Chats and messages in both databases: numbers, lists, what is deleted, and chats put in whole."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.storage import archive, chats, files, messages, tables
from fairlead.storage.database import Database
from fairlead.storage.messages import Message

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
async def person(database: Database) -> int:
    """Somebody's row."""
    return await new_person(database, "anna")


async def new_person(database: Database, name: str) -> int:
    async with database.writing() as connection:
        made = insert(tables.Person).values(name=name, created_at=NOW).returning(tables.Person.id)
        return int((await connection.execute(made)).scalar_one())


async def new_chat(connection: AsyncConnection, person: int, hours: int = 0) -> chats.Chat:
    number = await chats.next_number(connection, person)
    return await chats.create(connection, person, number, NOW + timedelta(hours=hours))


async def say(connection: AsyncConnection, chat: chats.Chat, text: str, parent: int | None = None) -> Message:
    return await messages.add(
        connection, chat.id, parent_id=parent, role="user", content=text, created_at=NOW, report={"a": [1.5, None]}
    )


async def rows(database: Database, table: type[tables.Base]) -> int:
    async with database.reading() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_numbers_are_given_once_however_many_ask(database: Database, person: int) -> None:
    other = await new_person(database, "bob")

    async def ask(whose: int) -> int:
        async with database.writing() as connection:
            number = await chats.next_number(connection, whose)
            await chats.reserve(connection, whose, number)
            return number

    given = await asyncio.gather(*(ask(person) for _ in range(10)), *(ask(other) for _ in range(5)))
    assert sorted(given[:10]) == list(range(1, 11))
    assert sorted(given[10:]) == list(range(1, 6))
    async with database.writing() as connection:
        assert await chats.take_reserved(connection, person, 7)
        assert not await chats.take_reserved(connection, person, 7)
        assert not await chats.take_reserved(connection, person, 11)
        await chats.reserve(connection, person, 1010)  # so old ones are given up
        assert not await chats.take_reserved(connection, person, 10)


async def test_a_chat_is_what_was_set(database: Database, person: int) -> None:
    async with database.writing() as connection:
        made = await chats.create(
            connection, person, 3, NOW, title="T", titled_by="person", parameters={"top_k": 3, "stop": ["a"]}
        )
        await chats.change(connection, made.id, system="Be kind.", on_overflow="summarize")
        await chats.change(connection, made.id)
    async with database.reading() as connection:
        found = await chats.find(connection, person, 3)
        assert await chats.by_row(connection, made.id) == found
        assert await chats.find(connection, person + 1, 3) is None
        assert await chats.find(connection, person, 4) is None
    assert found is not None
    assert (found.title, found.system, found.on_overflow) == ("T", "Be kind.", "summarize")
    assert found.parameters == {"top_k": 3, "stop": ["a"]}
    assert found.created_at == NOW


async def test_a_title_never_replaces_a_persons(database: Database, person: int) -> None:
    async with database.writing() as connection:
        chat = await new_chat(connection, person)
        assert await chats.give_title(connection, chat.id, "First words", "nobody")
        assert await chats.give_title(connection, chat.id, "The model's", "model")
        assert not await chats.give_title(connection, chat.id, "Another", "model")
        await chats.change(connection, chat.id, title="Mine", titled_by="person")
        assert not await chats.give_title(connection, chat.id, "Another", "model")


async def test_messages_in_their_order(database: Database, person: int) -> None:
    async with database.writing() as connection:
        chat, other = await new_chat(connection, person), await new_chat(connection, person)
        first = await say(connection, chat, "eins 😀")
        second = await say(connection, chat, "zwei", first.id)
        await say(connection, other, "another chat's")
    async with database.reading() as connection:
        assert await messages.of_chat(connection, chat.id) == [first, second]
        assert await messages.find(connection, chat.id, 2) == second
        assert await messages.find(connection, chat.id, 3) is None
    assert first.report == {"a": [1.5, None]}


async def test_texts_of_answers_that_have_ended_stay(database: Database, person: int) -> None:
    async with database.writing() as connection:
        chat = await new_chat(connection, person)
        both = [
            await messages.add(
                connection, chat.id, parent_id=None, role="assistant", content="", state="generating", created_at=NOW
            )
            for _ in range(2)
        ]
        await messages.write_texts(connection, {message.id: "so far" for message in both})
        await messages.finish(
            connection,
            both[0].id,
            content="the whole",
            state="complete",
            finish_reason="stop",
            model="m",
            report={},
            finished_at=NOW,
        )
        await messages.write_texts(connection, {message.id: "late" for message in both})
        await messages.write_texts(connection, {})
    async with database.reading() as connection:
        now = await messages.of_chat(connection, chat.id)
    assert [(message.content, message.state) for message in now] == [("the whole", "complete"), ("late", "generating")]
    assert now[0].model == "m"


async def test_lists(database: Database, person: int) -> None:
    async with database.writing() as connection:
        made = [await new_chat(connection, person, hours) for hours in (3, 1, 2, 2)]
        first = await say(connection, made[0], "Hello " * 100)
        await say(connection, made[0], "More", first.id)
        await chats.change(connection, made[0].id, leaf_id=first.id)
    await new_person(database, "bob")
    async with database.reading() as connection:
        listed = await chats.listing(connection, person, limit=10)
        assert [chat.number for chat in listed] == [1, 4, 3, 2]
        assert (listed[0].message_count, listed[1].message_count) == (2, 0)
        assert listed[0].preview == ("Hello " * 100)[:200]
        assert listed[1].preview == ""
        behind = await chats.listing(connection, person, limit=2, before=made[3])
        assert [chat.number for chat in behind] == [3, 2]
        only = await chats.listing(connection, person, limit=2, only=[made[1].id, made[2].id])
        assert [chat.number for chat in only] == [3, 2]
        assert await chats.listing(connection, person + 1, limit=2) == []


async def test_what_belongs_to_a_chat_goes_with_it(database: Database, person: int) -> None:
    async with database.writing() as connection:
        chat, other = await new_chat(connection, person), await new_chat(connection, person)
        first = await say(connection, chat, "one")
        second = await say(connection, chat, "two", first.id)
        kept = await say(connection, other, "kept")
        await chats.change(connection, chat.id, leaf_id=second.id)
        await messages.add_summary(connection, chat.id, second.id, "told", NOW)
        assert [summary.text for summary in await messages.summaries(connection, chat.id)] == ["told"]
        file = {"number": 1, "name": "a", "kind": "text", "sha256": "0" * 64, "size_bytes": 1, "state": "ready"}
        await connection.execute(insert(tables.File).values(chat_id=chat.id, created_at=NOW, **file))
        assert await chats.file_numbers(connection, chat.id) == {1}
        assert [told.name for told in await files.of_chat(connection, chat.id)] == ["a"]
    async with database.writing() as connection:
        await messages.remove(connection, first.id)
        now = await chats.by_row(connection, chat.id)
        assert now is not None
        assert now.leaf_id is None
        await chats.remove(connection, chat.id)
    assert [await rows(database, table) for table in (tables.Chat, tables.Message, tables.File)] == [1, 1, 0]
    async with database.reading() as connection:
        assert await messages.of_chat(connection, other.id) == [kept]


async def test_a_chat_is_put_in_whole(database: Database, person: int) -> None:
    def told(number: int, parent: int | None) -> Message:
        return Message(
            id=number,
            number=number,
            parent_id=parent,
            role="user" if parent is None else "assistant",
            content=f"text {number}",
            state="complete",
            finish_reason=None,
            model=None,
            report=None if parent is None else {"usage": {"prompt_tokens": number}},
            created_at=NOW,
            finished_at=None,
        )

    tree = [told(2, None), told(3, 2), told(7, 2)]
    async with database.writing() as connection:
        await say(connection, await new_chat(connection, person), "another")
        chat = await new_chat(connection, person)
        await archive.put(connection, chat.id, tree, leaf=3, last_file=4)
        await archive.put(connection, (await new_chat(connection, person)).id, tree[:1], leaf=2, last_file=0)
    async with database.writing() as connection:
        now = await messages.of_chat(connection, chat.id)
        leaf = await chats.by_row(connection, chat.id)
        later = await say(connection, chat, "later")
    assert [message.number for message in now] == [2, 3, 7]
    assert [message.parent_id for message in now] == [None, now[0].id, now[0].id]
    assert now[2].report == {"usage": {"prompt_tokens": 7}}
    assert leaf is not None
    assert leaf.leaf_id == now[1].id
    assert later.number == 8
