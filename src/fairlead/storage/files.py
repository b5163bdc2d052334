"""Statements about chats' files and the passages of their texts.

Each takes the connection of the transaction that it belongs to. What comes out is plain and frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.storage import tables
from fairlead.storage.tables import FileState


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of a chat."""

    id: int
    """Its row; never leaves the server."""
    chat_id: int
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A part of a file's text."""

    id: int
    file_id: int
    ordinal: int
    heading: str
    text: str
    page: int | None
    line_from: int | None
    line_to: int | None
    embedding: bytes | None
    embedded_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPassage:
    """A passage that has no row yet."""

    heading: str
    text: str
    page: int | None
    line_from: int | None
    line_to: int | None


_FILE: Final = (
    tables.File.id,
    tables.File.chat_id,
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
_PASSAGE: Final = (
    tables.Passage.id,
    tables.Passage.file_id,
    tables.Passage.ordinal,
    tables.Passage.heading,
    tables.Passage.text,
    tables.Passage.page,
    tables.Passage.line_from,
    tables.Passage.line_to,
    tables.Passage.embedding,
    tables.Passage.embedded_by,
)

# ---- files ----------------------------------------------------------------------------------------


async def add(
    connection: AsyncConnection, chat_id: int, *, name: str, kind: str, sha256: str, size_bytes: int
) -> File | None:
    """Attach a file to a chat, to be parsed; None where the chat is gone."""
    counted = (
        update(tables.Chat)
        .where(tables.Chat.id == chat_id)
        .values(last_file=tables.Chat.last_file + 1)
        .returning(tables.Chat.last_file)
    )
    number = (await connection.execute(counted)).scalar_one_or_none()
    if number is None:
        return None
    values: dict[str, Any] = {
        "chat_id": chat_id,
        "number": number,
        "name": name,
        "kind": kind,
        "sha256": sha256,
        "size_bytes": size_bytes,
        "state": "parsing",
        "created_at": datetime.now(UTC),
    }
    return _file((await connection.execute(insert(tables.File).values(values).returning(*_FILE))).one())


async def of_chat(connection: AsyncConnection, chat_id: int) -> list[File]:
    """A chat's files in the order in which they were attached."""
    asked = select(*_FILE).where(tables.File.chat_id == chat_id).order_by(tables.File.number)
    return [_file(row) for row in await connection.execute(asked)]


async def find(connection: AsyncConnection, chat_id: int, number: int) -> File | None:
    """A chat's file of this number."""
    asked = select(*_FILE).where(tables.File.chat_id == chat_id, tables.File.number == number)
    row = (await connection.execute(asked)).one_or_none()
    return None if row is None else _file(row)


async def count(connection: AsyncConnection, chat_id: int) -> int:
    """How many files a chat has."""
    asked = select(func.count()).select_from(tables.File).where(tables.File.chat_id == chat_id)
    return (await connection.execute(asked)).scalar_one()


async def unparsed(connection: AsyncConnection) -> list[File]:
    """All files that are to be parsed."""
    asked = select(*_FILE).where(tables.File.state == "parsing").order_by(tables.File.id)
    return [_file(row) for row in await connection.execute(asked)]


async def remove(connection: AsyncConnection, file_id: int) -> None:
    """Delete a file's row, and its passages with it."""
    await connection.execute(delete(tables.File).where(tables.File.id == file_id))


async def hashes(connection: AsyncConnection) -> set[str]:
    """Of all files there are."""
    return set((await connection.execute(select(tables.File.sha256).distinct())).scalars())


async def is_wanted(connection: AsyncConnection, sha256: str) -> bool:
    """Whether any file has this content."""
    return bool((await connection.execute(select(exists().where(tables.File.sha256 == sha256)))).scalar_one())


# ---- parsing --------------------------------------------------------------------------------------


async def begin_parsing(connection: AsyncConnection, file_id: int) -> bool:
    """Forget what an earlier, unfinished parsing left; whether the file is still there."""
    await connection.execute(delete(tables.Passage).where(tables.Passage.file_id == file_id))
    return await _is_there(connection, file_id)


async def add_passages(connection: AsyncConnection, file_id: int, first: int, passages: Sequence[NewPassage]) -> bool:
    """Store the next passages, numbered from `first`; whether the file is still there."""
    if not await _is_there(connection, file_id):
        return False
    rows = [
        {
            "file_id": file_id,
            "ordinal": ordinal,
            "heading": passage.heading,
            "text": passage.text,
            "page": passage.page,
            "line_from": passage.line_from,
            "line_to": passage.line_to,
        }
        for ordinal, passage in enumerate(passages, first)
    ]
    if rows:
        await connection.execute(insert(tables.Passage), rows)
    return True


async def end_parsing(
    connection: AsyncConnection,
    file_id: int,
    state: FileState,
    *,
    error: str | None,
    pages: int | None = None,
    characters: int | None = None,
) -> None:
    """Say how a file's parsing ended; nothing where the file is gone."""
    ended = update(tables.File).where(tables.File.id == file_id)
    await connection.execute(ended.values(state=state, error=error, pages=pages, characters=characters))


async def _is_there(connection: AsyncConnection, file_id: int) -> bool:
    asked = select(exists().where(tables.File.id == file_id))
    return bool((await connection.execute(asked)).scalar_one())


# ---- passages -------------------------------------------------------------------------------------


async def passages(connection: AsyncConnection, file_ids: Sequence[int]) -> list[Passage]:
    """The passages of files, in the order of their texts."""
    asked = (
        select(*_PASSAGE)
        .where(tables.Passage.file_id.in_(file_ids))
        .order_by(tables.Passage.file_id, tables.Passage.ordinal)
    )
    return [Passage(**row._mapping) for row in await connection.execute(asked)]


async def not_embedded(connection: AsyncConnection, file_id: int, model: str) -> list[Passage]:
    """The passages of a file that have no vector of this model."""
    asked = (
        select(*_PASSAGE)
        .where(tables.Passage.file_id == file_id, tables.Passage.embedded_by.is_distinct_from(model))
        .order_by(tables.Passage.ordinal)
    )
    return [Passage(**row._mapping) for row in await connection.execute(asked)]


async def embed(connection: AsyncConnection, vectors: Sequence[tuple[int, bytes]], model: str) -> None:
    """Store vectors by their passages' rows; those that are gone are passed over."""
    stored = (
        update(tables.Passage)
        .where(tables.Passage.id == bindparam("passage"))
        .values(embedding=bindparam("vector"), embedded_by=model)
    )
    rows = [{"passage": passage_id, "vector": vector} for passage_id, vector in vectors]
    await connection.execute(stored, rows)


def _file(row: Row[*tuple[Any, ...]]) -> File:
    return File(**row._mapping)
