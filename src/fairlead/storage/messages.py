"""Statements about the messages of chats, and about the summaries that stand for older ones.

Each takes the connection of the transaction that it belongs to. What comes out is plain and frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.storage import tables
from fairlead.storage.tables import MessageState, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it is stored; `parent_id` is None for a first one."""

    id: int
    """Its row; never leaves the server."""
    number: int
    parent_id: int | None
    role: Role
    content: str
    state: MessageState
    finish_reason: str | None
    model: str | None
    report: Mapping[str, Any] | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What stands for a message and all before it in its branch."""

    through_id: int
    text: str


_MESSAGE: Final = (
    tables.Message.id,
    tables.Message.number,
    tables.Message.parent_id,
    tables.Message.role,
    tables.Message.content,
    tables.Message.state,
    tables.Message.finish_reason,
    tables.Message.model,
    tables.Message.report,
    tables.Message.created_at,
    tables.Message.finished_at,
)


async def add(
    connection: AsyncConnection,
    chat_id: int,
    *,
    parent_id: int | None,
    role: Role,
    content: str,
    created_at: datetime,
    state: MessageState = "complete",
    finish_reason: str | None = None,
    model: str | None = None,
    report: Mapping[str, Any] | None = None,
    finished_at: datetime | None = None,
) -> Message:
    """A new message, with the chat's next number."""
    counted = (
        update(tables.Chat)
        .where(tables.Chat.id == chat_id)
        .values(last_message=tables.Chat.last_message + 1)
        .returning(tables.Chat.last_message)
    )
    values = {
        "number": (await connection.execute(counted)).scalar_one(),
        "parent_id": parent_id,
        "role": role,
        "content": content,
        "state": state,
        "finish_reason": finish_reason,
        "model": model,
        "report": None if report is None else dict(report),
        "created_at": created_at,
        "finished_at": finished_at,
    }
    inserted = insert(tables.Message).values(chat_id=chat_id, **values).returning(tables.Message.id)
    row = (await connection.execute(inserted)).scalar_one()
    return Message(id=row, **values)  # type: ignore[arg-type]  # as the arguments above


async def of_chat(connection: AsyncConnection, chat_id: int) -> list[Message]:
    """All messages of a chat, of all branches, in the order of their numbers: each after its parent."""
    asked = select(*_MESSAGE).where(tables.Message.chat_id == chat_id).order_by(tables.Message.number)
    return [Message(**row._mapping) for row in await connection.execute(asked)]


async def find(connection: AsyncConnection, chat_id: int, number: int) -> Message | None:
    """A message of a chat by its number; None where there is none."""
    asked = select(*_MESSAGE).where(tables.Message.chat_id == chat_id, tables.Message.number == number)
    row = (await connection.execute(asked)).one_or_none()
    return None if row is None else Message(**row._mapping)


async def write_texts(connection: AsyncConnection, texts: Mapping[int, str]) -> None:
    """Store what there is of answers that are under way, by their rows; those that have ended stay as they are."""
    growing = (
        update(tables.Message.__table__)  # type: ignore[arg-type]  # a table, for many rows at once
        .where(tables.Message.id == bindparam("row"), tables.Message.state == "generating")
        .values(content=bindparam("text"))
    )
    if texts:
        await connection.execute(growing, [{"row": row, "text": text} for row, text in texts.items()])


async def finish(
    connection: AsyncConnection,
    message_id: int,
    *,
    content: str,
    state: MessageState,
    finish_reason: str,
    model: str | None,
    report: Mapping[str, Any],
    finished_at: datetime,
) -> None:
    """Store how an answer ended; the model stays as it is where None is given."""
    values = {
        "content": content,
        "state": state,
        "finish_reason": finish_reason,
        "report": dict(report),
        "finished_at": finished_at,
    }
    if model is not None:
        values["model"] = model
    await connection.execute(update(tables.Message).where(tables.Message.id == message_id).values(**values))


async def remove(connection: AsyncConnection, message_id: int) -> None:
    """Delete a message and what follows it."""
    await connection.execute(delete(tables.Message).where(tables.Message.id == message_id))


async def add_summary(connection: AsyncConnection, chat_id: int, through_id: int, text: str, now: datetime) -> None:
    """Keep what was written to stand for a message and all before it."""
    values = {"chat_id": chat_id, "through_id": through_id, "text": text, "created_at": now}
    await connection.execute(insert(tables.Summary).values(**values))


async def summaries(connection: AsyncConnection, chat_id: int) -> list[Summary]:
    """A chat's summaries, of all branches, the oldest first."""
    asked = select(tables.Summary.through_id, tables.Summary.text).where(tables.Summary.chat_id == chat_id)
    return [Summary(**row._mapping) for row in await connection.execute(asked.order_by(tables.Summary.id))]
