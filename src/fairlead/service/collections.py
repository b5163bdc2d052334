"""Collections: rows of tables that are found by the meaning of a column of theirs, each person's own.

The rest of the server comes here. Tables are read by `tables.py`, embedded by `collection_filling.py`, and searched in
memory as `collection_vectors.py` keeps them. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
from sqlalchemy.exc import IntegrityError

from fairlead.documents import columns as table_columns
from fairlead.documents.columns import BadTable, Column, Value
from fairlead.errors import Conflict, InvalidRequest, NotFound
from fairlead.service import topics
from fairlead.service.collection_filling import Filling, text_of
from fairlead.service.collection_vectors import APPROXIMATE_FROM, CollectionVectors, columns_of, decoded
from fairlead.service.embedding import Embedder
from fairlead.service.filters import conditions
from fairlead.service.people import People
from fairlead.service.tables import Table, table_of_rows
from fairlead.storage import collections
from fairlead.storage.collections import Collection, StoredRow
from fairlead.storage.database import Database

State = Literal["embedding", "ready", "failed"]

_FIRST_PORTION_WITHIN_S: Final = 30.0
"""For so long a search waits where nothing is embedded yet."""


@dataclass(frozen=True, slots=True)
class Status:
    """A collection, how far it is, and how it is searched now."""

    collection: Collection
    state: State
    recall: float | None
    """Of its approximate index; None where the search is exact."""

    @property
    def is_builtin(self) -> bool:
        """Whether it comes with the server, for everybody to search and for nobody to change."""
        return self.collection.person_id is None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a collection: its number there, and its values by column."""

    id: int
    row: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found."""

    id: int
    row: Mapping[str, Value]
    text: str
    """What it was found by."""
    score: float
    """The cosine with the question."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, best first."""

    hits: Sequence[Hit]
    searched: int
    """Rows that were looked at."""
    state: State
    """Of the collection: while it is embedding, of its rows only those are found that have their vectors."""
    took_ms: float


