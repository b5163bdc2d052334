"""Statements about collections, their rows and the vectors of these.

Each takes the connection of the transaction that it belongs to. Whatever changes a collection holds its row first
(`hold`), so that in PostgreSQL, too, changes of one collection come one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.storage.tables import Collection as Table
from fairlead.storage.tables import CollectionRow, CollectionVectors

NUMBERS: Final = np.dtype("<i4")
VECTORS: Final = np.dtype("<f2")
_AT_ONCE: Final = 1_000
"""Rows of one statement, which the event loop puts together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A collection, without its rows."""

    id: int
    """Its row; never leaves the server."""
    person_id: int | None
    name: str
    model: str
    columns: Sequence[Mapping[str, Any]]
    text_column: str
    text_column_guessed: bool
    source: Mapping[str, Any] | None
    digest: str | None
    last_row: int
    embedded_through: int
    row_count: int
    embedded_count: int
    skipped_count: int
    size_bytes: int
    error: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def waiting_count(self) -> int:
        """Rows that are to be embedded yet."""
        return self.row_count - self.embedded_count - self.skipped_count


class StoredRow(NamedTuple):
    """A row: its number, and its values as a list in JSON."""

    number: int
    content: str


class Block(NamedTuple):
    """Numbers of rows, rising, [rows], and the vector of each, [rows, width]."""

    numbers: NDArray[np.int32]
    vectors: NDArray[np.float16]


_COLLECTION: Final = (
    Table.id,
    Table.person_id,
    Table.name,
    Table.model,
    Table.columns,
    Table.text_column,
    Table.text_column_guessed,
    Table.source,
    Table.digest,
    Table.last_row,
    Table.embedded_through,
    Table.row_count,
    Table.embedded_count,
    Table.skipped_count,
    Table.size_bytes,
    Table.error,
    Table.created_at,
    Table.updated_at,
)

# ---- collections ----------------------------------------------------------------------------------


async def add(
    connection: AsyncConnection,
    person_id: int | None,
    *,
    name: str,
    model: str,
    columns: Sequence[Mapping[str, Any]],
    text_column: str,
    text_column_guessed: bool,
    source: Mapping[str, Any] | None,
    digest: str | None = None,
) -> Collection:
    """Make a collection without rows. IntegrityError where the person has one of this name."""
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "person_id": person_id,
        "name": name,
        "model": model,
        "columns": [dict(column) for column in columns],
        "text_column": text_column,
        "text_column_guessed": text_column_guessed,
        "source": None if source is None else dict(source),
        "digest": digest,
        "created_at": now,
        "updated_at": now,
    }
    return _collection((await connection.execute(insert(Table).values(values).returning(*_COLLECTION))).one())


async def find(connection: AsyncConnection, person_id: int, name: str) -> Collection | None:
    """The person's collection of this name, else the one that comes with the server."""
    asked = (
        select(*_COLLECTION)
        .where(Table.name == name, or_(Table.person_id == person_id, Table.person_id.is_(None)))
        .order_by(Table.person_id.is_(None))
        .limit(1)
    )
    row = (await connection.execute(asked)).one_or_none()
    return None if row is None else _collection(row)


async def get(connection: AsyncConnection, collection_id: int) -> Collection | None:
    """A collection by its row."""
    row = (await connection.execute(select(*_COLLECTION).where(Table.id == collection_id))).one_or_none()
    return None if row is None else _collection(row)


async def hold(connection: AsyncConnection, collection_id: int) -> Collection | None:
    """The same, which nobody else changes until the transaction ends."""
    asked = select(*_COLLECTION).where(Table.id == collection_id).with_for_update()
    row = (await connection.execute(asked)).one_or_none()
    return None if row is None else _collection(row)


async def of_person(connection: AsyncConnection, person_id: int) -> list[Collection]:
    """A person's collections by name, and after them those that come with the server."""
    asked = (
        select(*_COLLECTION)
        .where(or_(Table.person_id == person_id, Table.person_id.is_(None)))
        .order_by(Table.person_id.is_(None), Table.name)
    )
    return [_collection(row) for row in await connection.execute(asked)]


async def builtin(connection: AsyncConnection) -> list[Collection]:
    """Those that come with the server."""
    return [_collection(row) for row in await connection.execute(select(*_COLLECTION).where(Table.person_id.is_(None)))]


async def unfinished(connection: AsyncConnection) -> list[Collection]:
    """People's collections with rows that are to be embedded."""
    done = Table.embedded_count + Table.skipped_count
    asked = select(*_COLLECTION).where(Table.person_id.is_not(None), Table.row_count > done).order_by(Table.id)
    return [_collection(row) for row in await connection.execute(asked)]


async def remove(connection: AsyncConnection, collection_id: int) -> None:
    """Delete a collection with all that is in it."""
    await connection.execute(delete(Table).where(Table.id == collection_id))


async def change(connection: AsyncConnection, collection_id: int, **values: Any) -> Collection:
    """Set some fields of a collection that is held."""
    changed = update(Table).where(Table.id == collection_id).values(**values, updated_at=datetime.now(UTC))
    return _collection((await connection.execute(changed.returning(*_COLLECTION))).one())


# ---- rows -----------------------------------------------------------------------------------------


async def add_rows(
    connection: AsyncConnection, held: Collection, contents: Sequence[str], *, size_bytes: int, skipped: int
) -> Collection:
    """Append rows to a collection that is held, which take so many bytes; `skipped` of them have no text."""
    for begin in range(0, len(contents), _AT_ONCE):
        rows = [
            {"collection_id": held.id, "number": number, "content": content}
            for number, content in enumerate(contents[begin : begin + _AT_ONCE], held.last_row + begin + 1)
        ]
        await connection.execute(insert(CollectionRow), rows)
    return await change(
        connection,
        held.id,
        last_row=held.last_row + len(contents),
        row_count=held.row_count + len(contents),
        skipped_count=held.skipped_count + skipped,
        size_bytes=held.size_bytes + size_bytes,
        error=None,
    )


