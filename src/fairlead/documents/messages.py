"""What the server asks of a reading process, and what it is told: JSON, a message a line, no pickle."""

from __future__ import annotations

import msgspec

from fairlead.documents.columns import Column, Value

LONGEST_LINE = 1 << 20
"""Bytes of one message; what is longer is none of ours."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What reading one file may take, and what may come of it."""

    cpu_s: int = 60
    """Processor time."""
    wall_s: float = 180.0
    """Time by the clock, in which others want the processor too."""
    memory_bytes: int = 768 << 20
    """Address space of the process, the interpreter and its libraries included."""
    characters: int = 5_000_000
    """Of the text."""
    pages: int = 5_000
    unpacked_bytes: int = 256 << 20
    """Of all that a compressed file holds."""
    unpacked_ratio: int = 200
    """By how much it may grow; small files may grow by more."""
    members: int = 4_096
    """Files within a compressed file."""
    depth: int = 200
    """Elements within each other."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How a table is to be read, and how much of it told; None is found out, and all of it."""

    delimiter: str | None = None
    encoding: str | None = None
    most_rows: int | None = None


class Job(msgspec.Struct, frozen=True):
    """What to read from standard input."""

    kind: str
    """As in `kinds.py`."""
    limits: Limits = Limits()
    table: Dialect | None = None
    """Read it as the rows of a table, and not as a text."""


class Passage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a file's text. Put together, the texts of all passages are the file's text."""

    text: str
    heading: str = ""
    page: int | None = None
    line_from: int | None = None
    line_to: int | None = None


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far the reading is, in pages."""

    done: int
    total: int


class Passages(msgspec.Struct, frozen=True, tag="passages"):
    """The next passages."""

    passages: list[Passage]


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header"):
    """What a table is; its rows come next."""

    columns: list[Column]
    text_column: str | None
    """The one that says most; None where none holds text."""
    row_count: int
    delimiter: str | None
    """None where it is not parted by one."""
    encoding: str


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """The next rows, each in the order of the columns."""

    rows: list[list[Value]]


class Read(msgspec.Struct, frozen=True, tag="read"):
    """The end of a file that could be read."""

    characters: int
    pages: int | None = None
    note: str | None = None
    """What of it holds no text, as a sentence."""


class Unread(msgspec.Struct, frozen=True, tag="unread"):
    """The end of one that could not."""

    reason: str
    """A sentence for people."""
    detail: str = ""
    """For the log, where the mistake is ours."""


Message = Progress | Passages | Header | Rows | Read | Unread
