"""The statements that take a whole chat in, as one of the transaction whose connection they are given."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.storage import tables
from fairlead.storage.messages import Message


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