class Collections:
    """The collections of one server. Start it when the database is open, and close it in the end.

    Args:
        database: where they are.
        people: whose they are, and what each may store.
        embedder: of texts and questions.
        approximate_from: collections of so many rows are searched by an approximate index.
    """

    def __init__(
        self, database: Database, people: People, embedder: Embedder, *, approximate_from: int = APPROXIMATE_FROM
    ) -> None:
        self._database = database
        self._people = people
        self._embedder = embedder
        self._vectors = CollectionVectors(database, approximate_from)
        self._filling = Filling(database, self._vectors, embedder)

    async def start(self) -> None:
        """Put in place what comes with the server, and go on with what was being embedded when it ended."""
        await topics.put_in_place(self._database, self._embedder.name)
        async with self._database.reading() as connection:
            unfinished = await collections.unfinished(connection)
        for collection in unfinished:
            self._filling.begin(collection.id)

    async def close(self) -> None:
        """End what is done in the background."""
        await self._filling.close()
        await self._vectors.close()

    # ---- collections ----------------------------------------------------------------------------------

    async def create(self, user: str, name: str, table: Table, *, model: str | None = None) -> Status:
        """Make a collection of a table, and begin to embed it.

        Raises:
            Conflict: there is one of this name.
            ModelNotFound, InvalidRequest: there is no such model, or it makes no vectors.
            StorageUsedUp, StorageFull
        """
        person = await self._people.row(user)
        model = model or self._embedder.name
        await self._embedder.check(model)
        await self._people.check_storage(user, table.size_bytes)
        try:
            async with self._database.writing() as connection:
                if await collections.find(connection, person, name) is not None:
                    raise _taken(name)
                made = await collections.add(
                    connection,
                    person,
                    name=name,
                    model=model,
                    columns=[msgspec.to_builtins(column) for column in table.columns],
                    text_column=table.text_column,
                    text_column_guessed=table.is_guessed,
                    source=table.source,
                )
                made = await collections.add_rows(
                    connection, made, table.contents, size_bytes=table.size_bytes, skipped=table.textless_count
                )
        except IntegrityError:
            raise _taken(name) from None
        self._filling.begin(made.id)
        return self._status(made)

    async def listed(self, user: str) -> list[Status]:
        """A person's collections by name, and after them what comes with the server."""
        person = await self._people.known(user)
        async with self._database.reading() as connection:
            return [self._status(found) for found in await collections.of_person(connection, person)]

    async def find(self, user: str, name: str) -> Status:
        """A person's collection. NotFound where they have none of this name."""
        return self._status(await self._find(user, name))

    async def remove(self, user: str, name: str) -> None:
        """Delete a collection with all that is in it, whatever is done with it. NotFound, Conflict: it is nobody's."""
        found = await self._own(user, name)
        await self._filling.stop(found.id)
        async with self._vectors.changing(found.id):
            async with self._database.writing() as connection:
                await collections.remove(connection, found.id)
            self._vectors.forget(found.id)

    async def settled(self, user: str, name: str) -> Status:
        """A collection once nothing is done with it any more. NotFound as above."""
        found = await self._find(user, name)
        await self._filling.settle(found.id)
        await self._vectors.settle(found.id)
        return await self.find(user, name)

    # ---- rows -----------------------------------------------------------------------------------------

    async def rows(self, user: str, name: str, offset: int, limit: int) -> tuple[list[Row], int]:
        """So many rows after so many, by number; and how many there are. NotFound as above."""
        found = await self._find(user, name)
        async with self._database.reading() as connection:
            page = await collections.page(connection, found.id, offset, limit)
        return [Row(row.number, _by_column(found, row)) for row in page], found.row_count

    async def add_rows(self, user: str, name: str, rows: Sequence[Mapping[str, object]]) -> Status:
        """Append rows to a collection, which may leave columns out, and begin to embed them.

        Raises:
            NotFound, Conflict: as in `remove`.
            InvalidRequest: there are none, or one has what the columns have no place for.
            StorageUsedUp, StorageFull
        """
        found = await self._own(user, name)
        text = text_of(found)
        values = await asyncio.to_thread(_fitting, rows, columns_of(found))
        encoded = [msgspec.json.encode(row) for row in values]
        contents, size_bytes = [row.decode() for row in encoded], sum(map(len, encoded))
        await self._people.check_storage(user, size_bytes)
        async with self._database.writing() as connection:
            held = await collections.hold(connection, found.id)
            if held is None:
                raise _missing(name)
            if held.row_count + len(contents) > table_columns.MOST_ROWS:
                raise InvalidRequest(f"A collection may have {table_columns.MOST_ROWS:,} rows at most.", param="rows")
            skipped = sum(not text(row) for row in values)
            changed = await collections.add_rows(connection, held, contents, size_bytes=size_bytes, skipped=skipped)
        self._filling.begin(found.id)
        return self._status(changed)

    async def remove_row(self, user: str, name: str, number: int) -> Status:
        """Delete a row. NotFound where there is none of this number; Conflict as in `remove`."""
        found = await self._own(user, name)
        text = text_of(found)
        async with self._vectors.changing(found.id):
            async with self._database.writing() as connection:
                held = await collections.hold(connection, found.id)
                rows = [] if held is None else await collections.rows(connection, found.id, [number])
                if held is None or not rows:
                    raise NotFound(f"There is no row {number} in the collection {name}.", param="row_id")
                has_text = bool(text(decoded(rows[0])))
                changed = await collections.remove_row(connection, held, rows[0], has_text=has_text)
            self._vectors.removed(found.id, number)
        return self._status(changed)

    # ---- search ---------------------------------------------------------------------------------------

    async def search(
        self,
        user: str,
        name: str,
        query: str,
        *,
        top_k: int = 10,
        filters: Mapping[str, object] | None = None,
        min_score: float | None = None,
    ) -> Found:
        """The rows of a collection whose texts are nearest to a question in meaning.

        Args:
            user: who asks.
            name: of the collection.
            query: the question; what of it is past the model's context is left out.
            top_k: so many rows at most.
            filters: by column a value, a list of values, or a mapping with `from` and `to`; see `filters.py`.
            min_score: the least cosine that counts.

        Raises:
            NotFound: there is no such collection.
            InvalidRequest: the query is empty, or a filter cannot be.
            ModelNotReady, DownloadError, DoesNotFit, EngineFailed, TokensUsedUp: the query cannot be embedded now.
        """
        begun = time.monotonic()
        found = await self._find(user, name)
        wanted = conditions(filters, columns_of(found))
        if not query.strip():
            raise InvalidRequest("The query is empty.", param="query")
        embedded = await self._embedder.embed([query], model=found.model, user=user)
        if found.waiting_count:
            self._filling.begin(found.id)
            if not found.embedded_count:
                await self._filling.first_portion(found.id, _FIRST_PORTION_WITHIN_S)
        vectors = await self._vectors.of(found, wanted)
        if len(vectors) and embedded.shape[1] != vectors.matrix.shape[1]:
            raise Conflict(
                f"The model {found.model} is not the one that the collection was embedded with.", param="name"
            )
        near = await asyncio.to_thread(vectors.near, embedded[0].astype(np.float32), top_k, wanted, min_score)
        async with self._database.reading() as connection:
            rows = {row.number: row for row in await collections.rows(connection, found.id, near.numbers)}
            now = await collections.get(connection, found.id) or found
        text = text_of(found)
        hits = [
            Hit(number, _by_column(found, rows[number]), text(decoded(rows[number])), round(score, 4))
            for number, score in zip(near.numbers, near.scores, strict=True)
            if number in rows  # another was removed since
        ]
        took_ms = round((time.monotonic() - begun) * 1000, 2)
        return Found(hits, near.searched, self._status(now).state, took_ms)

    # ---- what others need -----------------------------------------------------------------------------

    async def _find(self, user: str, name: str) -> Collection:
        person = await self._people.known(user)
        async with self._database.reading() as connection:
            found = await collections.find(connection, person, name)
        if found is None:
            raise _missing(name)
        return found

    async def _own(self, user: str, name: str) -> Collection:
        found = await self._find(user, name)
        if found.person_id is None:
            raise Conflict(
                f"The collection {name} comes with the server: it can be searched, not changed.", param="name"
            )
        return found

    def _status(self, collection: Collection) -> Status:
        state: State = "ready"
        if collection.waiting_count:
            state = "failed" if collection.error and not self._filling.is_at(collection.id) else "embedding"
        vectors = self._vectors.kept(collection.id)
        index = None if vectors is None else vectors.approximate
        return Status(collection, state, None if index is None else index.recall)


