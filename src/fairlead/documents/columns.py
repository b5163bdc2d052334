"""What the columns of a table hold: their types, and which of them is the one with the text.

Pure; knows nothing of how a table was written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

Value = str | int | float | bool | None
ColumnType = Literal["text", "number"]

MOST_ROWS: Final = 1_000_000
MOST_COLUMNS: Final = 200
MOST_NAME_CHARACTERS: Final = 200
MOST_ROW_CHARACTERS: Final = 100_000
"""So that a row is one message of a reading process, however its signs are written."""
_MOST_WHOLE: Final = 2**53
"""Whole numbers up to this are the same in floating point."""
_LOOKED_AT: Final = 1_000
"""Rows by which the column with the text is guessed."""


class BadTable(Exception):
    """A table that cannot be taken as it is; the message is a sentence."""


class Column(msgspec.Struct, frozen=True):
    """A column; in one of numbers each value is a number or null."""

    name: str
    type: ColumnType


class Seen:
    """Gathers what the rows of a table hold.

    Args:
        names: of the columns; more may come.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.rows = 0
        self._names: list[str] = []
        self._places: dict[str, int] = {}
        self._numbers: list[int] = []
        self._others: list[int] = []
        self._words: list[int] = []
        self._characters: list[int] = []
        for name in names:
            self.place(name)

    @property
    def columns(self) -> list[Column]:
        """Those that were seen, in order."""
        types: list[ColumnType] = [
            "number" if numbers and not others else "text"
            for numbers, others in zip(self._numbers, self._others, strict=True)
        ]
        return [Column(name, kind) for name, kind in zip(self._names, types, strict=True)]

    def place(self, name: str) -> int:
        """Which column this is; a new one where there is none of this name. BadTable for a name that none can have."""
        if (place := self._places.get(name)) is None:
            if not name.strip() or not name.isprintable() or len(name) > MOST_NAME_CHARACTERS:
                raise BadTable(
                    f"A column's name has 1 to {MOST_NAME_CHARACTERS} printable characters; {name[:40]!r} is none."
                )
            if len(self._names) == MOST_COLUMNS:
                raise BadTable(f"It has more than {MOST_COLUMNS} columns, the most taken.")
            place = self._places[name] = len(self._names)
            self._names.append(name)
            for counts in (self._numbers, self._others, self._words, self._characters):
                counts.append(0)
        return place

    def see(self, cells: Iterable[tuple[int, Value]]) -> None:
        """A row: places of columns and what is there. BadTable where it is too long, or one too many."""
        self.rows += 1
        if self.rows > MOST_ROWS:
            raise BadTable(f"It has more than {MOST_ROWS:,} rows, the most taken.")
        characters = 0
        for place, value in cells:
            if isinstance(value, str):
                self._others[place] += bool(value)
                characters += len(value)
                if self.rows <= _LOOKED_AT:
                    self._words[place] += len(value.split())
                    self._characters[place] += len(value)
            elif isinstance(value, bool):
                self._others[place] += 1
            elif value is not None:
                self._numbers[place] += 1
        if characters > MOST_ROW_CHARACTERS:
            raise BadTable(f"Row {self.rows} has more than {MOST_ROW_CHARACTERS:,} characters, the most taken.")

    def has_others(self, name: str) -> bool:
        """Whether a column holds anything but numbers."""
        return self._others[self._places[name]] > 0

    def text_column(self) -> str | None:
        """The column whose cells say most, by their words; None where none holds text."""
        candidates = [
            place for place, column in enumerate(self.columns) if column.type == "text" and self._others[place]
        ]
        if not candidates:
            return None
        return self._names[max(candidates, key=lambda place: (self._words[place], self._characters[place], -place))]


def checked(value: object, where: str) -> Value:
    """A value out of JSON, where it is one that a row may hold; BadTable where it is not."""
    if isinstance(value, float) and not math.isfinite(value):
        raise BadTable(f"The value of {where} is no number that JSON has.")
    if isinstance(value, int) and abs(value) > _MOST_WHOLE:
        raise BadTable(f"The value of {where} is too large a number.")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    kind = "a list" if isinstance(value, list) else "an object"
    raise BadTable(f"The value of {where} is {kind}; a row holds texts, numbers, true, false and null.")


def seen_rows(rows: Iterable[Mapping[str, object]]) -> Seen:
    """The columns of rows out of JSON: all that any has, in the order in which they first come. BadTable."""
    seen = Seen()
    for number, row in enumerate(rows, 1):
        seen.see([(seen.place(name), checked(value, f"{name[:40]} in row {number}")) for name, value in row.items()])
    return seen
