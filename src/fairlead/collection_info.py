"""Collections as the HTTP contract has them, for its clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import msgspec

Value = str | int | float | bool | None
Filters = Mapping[str, Value | list[Value] | dict[str, str | float]]
"""By column: a value, several of which one must be, or what it must lie between: `from` and `to`."""


class TableWishes(TypedDict, total=False):
    """How a file is to be read; what is left out is found out."""

    text_column: str
    delimiter: str
    encoding: str


class SearchWishes(TypedDict, total=False):
    """What is to be found; what is left out is the server's default."""

    top_k: int
    filters: Filters
    min_score: float


class Column(msgspec.Struct, frozen=True):
    """A column, of `text` or of `number`."""

    name: str
    type: str


class Index(msgspec.Struct, frozen=True):
    """How a collection is searched: `exact`, or `approximate` with the share of the ten nearest rows that is found."""

    kind: str
    recall: float | None


class Source(msgspec.Struct, frozen=True):
    """The file that a collection was made from, and how it was read."""

    file: str
    delimiter: str | None
    encoding: str


class CollectionInfo(msgspec.Struct, frozen=True):
    """A collection; `state` is `embedding`, `ready` or `failed`, which has its reason in `error`."""

    name: str
    state: str
    model: str
    text_column: str
    text_column_guessed: bool
    columns: list[Column]
    row_count: int
    embedded_count: int
    skipped_count: int
    size_bytes: int
    index: Index
    source: Source | None
    builtin: bool
    created_at: str
    updated_at: str
    error: str | None


class Preview(msgspec.Struct, frozen=True):
    """What a file would be read as, with its first rows."""

    columns: list[Column]
    text_column: str | None
    text_column_guessed: bool
    delimiter: str | None
    encoding: str
    rows: list[dict[str, Value]]
    row_count: int


class RowInfo(msgspec.Struct, frozen=True):
    """A row of a collection."""

    id: int
    row: dict[str, Value]


class RowPage(msgspec.Struct, frozen=True):
    """Some rows, and how many there are in all."""

    rows: list[RowInfo]
    row_count: int


class Hit(msgspec.Struct, frozen=True):
    """A row that was found: by its `text`, whose cosine with the query is `score`."""

    id: int
    row: dict[str, Value]
    text: str
    score: float


class SearchResults(msgspec.Struct, frozen=True):
    """What was found, best first, among so many rows."""

    results: list[Hit]
    searched: int
    state: str
    took_ms: float
