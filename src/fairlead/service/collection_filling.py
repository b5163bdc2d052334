"""Rows of collections embedded in the background: in portions, stored as they come, and gone on with after a restart.

Owns the tasks that do it. Collections take turns, a portion each; all of them give way to those who wait for an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from fairlead.documents.columns import Value
from fairlead.errors import FairleadError
from fairlead.service.collection_vectors import CollectionVectors, decoded
from fairlead.service.embedding import Embedder
from fairlead.storage import collections, people
from fairlead.storage.collections import Block, Collection, StoredRow
from fairlead.storage.database import Database

_PORTION: Final = 512
"""Rows that are embedded and stored at once: some requests' worth for the engine, and one block in the database."""
_OURS: Final = "The rows could not be embedded; the server's log says why."

logger = logging.getLogger(__name__)


class Filling:
    """Embeds what of collections is not, each in a task.

    Args:
        database: where they are.
        vectors: told of what is stored.
        embedder: of the texts.
    """

    def __init__(self, database: Database, vectors: CollectionVectors, embedder: Embedder) -> None:
        self._database = database
        self._vectors = vectors
        self._embedder = embedder
        self._turn = asyncio.Lock()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._portions: dict[int, asyncio.Event] = {}

    def begin(self, collection_id: int) -> None:
        """Embed a collection's rows, where nobody is at it; returns at once."""
        if collection_id in self._tasks:
            return
        self._portions[collection_id] = asyncio.Event()
        task = self._tasks[collection_id] = asyncio.create_task(self._watched(collection_id))
        task.add_done_callback(lambda _: self._ended(collection_id))

    def is_at(self, collection_id: int) -> bool:
        """Whether a collection is being embedded, or waits for its turn."""
        return collection_id in self._tasks

    async def first_portion(self, collection_id: int, within_s: float) -> None:
        """Wait until some rows are embedded, or nothing more is done with the collection; for so long at most."""
        if (portion := self._portions.get(collection_id)) is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(portion.wait(), within_s)

    async def settle(self, collection_id: int) -> None:
        """Wait until nothing is done with a collection any more."""
        if (task := self._tasks.get(collection_id)) is not None:
            await asyncio.wait({task})

    async def stop(self, collection_id: int) -> None:
        """End what is done with a collection."""
        if (task := self._tasks.get(collection_id)) is not None:
            task.cancel()
            await asyncio.wait({task})

    async def close(self) -> None:
        """End all tasks; what is not embedded is at the next start."""
        for collection_id in list(self._tasks):
            await self.stop(collection_id)

    def _ended(self, collection_id: int) -> None:
        self._tasks.pop(collection_id, None)
        if (portion := self._portions.pop(collection_id, None)) is not None:
            portion.set()

    async def _watched(self, collection_id: int) -> None:
        """The work, whatever becomes of it: a collection that cannot be embedded says why."""
        try:
            while True:
                async with self._turn:
                    if not await self._portion(collection_id):
                        return
        except FairleadError as error:
            logger.warning("collection %d could not be embedded: %s", collection_id, error.message)
            reason = error.message
        except Exception:
            logger.exception("collection %d could not be embedded", collection_id)
            reason = _OURS
        with contextlib.suppress(FairleadError):
            async with self._database.writing() as connection:
                if await collections.hold(connection, collection_id) is not None:
                    await collections.change(connection, collection_id, error=reason)

    async def _portion(self, collection_id: int) -> bool:
        """Embed the next rows; whether there were any."""
        async with self._database.reading() as connection:
            found = await collections.get(connection, collection_id)
            if found is None or not found.waiting_count:
                return False
            rows = await collections.rows_after(connection, found.id, found.embedded_through, _PORTION)
            user = None if found.person_id is None else await people.name(connection, found.person_id)
        if not rows:
            return False
        texts = text_of(found)
        values = {row.number: decoded(row) for row in rows}
        wanted = [row for row in rows if texts(values[row.number])]
        block = await self._block(found, wanted, [texts(values[row.number]) for row in wanted], user)
        async with self._vectors.changing(found.id):
            async with self._database.writing() as connection:
                held = await collections.hold(connection, found.id)
                if held is None:
                    return False
                if (held.model, held.embedded_through) != (found.model, found.embedded_through):
                    return True  # it was begun anew meanwhile
                _, stored = await collections.add_vectors(connection, held, rows[-1].number, block)
            await self._vectors.stored(found.id, stored, [values[int(number)] for number in stored.numbers])
        if len(stored.numbers) and (portion := self._portions.get(found.id)) is not None:
            portion.set()
        return True

    async def _block(
        self, collection: Collection, rows: Sequence[StoredRow], texts: Sequence[str], user: str | None
    ) -> Block:
        if not rows:
            return Block(np.empty(0, np.int32), np.empty((0, 0), np.float16))
        vectors = await self._embedder.embed(texts, model=collection.model, user=user, patient=True)
        return Block(np.array([row.number for row in rows], np.int32), vectors.astype(np.float16))


def text_of(collection: Collection) -> Callable[[Sequence[Value]], str]:
    """Gives the text of a row by which it is found; empty where it has none."""
    place = [column["name"] for column in collection.columns].index(collection.text_column)

    def text(values: Sequence[Value]) -> str:
        value = values[place]
        return value.strip() if isinstance(value, str) else "" if value is None else str(value)

    return text
