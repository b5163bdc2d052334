"""Statements about files and their passages, in both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fairlead.storage import chats, files, people
from fairlead.storage.database import Database
from fairlead.storage.files import File, NewPassage


@pytest.fixture
async def chat(database: Database) -> int:
    """The row of a chat."""
    async with database.writing() as connection:
        person = await people.find_or_add(connection, "anna")
        made = await chats.create(connection, person, 1, datetime.now(UTC), title="", titled_by="nobody")
    return made.id


async def add(database: Database, chat: int, name: str, sha256: str = "a" * 64) -> File:
    async with database.writing() as connection:
        file = await files.add(connection, chat, name=name, kind="text", sha256=sha256, size_bytes=5)
    assert file is not None
    return file


def passage(text: str, **where: int) -> NewPassage:
    place = {"page": None, "line_from": None, "line_to": None, **where}
    return NewPassage(heading="Über", text=text, **place)


async def test_files_are_numbered_within_their_chat_and_no_number_comes_back(database: Database, chat: int) -> None:
    first, second = await add(database, chat, "größe.txt"), await add(database, chat, "b.txt", "b" * 64)
    assert (first.number, second.number, first.state, first.chat_id) == (1, 2, "parsing", chat)
    async with database.writing() as connection:
        await files.remove(connection, second.id)
        assert not await files.is_wanted(connection, "b" * 64)
        assert await files.add(connection, chat + 1, name="", kind="", sha256="", size_bytes=0) is None
    third = await add(database, chat, "c.txt")
    async with database.reading() as connection:
        assert await files.of_chat(connection, chat) == [first, third]
        assert third.number == 3
        assert await files.find(connection, chat, 1) == first
        assert await files.find(connection, chat, 2) is None
        assert await files.count(connection, chat) == 2
        assert await files.hashes(connection) == {"a" * 64}
        assert await files.is_wanted(connection, "a" * 64)
        assert await files.unparsed(connection) == [first, third]


async def test_a_parsing_begins_ends_and_begins_anew(database: Database, chat: int) -> None:
    file = await add(database, chat, "a.txt")
    async with database.writing() as connection:
        assert await files.begin_parsing(connection, file.id)
        assert await files.add_passages(connection, file.id, 0, [passage("half")])
        assert await files.begin_parsing(connection, file.id)
        assert await files.passages(connection, [file.id]) == []
        assert await files.add_passages(
            connection, file.id, 0, [passage("One.\n", page=1), passage("Two 漢字.", page=2)]
        )
        assert await files.add_passages(connection, file.id, 2, [passage("Three.", line_from=3, line_to=4)])
        assert await files.add_passages(connection, file.id, 3, [])
        await files.end_parsing(connection, file.id, "ready", error="Page 9 is an image.", pages=9, characters=17)
    async with database.reading() as connection:
        stored = await files.passages(connection, [file.id])
        ended = await files.find(connection, chat, 1)
        assert await files.unparsed(connection) == []
    assert [(part.ordinal, part.text, part.page) for part in stored] == [
        (0, "One.\n", 1),
        (1, "Two 漢字.", 2),
        (2, "Three.", None),
    ]
    assert (stored[2].line_from, stored[2].line_to, stored[2].heading, stored[2].embedding) == (3, 4, "Über", None)
    assert ended is not None
    assert (ended.state, ended.error, ended.pages, ended.characters) == ("ready", "Page 9 is an image.", 9, 17)


async def test_vectors_count_by_their_model(database: Database, chat: int) -> None:
    file = await add(database, chat, "a.txt")
    async with database.writing() as connection:
        await files.add_passages(connection, file.id, 0, [passage(str(n)) for n in range(4)])
        waiting = await files.not_embedded(connection, file.id, "mini")
        assert [part.text for part in waiting] == ["0", "1", "2", "3"]
        await files.embed(connection, [(waiting[1].id, b"\x01\x02"), (10**6, b"gone")], "mini")
        assert [part.text for part in await files.not_embedded(connection, file.id, "mini")] == ["0", "2", "3"]
        assert len(await files.not_embedded(connection, file.id, "other")) == 4
        assert [part.embedding for part in await files.passages(connection, [file.id])] == [
            None,
            b"\x01\x02",
            None,
            None,
        ]


async def test_nothing_is_stored_for_a_file_that_is_gone(database: Database, chat: int) -> None:
    file = await add(database, chat, "a.txt")
    async with database.writing() as connection:
        await files.add_passages(connection, file.id, 0, [passage("One.")])
        await chats.remove(connection, chat)
    async with database.writing() as connection:
        assert not await files.begin_parsing(connection, file.id)
        assert not await files.add_passages(connection, file.id, 1, [passage("Two.")])
        await files.end_parsing(connection, file.id, "failed", error="gone")
        assert await files.passages(connection, [file.id]) == []
        assert await files.of_chat(connection, chat) == []
