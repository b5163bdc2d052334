"""What the routes of collections answer. Times are RFC 3339 in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from typing_extensions import TypedDict

from fairlead.service.collections import State

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]
"""By column."""


class Column(TypedDict):
    """A column; one of numbers has nothing else but null."""

    name: str
    type: Literal["text", "number"]


class Index(TypedDict):
    """How a collection is searched."""

    kind: Literal["exact", "approximate"]
    recall: float | None
    """Of an approximate one, the share of the nearest rows that it finds."""


class TableSource(TypedDict):
    """The file that a collection was made from, and how it was read."""

    file: str
    delimiter: str | None
    encoding: str


class Collection(TypedDict):
    """Rows that are found by the meaning of one of their columns."""

    name: str
    state: State
    model: str
    text_column: str
    text_column_guessed: bool
    columns: list[Column]
    row_count: int
    embedded_count: int
    skipped_count: int
    """Rows without a text."""
    size_bytes: int
    index: Index
    source: TableSource | None
    builtin: bool
    """Whether it comes with the server, for everybody to search and for nobody to change."""
    created_at: str
    updated_at: str
    error: str | None
    """Why its rows could not be embedded."""


class Collections(TypedDict):
    """One's own by name, then what comes with the server."""

    collections: list[Collection]


class CollectionRemoved(TypedDict):
    """A collection that is no more."""

    name: str
    removed: bool


class TablePreview(TypedDict):
    """How a file is read as a table, and its first rows."""

    columns: list[Column]
    text_column: str | None
    """Null where no column holds text."""
    text_column_guessed: bool
    delimiter: str | None
    encoding: str
    rows: list[Row]
    row_count: int


class NumberedRow(TypedDict):
    """A row of a collection."""

    id: int
    row: Row


class Rows(TypedDict):
    """Some rows of a collection, and how many it has."""

    rows: list[NumberedRow]
    row_count: int


class RowRemoved(TypedDict):
    """A row that is no more."""

    name: str
    row_id: int
    removed: bool


class Hit(NumberedRow):
    """A row that was found."""

    text: str
    """What it was found by."""
    score: float
    """The cosine with the query."""


class Hits(TypedDict):
    """What a search found, best first."""

    results: list[Hit]
    searched: int
    """Rows that were looked at."""
    state: State
    """Of the collection: while it is embedding, those of its rows are found that are embedded."""
    took_ms: float
