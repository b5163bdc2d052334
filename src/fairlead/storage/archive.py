"""Statements that take a whole chat out, or in. Each takes the connection of the transaction that it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.storage import tables
from fairlead.storage.messages import Message
from fairlead.storage.tables import FileState


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What is known of a file, without its text."""

    number: int
    name: str
    kind: str
    sha256: str
    size_bytes: int
    state: FileState
    error: str | None
    pages: int | None
    characters: int | None
    created_at: datetime


async def files(connection: AsyncConnection, chat_id: int) -> list[FileFacts]:
    """A chat's files."""
    told = (
        tables.File.number,
        tables.File.name,
        tables.File.kind,
        tables.File.sha256,
        tables.File.size_bytes,
        tables.File.state,
        tables.File.error,
        tables.File.pages,
        tables.File.characters,
        tables.File.created_at,
    )
    asked = select(*told).where(tables.File.chat_id == chat_id).order_by(tables.File.number)
    return [FileFacts(**row._mapping) for row in await connection.execute(asked)]


async def put(connection: AsyncConnection, chat_id: int, told: Sequence[Message], leaf: int, last_file: int) -> None:
    """Give a chat without messages those of another.

    Args:
        connection: of the transaction.
        chat_id: the chat's row.
        told: the messages in the order of their numbers, which they keep; `id` and `parent_id` are any that agree
            with each other.
        leaf: `id` of the one that ends the branch that is shown.
        last_file: the number that is taken to have been given to a file last.
    """
    rows = [
        {
            "chat_id": chat_id,
            "number": message.number,
            "role": message.role,
            "content": message.content,
            "state": message.state,
            "finish_reason": message.finish_reason,
            "model": message.model,
            "report": None if message.report is None else dict(message.report),
            "created_at": message.created_at,
            "finished_at": message.finished_at,
        }
        for message in told
    ]
    await connection.execute(insert(tables.Message), rows)
    asked = select(tables.Message.number, tables.Message.id).where(tables.Message.chat_id == chat_id)
    by_number = {row.number: row.id for row in await connection.execute(asked)}
    row_of = {message.id: by_number[message.number] for message in told}
    parents = [
        {"child": row_of[message.id], "parent": row_of[message.parent_id]}
        for message in told
        if message.parent_id is not None
    ]
    if parents:
        tie = (
            update(tables.Message.__table__)  # type: ignore[arg-type]  # a table, for many rows at once
            .where(tables.Message.id == bindparam("child"))
            .values(parent_id=bindparam("parent"))
        )
        await connection.execute(tie, parents)
    placed = {"leaf_id": row_of[leaf], "last_message": told[-1].number, "last_file": last_file}
    await connection.execute(update(tables.Chat).where(tables.Chat.id == chat_id).values(**placed))
