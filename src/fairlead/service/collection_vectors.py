"""The vectors of collections that were searched lately, in memory: loaded once, and kept with what is stored."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final
from weakref import WeakValueDictionary

import msgspec
import numpy as np

from fairlead.documents.columns import Column, Value
from fairlead.service.approximate import Approximate, built
from fairlead.service.filters import Condition
from fairlead.service.vectors import Vectors
from fairlead.storage import collections
from fairlead.storage.collections import Block, Collection, StoredRow
from fairlead.storage.database import Database

APPROXIMATE_FROM: Final = 500_000
"""Rows from which on an exact search takes long: some 20 ms for those of 384 numbers each."""
_MOST_BYTES: Final = 2 << 30
_AT_ONCE: Final = 2_000
"""Rows that are read of the database at a time, so that others may go on between."""

logger = logging.getLogger(__name__)


class CollectionVectors:
    """Vectors by collection; those that were not searched for longest leave first.

    Args:
        database: where they are stored.
        approximate_from: collections of so many rows have an approximate index.
    """

    def __init__(self, database: Database, approximate_from: int = APPROXIMATE_FROM) -> None:
        self._database = database
        self._approximate_from = approximate_from
        self._kept: OrderedDict[int, Vectors] = OrderedDict()
        # Each is there for as long as somebody has it or waits for it.
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._builds: dict[int, asyncio.Task[None]] = {}

    def changing(self, collection_id: int) -> asyncio.Lock:
        """To be held from before a change of a collection's rows is stored until it was told here."""
        return self._turns.setdefault(collection_id, asyncio.Lock())

    def kept(self, collection_id: int) -> Vectors | None:
        """A collection's vectors, where they are in memory."""
        return self._kept.get(collection_id)

    async def of(self, collection: Collection, conditions: Sequence[Condition] = ()) -> Vectors:
        """A collection's vectors, with the columns that conditions are on."""
        async with self.changing(collection.id):
            vectors = self._kept.get(collection.id)
            if vectors is None:
                async with self._database.reading() as connection:
                    blocks = await collections.vectors(connection, collection.id)
                vectors = self._kept[collection.id] = await asyncio.to_thread(_loaded, blocks)
                self._build_where_large(collection.id, vectors)
            for condition in conditions:
                if vectors.lacks(condition):
                    await self._add_column(collection, vectors, condition)
        self._kept.move_to_end(collection.id)
        while len(self._kept) > 1 and sum(each.size_bytes for each in self._kept.values()) > _MOST_BYTES:
            self.forget(next(iter(self._kept)))
        return vectors

    async def stored(self, collection_id: int, block: Block, rows: Sequence[Sequence[Value]]) -> None:
        """Vectors were stored, and what the rows hold; under `changing`."""
        if (vectors := self._kept.get(collection_id)) is None:
            return
        if vectors.approximate is not None:
            await asyncio.to_thread(vectors.approximate.add, len(vectors), block.vectors)
        vectors.append(block.numbers, block.vectors, rows)
        self._build_where_large(collection_id, vectors)

    def removed(self, collection_id: int, number: int) -> None:
        """A row was removed; under `changing`."""
        if (vectors := self._kept.get(collection_id)) is not None:
            vectors.remove(number)

    def forget(self, collection_id: int) -> None:
        """A collection is gone, or all of its vectors are."""
        self._kept.pop(collection_id, None)

    async def settle(self, collection_id: int) -> None:
        """Wait until nothing is built for a collection any more."""
        if (build := self._builds.get(collection_id)) is not None:
            await asyncio.wait({build})

    async def close(self) -> None:
        """Let go of all."""
        self._kept.clear()
        if self._builds:
            await asyncio.wait(set(self._builds.values()))

    async def _add_column(self, collection: Collection, vectors: Vectors, condition: Condition) -> None:
        place = [column["name"] for column in collection.columns].index(condition.column.name)
        found: dict[int, Value] = {}
        last = 0
        while True:
            async with self._database.reading() as connection:
                rows = await collections.rows_after(connection, collection.id, last, _AT_ONCE)
            if not rows:
                break
            for row in rows:
                found[row.number] = decoded(row)[place]
            last = rows[-1].number
        vectors.add_column(place, condition, found)

    def _build_where_large(self, collection_id: int, vectors: Vectors) -> None:
        if len(vectors) < self._approximate_from or vectors.approximate is not None or collection_id in self._builds:
            return
        self._builds[collection_id] = asyncio.create_task(self._build(collection_id, vectors))
        self._builds[collection_id].add_done_callback(lambda _: self._builds.pop(collection_id, None))

    async def _build(self, collection_id: int, vectors: Vectors) -> None:
        """Build an approximate index beside the exact search, which goes on meanwhile."""

        def is_wanted() -> bool:
            return self._kept.get(collection_id) is vectors

        count, alive = len(vectors), vectors.alive.copy()
        try:
            index = await asyncio.to_thread(built, vectors.matrix, alive, is_wanted)
        except Exception:
            logger.exception("collection %d has no approximate index: it is searched exactly", collection_id)
            return
        if index is not None:
            await self._take(index, vectors, count)

    async def _take(self, index: Approximate, vectors: Vectors, count: int) -> None:
        """Catch up with the rows that came and went while the index of the first `count` was built, and use it."""
        while count < len(vectors):
            matrix = vectors.matrix[count:]
            await asyncio.to_thread(index.add, count, matrix)
            count += len(matrix)
        index.remove_dead(vectors.alive)
        vectors.approximate = index


def decoded(row: StoredRow) -> list[Value]:
    """A row's values."""
    return msgspec.json.decode(row.content, type=list[Value])


def columns_of(collection: Collection) -> list[Column]:
    """A collection's columns."""
    return [Column(column["name"], column["type"]) for column in collection.columns]


def _loaded(blocks: Sequence[Block]) -> Vectors:
    if not blocks:
        return Vectors(np.empty(0, np.int32), np.empty((0, 0), np.float16))
    numbers = np.concatenate([block.numbers for block in blocks])
    matrix = np.empty((len(numbers), blocks[0].vectors.shape[1]), np.float16)
    begin = 0
    for block in blocks:
        matrix[begin : begin + len(block.numbers)] = block.vectors
        begin += len(block.numbers)
    return Vectors(numbers, matrix)
