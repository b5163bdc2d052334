"""Statements about chats: their numbers, their list, and what is set for each.

Each takes the connection of the transaction that it belongs to. What comes out is plain and frozen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.storage import tables
from fairlead.storage.tables import Overflow, Titled

_PREVIEW_CHARS: Final = 200
_MOST_RESERVED: Final = 1000
"""Numbers that a person may have reserved and not used; older ones are given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A chat without its messages."""

    id: int
    """Its row; never leaves the server."""
    number: int
    title: str
    titled_by: Titled
    system: str | None
    model: str | None
    parameters: Mapping[str, Any]
    on_overflow: Overflow
    leaf_id: int | None
    """The row of the last message of the branch that is shown."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A chat as lists show it."""

    id: int
    """Its row; never leaves the server."""
    number: int
    title: str
    created_at: datetime
    updated_at: datetime
    message_count: int
    """Of all its branches."""
    preview: str
    """How the last message begins that is shown."""


_CHAT: Final = (
    tables.Chat.id,
    tables.Chat.number,
    tables.Chat.title,
    tables.Chat.titled_by,
    tables.Chat.system,
    tables.Chat.model,
    tables.Chat.parameters,
    tables.Chat.on_overflow,
    tables.Chat.leaf_id,
    tables.Chat.created_at,
    tables.Chat.updated_at,
)

_NEWEST_FIRST: Final = (tables.Chat.updated_at.desc(), tables.Chat.id.desc())


# ---- numbers --------------------------------------------------------------------------------------


async def next_number(connection: AsyncConnection, person_id: int) -> int:
    """A number for a chat of this person's, which no chat had before."""
    counted = (
        update(tables.Person)
        .where(tables.Person.id == person_id)
        .values(last_chat=tables.Person.last_chat + 1)
        .returning(tables.Person.last_chat)
    )
    return (await connection.execute(counted)).scalar_one()


async def reserve(connection: AsyncConnection, person_id: int, number: int) -> None:
    """Keep a number for a chat that is still to come."""
    kept = tables.Reservation
    await connection.execute(insert(kept).values(person_id=person_id, number=number))
    await connection.execute(delete(kept).where(kept.person_id == person_id, kept.number <= number - _MOST_RESERVED))


async def take_reserved(connection: AsyncConnection, person_id: int, number: int) -> bool:
    """Use a reserved number up; False where it is not reserved."""
    kept = tables.Reservation
    taken = delete(kept).where(kept.person_id == person_id, kept.number == number)
    return (await connection.execute(taken)).rowcount > 0


# ---- chats ----------------------------------------------------------------------------------------


async def create(
    connection: AsyncConnection,
    person_id: int,
    number: int,
    now: datetime,
    *,
    title: str = "",
    titled_by: Titled = "nobody",
    system: str | None = None,
    model: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    on_overflow: Overflow = "drop_oldest",
) -> Chat:
    """A new chat without messages."""
    values = {
        "number": number,
        "title": title,
        "titled_by": titled_by,
        "system": system,
        "model": model,
        "parameters": dict(parameters or {}),
        "on_overflow": on_overflow,
        "created_at": now,
        "updated_at": now,
    }
    inserted = insert(tables.Chat).values(person_id=person_id, **values).returning(tables.Chat.id)
    row = (await connection.execute(inserted)).scalar_one()
    return Chat(id=row, leaf_id=None, **values)  # type: ignore[arg-type]  # as the arguments above


async def find(connection: AsyncConnection, person_id: int, number: int) -> Chat | None:
    """A person's chat by its number; None where there is none."""
    asked = select(*_CHAT).where(tables.Chat.person_id == person_id, tables.Chat.number == number)
    row = (await connection.execute(asked)).one_or_none()
    return None if row is None else Chat(**row._mapping)


async def by_row(connection: AsyncConnection, chat_id: int) -> Chat | None:
    """A chat by its row; None where it is gone."""
    row = (await connection.execute(select(*_CHAT).where(tables.Chat.id == chat_id))).one_or_none()
    return None if row is None else Chat(**row._mapping)


async def change(connection: AsyncConnection, chat_id: int, **values: Any) -> None:
    """Set columns of a chat."""
    if values:
        await connection.execute(update(tables.Chat).where(tables.Chat.id == chat_id).values(**values))


async def give_title(connection: AsyncConnection, chat_id: int, title: str, titled_by: Titled) -> bool:
    """Name a chat that no person has named; whether it was done."""
    named = (
        update(tables.Chat)
        .where(tables.Chat.id == chat_id, tables.Chat.titled_by == "nobody")
        .values(title=title, titled_by=titled_by)
    )
    return (await connection.execute(named)).rowcount > 0


async def remove(connection: AsyncConnection, chat_id: int) -> None:
    """Delete a chat with its messages, files and summaries."""
    await connection.execute(delete(tables.Chat).where(tables.Chat.id == chat_id))


async def file_numbers(connection: AsyncConnection, chat_id: int) -> frozenset[int]:
    """The numbers of the files that a chat has now."""
    asked = select(tables.File.number).where(tables.File.chat_id == chat_id)
    return frozenset((await connection.execute(asked)).scalars())


# ---- lists ----------------------------------------------------------------------------------------


async def listing(
    connection: AsyncConnection,
    person_id: int,
    *,
    limit: int,
    before: Chat | None = None,
    only: Collection[int] | None = None,
) -> list[Listed]:
    """A person's chats, the newest first.

    Args:
        connection: of the transaction.
        person_id: the person's row.
        limit: how many at most.
        before: leaves out this chat, and those that come before it in the list.
        only: rows of chats; the others are left out.
    """
    asked = select(tables.Chat.id).where(tables.Chat.person_id == person_id)
    if before is not None:
        asked = asked.where(_after(before))
    if only is not None:
        asked = asked.where(tables.Chat.id.in_(only))
    page = asked.order_by(*_NEWEST_FIRST).limit(limit).subquery()
    count = (
        select(func.count())
        .select_from(tables.Message)
        .where(tables.Message.chat_id == tables.Chat.id)
        .correlate(tables.Chat)
        .scalar_subquery()
    )
    shown = func.substr(tables.Message.content, 1, _PREVIEW_CHARS)
    told = (
        select(
            tables.Chat.id,
            tables.Chat.number,
            tables.Chat.title,
            tables.Chat.created_at,
            tables.Chat.updated_at,
            count.label("message_count"),
            func.coalesce(shown, "").label("preview"),
        )
        .join(page, page.c.id == tables.Chat.id)
        .outerjoin(tables.Message, tables.Message.id == tables.Chat.leaf_id)
        .order_by(*_NEWEST_FIRST)
    )
    return [Listed(**row._mapping) for row in await connection.execute(told)]


def _after(chat: Chat) -> ColumnElement[bool]:
    """Whether a chat comes after this one in a list."""
    return or_(
        tables.Chat.updated_at < chat.updated_at,
        and_(tables.Chat.updated_at == chat.updated_at, tables.Chat.id < chat.id),
    )
