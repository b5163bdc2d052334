"""People as rows, the tokens they had, and the room that what they store takes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.storage.tables import Chat, Collection, File, Person, Usage


async def find(connection: AsyncConnection, name: str) -> int | None:
    """The row of the person of this name; None where there is none yet."""
    return (await connection.execute(select(Person.id).where(Person.name == name))).scalar_one_or_none()


async def name(connection: AsyncConnection, person_id: int) -> str:
    """Of the person of this row."""
    return (await connection.execute(select(Person.name).where(Person.id == person_id))).scalar_one()


async def find_or_add(connection: AsyncConnection, name: str) -> int:
    """The same, made where it is not there."""
    row = await find(connection, name)
    if row is None:
        new = _insert(connection, Person).values(name=name, created_at=datetime.now(UTC))
        await connection.execute(new.on_conflict_do_nothing(index_elements=[Person.name]))
        row = await find(connection, name)
        assert row is not None, "it was there, or was just made"
    return row


async def tokens(connection: AsyncConnection, name: str, day: date) -> tuple[int, int]:
    """Of prompts and of answers, what a person had on a day."""
    had = select(Usage.prompt_tokens, Usage.completion_tokens).join(Person).where(Person.name == name, Usage.day == day)
    row = (await connection.execute(had)).one_or_none()
    return (0, 0) if row is None else (row[0], row[1])


async def add_tokens(connection: AsyncConnection, person_id: int, day: date, prompt: int, completion: int) -> None:
    """Count some more of them."""
    new = _insert(connection, Usage).values(
        person_id=person_id, day=day, prompt_tokens=prompt, completion_tokens=completion
    )
    await connection.execute(
        new.on_conflict_do_update(
            index_elements=[Usage.person_id, Usage.day],
            set_={
                "prompt_tokens": Usage.prompt_tokens + new.excluded.prompt_tokens,
                "completion_tokens": Usage.completion_tokens + new.excluded.completion_tokens,
            },
        )
    )


async def stored_bytes(connection: AsyncConnection, name: str) -> int:
    """What the files in a person's chats and their collections take. A file that is attached twice counts twice."""
    own = select(Person.id).where(Person.name == name).scalar_subquery()
    files = select(func.sum(File.size_bytes)).join(Chat, Chat.id == File.chat_id).where(Chat.person_id == own)
    rows = select(func.sum(Collection.size_bytes)).where(Collection.person_id == own)
    return sum([int((await connection.execute(taken)).scalar_one() or 0) for taken in (files, rows)])


def _insert(connection: AsyncConnection, table: Any) -> Any:
    """An insertion that may meet a row that is there; the two databases say it alike, and SQLAlchemy in two classes."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
