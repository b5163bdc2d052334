from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, text, update

from fairlead.storage.database import Database
from fairlead.storage.search import Match, Query, search
from fairlead.storage.tables import Chat, Message, Person

NOW = datetime(2026, 11, 26, tzinfo=UTC)


async def person(database: Database, name: str = "anna") -> int:
    async with database.writing() as connection:
        made = await connection.execute(insert(Person).values(name=name, created_at=NOW).returning(Person.id))
    return made.scalar_one()


async def chat(database: Database, owner: int, number: int, title: str, *messages: str, state: str = "complete") -> int:
    """A chat with these messages; the higher its number, the newer."""
    at = NOW + timedelta(seconds=number)
    async with database.writing() as connection:
        made = await connection.execute(
            insert(Chat)
            .values(person_id=owner, number=number, title=title, created_at=NOW, updated_at=at)
            .returning(Chat.id)
        )
        row = made.scalar_one()
        for place, content in enumerate(messages, 1):
            values = {"chat_id": row, "number": place, "role": "user", "content": content, "state": state}
            await connection.execute(insert(Message).values(**values, created_at=NOW))
    return row


async def found(database: Database, owner: int, query: str, **options: object) -> list[Match]:
    async with database.reading() as connection:
        return await search(connection, owner, query, **options)  # type: ignore[arg-type]  # a test's own


async def ids(database: Database, owner: int, query: str) -> list[int]:
    return [match.chat_id for match in await found(database, owner, query)]


async def test_words_are_found_in_titles_and_messages_newest_first(database: Database) -> None:
    anna = await person(database)
    first = await chat(database, anna, 1, "On boats", "What is a halyard?", "A rope that hoists a sail.", "And a boat?")
    second = await chat(database, anna, 2, "Dinner", "Is a boat of potatoes a meal?", "Yes.")
    assert await found(database, anna, "BOAT") == [
        Match(second, 1, "Is a boat of potatoes a meal?"),
        Match(first, None, "On boats"),
    ]
    assert await found(database, anna, "sail hoists") == [Match(first, 2, "A rope that hoists a sail.")]
    assert await ids(database, anna, "hoists potatoes") == []
    assert await ids(database, anna, "hoi") == [first], "the last word may be unfinished"
    assert await ids(database, anna, "hoi sail") == []
    assert [match.message for match in await found(database, anna, "a")] == [1, 3], "the latest message"


async def test_others_are_not_found(database: Database) -> None:
    anna, ben = await person(database), await person(database, "ben")
    await chat(database, anna, 1, "secret", "secret", "!?")
    for query in ("secret", "!?", str(anna), f'owner : "{anna}"', f'"x" OR owner : "{anna}"'):
        assert await ids(database, ben, query) == []


@pytest.mark.parametrize(
    "query",
    [
        "Malaga",
        "málaga",
        "CAFÉ",
        "cafe\u0301",
        "привет",
        "snake_case",
        "case",
        "a+b",
        "path/to",
        "to.txt",
        "한국",
        "한",
    ],
)
async def test_accents_case_and_punctuation_do_not_matter(database: Database, query: str) -> None:
    anna = await person(database)
    row = await chat(database, anna, 1, "", "Málaga café Привет snake_case a+b path/to.txt 한국어")
    assert await ids(database, anna, query) == [row]


@pytest.mark.parametrize("query", ["=>", "100%", "a_", "😀", "语言", "ことば", "ไทย", "\\"])
async def test_what_has_no_words_is_found_as_it_stands(database: Database, query: str) -> None:
    anna = await person(database)
    row = await chat(database, anna, 1, "", "x => 100% a_b 😀 自然语言处理 やまとことば ภาษาไทย \\")
    await chat(database, anna, 2, "", "nothing of it: 1000 ab")
    assert row in await ids(database, anna, query)
    if not Query.parse(query) or not Query.parse(query).words:  # type: ignore[union-attr]  # parsed just before
        assert await ids(database, anna, query) == [row]