async def table_from(rows: Sequence[Mapping[str, object]], text_column: str | None) -> Table:
    """A table of rows out of JSON; InvalidRequest where they make none."""
    return await asyncio.to_thread(table_of_rows, rows, text_column)


def _fitting(rows: Sequence[Mapping[str, object]], columns: Sequence[Column]) -> list[list[Value]]:
    """Rows in the order of the columns that a collection has; InvalidRequest where one has what does not fit."""
    if not rows:
        raise InvalidRequest("There are no rows.", param="rows")
    kinds = {column.name: column.type for column in columns}
    try:
        seen = table_columns.seen_rows(rows)
    except BadTable as error:
        raise InvalidRequest(str(error), param="rows") from None
    for column in seen.columns:
        if column.name not in kinds:
            there = ", ".join(kinds)[:500]
            raise InvalidRequest(f"There is no column {column.name!r}: the collection has {there}.", param="rows")
        if kinds[column.name] == "number" and column.type == "text" and seen.has_others(column.name):
            raise InvalidRequest(f"The column {column.name} is of numbers, and a row has something else.", param="rows")
    return [[row.get(column.name) for column in columns] for row in rows]  # type: ignore[misc]  # checked above


def _by_column(collection: Collection, row: StoredRow) -> dict[str, Value]:
    return dict(zip((column["name"] for column in collection.columns), decoded(row), strict=True))


def _missing(name: str) -> NotFound:
    return NotFound(f"There is no collection {name}.", param="name")


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a collection {name} already: choose another name, or delete it first.", param="name")
