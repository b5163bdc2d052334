"""Tables on their way into a collection: out of JSON as they were sent, or out of a file, which is read aside."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from fairlead.documents.client import Readers, ReadFailed
from fairlead.documents.columns import BadTable, Column, Value, seen_rows
from fairlead.documents.messages import Dialect, Header, Limits, Rows
from fairlead.errors import InvalidRequest, UnreadableFile, UnsupportedFile
from fairlead.service.uploads import Upload

_KINDS: Final = frozenset({"csv", "tsv", "json lines"})
_PREVIEWED: Final = 10
_NO_DELIMITERS: Final = frozenset('"\r\n\0')


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that a collection can be made of.

    Attributes:
        columns: in order.
        contents: the values of each row in that order, as a list in JSON.
        text_column: by which rows are found.
        is_guessed: whether nobody named it.
        textless_count: rows that have nothing in it.
        size_bytes: what the rows take.
        source: the file that it is from, and how that was read; None for rows that were sent as they are.
    """

    columns: Sequence[Column]
    contents: Sequence[str]
    text_column: str
    is_guessed: bool
    textless_count: int
    size_bytes: int
    source: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a file is read as: what it is, by what its rows would be found, and the first of them."""

    header: Header
    text_column: str | None
    """None where none was named, and none holds text."""
    rows: Sequence[Sequence[Value]]


class Tables:
    """Reads files as tables, in processes of their own.

    Args:
        readers: those processes.
    """

    def __init__(self, readers: Readers | None = None) -> None:
        self._readers = readers or Readers(Limits())

    async def preview(
        self, upload: Upload, text_column: str | None, delimiter: str | None, encoding: str | None
    ) -> Preview:
        """The beginning of a file that was received and finished; errors as in `read`."""
        rows: list[list[Value]] = []
        dialect = Dialect(delimiter=delimiter, encoding=encoding, most_rows=_PREVIEWED)
        async with contextlib.aclosing(self._told(upload, dialect)) as messages:
            async for message in messages:
                if isinstance(message, Header):
                    header = message
                else:
                    rows += message.rows
        chosen = header.text_column
        if text_column is not None:
            chosen = chosen_column(header.columns, text_column, None)
        return Preview(header, chosen, rows)

    async def read(self, upload: Upload, text_column: str | None, delimiter: str | None, encoding: str | None) -> Table:
        """The table in a file that was received and finished.

        Args:
            upload: the file.
            text_column: by which rows are to be found; None is guessed, and so are the next two.
            delimiter: what parts fields.
            encoding: a name that Python knows.

        Raises:
            UnsupportedFile: it is of another kind.
            UnreadableFile: it is no table, or not within the limits.
            InvalidRequest: it has no such column, or nothing in it; or there is no such encoding or delimiter.
        """
        contents: list[str] = []
        textless = size_bytes = 0
        dialect = Dialect(delimiter=delimiter, encoding=encoding)
        async with contextlib.aclosing(self._told(upload, dialect)) as messages:
            async for message in messages:
                if isinstance(message, Header):
                    header = message
                    chosen = chosen_column(header.columns, text_column, header.text_column)
                    place = [column.name for column in header.columns].index(chosen)
                else:
                    encoded = [msgspec.json.encode(row) for row in message.rows]
                    contents += [row.decode() for row in encoded]
                    size_bytes += sum(map(len, encoded))
                    textless += sum(is_textless(row[place]) for row in message.rows)
        if textless == len(contents):
            raise no_text(chosen)
        return Table(
            columns=header.columns,
            contents=contents,
            text_column=chosen,
            is_guessed=text_column is None,
            textless_count=textless,
            size_bytes=size_bytes,
            source={"file": upload.name, "delimiter": header.delimiter, "encoding": header.encoding},
        )

    async def _told(self, upload: Upload, dialect: Dialect) -> AsyncGenerator[Header | Rows]:
        """A file's header, and then its rows."""
        if upload.kind not in _KINDS:
            raise UnsupportedFile(
                f"{upload.name} is no table: a collection is made of csv, tsv or jsonl.", param="file"
            )
        _check(dialect)
        try:
            async with contextlib.aclosing(
                self._readers.read_table(upload.incoming.path, upload.kind, dialect)
            ) as messages:
                async for message in messages:
                    if isinstance(message, Header | Rows):
                        yield message
        except ReadFailed as error:
            raise UnreadableFile(f"{upload.name} could not be read. {error}", param="file") from None


def _check(dialect: Dialect) -> None:
    """InvalidRequest for what cannot part fields, and for encodings that there are not."""
    if dialect.delimiter is not None and dialect.delimiter in _NO_DELIMITERS:
        raise InvalidRequest("A quotation mark or a line's end parts no fields.", param="delimiter")
    if dialect.encoding is not None:
        try:
            codecs.lookup(dialect.encoding)
        except LookupError:
            raise InvalidRequest(f"There is no encoding {dialect.encoding}.", param="encoding") from None


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
    textless = size_bytes = 0
    for row in rows:
        encoded = msgspec.json.encode([row.get(column.name) for column in columns])
        contents.append(encoded.decode())
        size_bytes += len(encoded)
        textless += is_textless(row.get(chosen))
    if textless == len(contents):
        raise no_text(chosen)
    return Table(
        columns=columns,
        contents=contents,
        text_column=chosen,
        is_guessed=text_column is None,
        textless_count=textless,
        size_bytes=size_bytes,
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