async def test_an_answer_is_found_once_it_has_ended(database: Database) -> None:
    anna = await person(database)
    row = await chat(database, anna, 1, "", "half of an answer", state="generating")

    async def change(**values: object) -> None:
        async with database.writing() as connection:
            await connection.execute(update(Message).where(Message.chat_id == row).values(**values))

    assert await ids(database, anna, "half") == []
    await change(content="half of an answer, and the rest")
    assert await ids(database, anna, "half") == []
    await change(state="complete")
    assert await ids(database, anna, "rest") == [row]
    await change(content="another text")
    assert await ids(database, anna, "rest") == []
    assert await ids(database, anna, "another") == [row]
    await change(state="generating", content="again")
    assert await ids(database, anna, "another") == []
    await change(state="cut_off")
    assert await ids(database, anna, "again") == [row]


async def test_what_is_deleted_or_renamed_is_gone_from_the_index(database: Database) -> None:
    anna, ben = await person(database), await person(database, "ben")
    rows = [await chat(database, owner, 1, "old words", "words", "other words") for owner in (anna, ben)]
    third = await chat(database, ben, 2, "", "words", "never", state="generating")
    async with database.writing() as connection:
        await connection.execute(update(Chat).where(Chat.id == rows[1]).values(title="new"))
        await connection.execute(delete(Message).where(Message.chat_id == rows[1], Message.number == 2))
        await connection.execute(delete(Chat).where(Chat.id == third))
        await connection.execute(delete(Person).where(Person.id == anna))
    assert await found(database, ben, "words") == [Match(rows[1], 1, "words")]
    assert await found(database, ben, "new") == [Match(rows[1], None, "new")]
    if database.is_sqlite:
        async with database.writing() as connection:
            await connection.execute(text("INSERT INTO search_index(search_index) VALUES ('integrity-check')"))
            left = await connection.execute(
                text("SELECT count(*) FROM search_index WHERE search_index MATCH :anna"), {"anna": f'owner:"{anna}"'}
            )
            assert left.scalar() == 0


async def test_pages(database: Database) -> None:
    anna = await person(database)
    rows = [await chat(database, anna, number, "same") for number in range(1, 6)]
    first = await found(database, anna, "same", limit=2)
    assert [match.chat_id for match in first] == rows[:2:-1]
    rest = await found(database, anna, "same", before=(NOW + timedelta(seconds=4), rows[3]))
    assert [match.chat_id for match in rest] == rows[2::-1]


async def test_a_common_beginning_of_words_in_many_chats(database: Database) -> None:
    """Each chat once, by pages, with its latest message, whatever the length of the beginning."""
    anna, ben = await person(database), await person(database, "ben")
    texts = [f"tomato{place % 7} tomatoes{place}" for place in range(1, 4)]
    rows = [await chat(database, anna, number, "title", *texts, "none") for number in range(1, 31)]
    await chat(database, ben, 31, "tomatoes", *texts)
    for query in ("t", "to", "tom", "toma", "tomat", "tomato", "tomatoe"):
        is_titled = query == "t"
        pages: list[Match] = []
        before = None
        while page := await found(database, anna, query, limit=7, before=before):
            pages += page
            last = page[-1].chat_id
            before = (NOW + timedelta(seconds=rows.index(last) + 1), last)
        assert [match.chat_id for match in pages] == rows[::-1], query
        assert {match.message for match in pages} == ({None} if is_titled else {3}), query
        assert {match.excerpt for match in pages} == ({"title"} if is_titled else {texts[2]}), query


async def test_a_text_of_any_size_can_be_stored(database: Database) -> None:
    anna = await person(database)
    letters = "".join(map(chr, range(0x20000, 0x2A000)))
    row = await chat(database, anna, 1, "", "first " + " ".join(letters) * 12, "first " + "a-b.c " * 300_000)
    assert await ids(database, anna, "first") == [row]


@given(query=st.text() | st.text(alphabet="\"'*():^-+AND OR NOT NEAR{}\\\x00\ud800|&!<>%_"))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_query_is_a_mistake(database: Database, query: str) -> None:
    await found(database, 1, query)


@given(around=st.text(max_size=300), word=st.text(alphabet="abcäß", min_size=1, max_size=8))
def test_an_excerpt_is_short_and_shows_what_was_found(around: str, word: str) -> None:
    query = Query.parse(word)
    assert query is not None
    excerpt = query.excerpt(f"{around} {word} {around}")
    assert len(excerpt) <= 162
    assert "\n" not in excerpt
    assert Query.parse(excerpt) is None or word in excerpt or word[0].lower() in around.casefold() + around.lower()
