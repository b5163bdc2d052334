"""Files as tables for a collection: what their columns hold, and their rows, value by value.

A file is gone through twice: once to see that it is a table and what its columns are, and once for its rows, so that it
is never in memory but as the text that it is.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import Final, Protocol

import msgspec

from fairlead.documents.columns import BadTable, Seen, Value, checked
from fairlead.documents.from_csv import delimiter_of
from fairlead.documents.from_text import lines_of
from fairlead.documents.messages import Dialect, Header
from fairlead.documents.text import decoded_by
from fairlead.documents.units import Unreadable

_LONGEST_FIELD: Final = 1 << 20
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,17})?([eE][+-]?\d{1,2})?", re.ASCII)
"""What is written thus and not otherwise: 007 is no number but a name, and so are 1,5 and 1e999."""


class Table(Protocol):
    """A table in a file, looked through."""

    header: Header
    characters: int

    def rows(self) -> Iterator[list[Value]]:
        """Its rows in the order of the columns."""


def table_in(kind: str, data: bytes, dialect: Dialect) -> Table:
    """The table in a file of this kind. Unreadable where it is none."""
    text, encoding = decoded_by(data, dialect.encoding)
    try:
        if kind in ("csv", "tsv"):
            return _Delimited(text, dialect.delimiter or ("\t" if kind == "tsv" else None), encoding)
        if kind == "json lines":
            return _JsonLines(text, encoding)
    except BadTable as error:
        raise Unreadable(str(error)) from None
    except csv.Error as error:  # of the lines by which the delimiter is found
        raise Unreadable(f"It is no table: {error}.") from None
    raise Unreadable("It is no table: those are csv, tsv and jsonl.")


class _Delimited:
    """Records of fields that a sign parts; the first holds the columns' names."""

    def __init__(self, text: str, delimiter: str | None, encoding: str) -> None:
        csv.field_size_limit(_LONGEST_FIELD)
        self._lines = lines_of(text)
        self._delimiter = delimiter or delimiter_of(self._lines)
        self.characters = len(text)
        records = self._records()
        _, first = next(records, (0, []))
        names = [" ".join(name.split()) or f"column_{place}" for place, name in enumerate(first, 1)]
        if len(set(names)) < len(names):
            twice = next(name for place, name in enumerate(names) if name in names[:place])
            raise BadTable(f"Two columns are named {twice[:100]}.")
        seen = Seen(names)
        for line, record in records:
            if len(record) != len(names):
                raise BadTable(
                    f"It is ragged: the record at line {line} has {len(record)} fields, and the first {len(names)}."
                )
            seen.see([(place, _value(field)) for place, field in enumerate(record)])
        self._is_number = [column.type == "number" for column in seen.columns]
        self.header = _header(seen, self._delimiter, encoding)

    def rows(self) -> Iterator[list[Value]]:
        """The records after the first."""
        records = self._records()
        next(records)
        for _, record in records:
            yield [_value(field) if number else field for field, number in zip(record, self._is_number, strict=True)]

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Records that hold anything, each with the line on which it begins."""
        begin = 1
        try:
            reader = csv.reader(iter(self._lines), delimiter=self._delimiter, strict=True)
            for record in reader:
                if record:
                    yield begin, record
                begin = reader.line_num + 1
        except csv.Error as error:
            raise BadTable(f"It is no table: {error}, in the record at line {begin}.") from None


class _JsonLines:
    """An object on each line."""

    def __init__(self, text: str, encoding: str) -> None:
        self._lines = lines_of(text)
        self.characters = len(text)
        seen = Seen()
        for number, row in self._objects():
            seen.see(
                [(seen.place(name), checked(value, f"{name[:40]} at line {number}")) for name, value in row.items()]
            )
        self._names = [column.name for column in seen.columns]
        self.header = _header(seen, None, encoding)

    def rows(self) -> Iterator[list[Value]]:
        """The lines' objects; null where one lacks a column."""
        for number, row in self._objects():
            yield [checked(row.get(name), f"{name} at line {number}") for name in self._names]

    def _objects(self) -> Iterator[tuple[int, dict[str, object]]]:
        for number, line in enumerate(self._lines, 1):
            if not line.strip():
                continue
            try:
                yield number, msgspec.json.decode(line, type=dict[str, object])
            except (msgspec.MsgspecError, RecursionError):
                raise BadTable(f"Line {number} is no JSON object.") from None


def _header(seen: Seen, delimiter: str | None, encoding: str) -> Header:
    if not seen.rows:
        raise BadTable("It holds no rows.")
    return Header(
        columns=seen.columns,
        text_column=seen.text_column(),
        row_count=seen.rows,
        delimiter=delimiter,
        encoding=encoding,
    )


def _value(field: str) -> Value:
    """A field as a number where it is written as one, null where it is empty, and otherwise the text that it is."""
    if not field.strip():
        return None
    if _NUMBER.fullmatch(field) is None:
        return field
    return int(field) if field.lstrip("-").isdigit() else float(field)