async def page(connection: AsyncConnection, collection_id: int, offset: int, limit: int) -> list[StoredRow]:
    """So many rows after so many, by number."""
    asked = (
        select(CollectionRow.number, CollectionRow.content)
        .where(CollectionRow.collection_id == collection_id)
        .order_by(CollectionRow.number)
        .offset(offset)
        .limit(limit)
    )
    return [StoredRow(*row) for row in await connection.execute(asked)]


async def rows_after(
    connection: AsyncConnection, collection_id: int, number: int, limit: int, through: int | None = None
) -> list[StoredRow]:
    """The next rows after this number, up to and with `through`."""
    asked = (
        select(CollectionRow.number, CollectionRow.content)
        .where(CollectionRow.collection_id == collection_id, CollectionRow.number > number)
        .order_by(CollectionRow.number)
        .limit(limit)
    )
    if through is not None:
        asked = asked.where(CollectionRow.number <= through)
    return [StoredRow(*row) for row in await connection.execute(asked)]


async def rows(connection: AsyncConnection, collection_id: int, numbers: Iterable[int]) -> list[StoredRow]:
    """The rows of these numbers that there are, in any order."""
    asked = select(CollectionRow.number, CollectionRow.content).where(
        CollectionRow.collection_id == collection_id, CollectionRow.number.in_(list(numbers))
    )
    return [StoredRow(*row) for row in await connection.execute(asked)]


async def remove_row(connection: AsyncConnection, held: Collection, row: StoredRow, *, has_text: bool) -> Collection:
    """Delete a row of a collection that is held, and its vector."""
    await connection.execute(
        delete(CollectionRow).where(CollectionRow.collection_id == held.id, CollectionRow.number == row.number)
    )
    freed = len(row.content.encode()) + (await _remove_vector(connection, held.id, row.number) if has_text else 0)
    is_embedded = has_text and row.number <= held.embedded_through
    return await change(
        connection,
        held.id,
        row_count=held.row_count - 1,
        embedded_count=held.embedded_count - is_embedded,
        skipped_count=held.skipped_count - (not has_text),
        size_bytes=held.size_bytes - freed,
    )


# ---- vectors --------------------------------------------------------------------------------------


async def add_vectors(
    connection: AsyncConnection, held: Collection, through: int, block: Block
) -> tuple[Collection, Block]:
    """Store the vectors of rows that came after the last embedded one, up to number `through`.

    Rows that were deleted meanwhile are passed over: what comes back is what was stored.
    """
    asked = select(CollectionRow.number).where(
        CollectionRow.collection_id == held.id,
        CollectionRow.number > held.embedded_through,
        CollectionRow.number <= through,
    )
    there = np.isin(block.numbers, list((await connection.execute(asked)).scalars()))
    kept = Block(block.numbers[there], block.vectors[there])
    if len(kept.numbers):
        values = _values(kept) | {"collection_id": held.id, "first": held.embedded_through + 1, "last": through}
        await connection.execute(insert(CollectionVectors).values(values))
    changed = await change(
        connection,
        held.id,
        embedded_through=through,
        embedded_count=held.embedded_count + len(kept.numbers),
        size_bytes=held.size_bytes + kept.vectors.nbytes,
        error=None,
    )
    return changed, kept


async def vectors(connection: AsyncConnection, collection_id: int) -> list[Block]:
    """All vectors of a collection, by number."""
    asked = (
        select(CollectionVectors.numbers, CollectionVectors.vectors)
        .where(CollectionVectors.collection_id == collection_id)
        .order_by(CollectionVectors.first)
    )
    return [_block(numbers, data) for numbers, data in await connection.execute(asked)]


async def remove_vectors(connection: AsyncConnection, held: Collection, model: str) -> Collection:
    """Forget all vectors of a collection that is held: it is to be embedded anew, by this model."""
    taken = sum(block.vectors.nbytes for block in await vectors(connection, held.id))
    await connection.execute(delete(CollectionVectors).where(CollectionVectors.collection_id == held.id))
    return await change(
        connection,
        held.id,
        model=model,
        embedded_through=0,
        embedded_count=0,
        size_bytes=held.size_bytes - taken,
        error=None,
    )


async def _remove_vector(connection: AsyncConnection, collection_id: int, number: int) -> int:
    """Take a row's vector out of its block; the bytes that it took."""
    where = (
        CollectionVectors.collection_id == collection_id,
        CollectionVectors.first <= number,
        CollectionVectors.last >= number,
    )
    asked = select(CollectionVectors.numbers, CollectionVectors.vectors).where(*where)
    found = (await connection.execute(asked)).one_or_none()
    if found is None:
        return 0
    block = _block(*found)
    keep = block.numbers != number
    left = Block(block.numbers[keep], block.vectors[keep])
    if len(left.numbers):
        await connection.execute(update(CollectionVectors).where(*where).values(_values(left)))
    else:
        await connection.execute(delete(CollectionVectors).where(*where))
    return block.vectors.nbytes - left.vectors.nbytes


def _values(block: Block) -> dict[str, Any]:
    return {
        "numbers": block.numbers.astype(NUMBERS).tobytes(),
        "vectors": block.vectors.astype(VECTORS).tobytes(),
    }


def _block(numbers: bytes, data: bytes) -> Block:
    rows = np.frombuffer(numbers, NUMBERS)
    return Block(rows, np.frombuffer(data, VECTORS).reshape(len(rows), -1))


def _collection(row: Row[*tuple[Any, ...]]) -> Collection:
    return Collection(**row._mapping)
