"""Tables on their way into a collection: out of JSON as they were sent, or out of a file, which is read aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.documents.columns import BadTable, Column, Value, seen_rows
from fairlead.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that a collection can be made of.

    Attributes:
        columns: in order.
        contents: the values of each row in that order, as a list in JSON.
        text_column: by which rows are found.
        is_guessed: whether nobody named it.
        textless_count: rows that have nothing in it.
        source: the file that it is from, and how that was read; None for rows that were sent as they are.
    """

    columns: Sequence[Column]
    contents: Sequence[str]
    text_column: str
    is_guessed: bool
    textless_count: int
    source: Mapping[str, Any] | None = None

    @property
    def size_bytes(self) -> int:
        """What its rows take."""
        return sum(len(content.encode()) for content in self.contents)


def table_of_rows(rows: Sequence[Mapping[str, object]], text_column: str | None) -> Table:
    """The table of rows out of JSON; InvalidRequest where they make none."""
    try:
        seen = seen_rows(rows)
    except BadTable as error:
        raise InvalidRequest(str(error), param="rows") from None
    if not seen.rows:
        raise InvalidRequest("There are no rows.", param="rows")
    columns = seen.columns
    chosen = chosen_column(columns, text_column, seen.text_column())
    contents: list[str] = []
    textless = 0
    for row in rows:
        values: list[Value] = [row.get(column.name) for column in columns]  # type: ignore[misc]  # checked above
        contents.append(msgspec.json.encode(values).decode())
        textless += is_textless(row.get(chosen))
    if textless == len(contents):
        raise no_text(chosen)
    return Table(
        columns=columns,
        contents=contents,
        text_column=chosen,
        is_guessed=text_column is None,
        textless_count=textless,
    )


def chosen_column(columns: Sequence[Column], named: str | None, guessed: str | None) -> str:
    """The column with the text: the one that was named, or the guess. InvalidRequest where there is none."""
    names = [column.name for column in columns]
    if named is not None and named not in names:
        there = ", ".join(names)[:500]
        raise InvalidRequest(f"There is no column {named[:100]!r}: the table has {there}.", param="text_column")
    chosen = named or guessed
    if chosen is None:
        raise InvalidRequest("No column holds text: name the one to search by.", param="text_column")
    return chosen


def is_textless(value: object) -> bool:
    """Whether a row cannot be found by this."""
    return value is None or (isinstance(value, str) and not value.strip())


def no_text(column: str) -> InvalidRequest:
    """All texts are empty."""
    return InvalidRequest(
        f"Every row is empty in the column {column}: there is nothing to search.", param="text_column"
    )
