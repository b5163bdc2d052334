"""What an answer has said so far, and how far a reader of it is.

A reader's place is a count of characters. So it stays true when several pieces are read as one, when the reader
comes back from elsewhere, and when the answer is read from the database after its end or after the server's.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final, Self

from fairlead.errors import InvalidRequest

_PLACE: Final = re.compile(r"([0-9]{1,10}):([0-9]{1,12})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a reader is in a chat: so many characters of the answer with this number. Events are named by it."""

    message: int
    characters: int

    @classmethod
    def parse(cls, event_id: str) -> Self:
        """The place that an event's id names; InvalidRequest for what is none."""
        found = _PLACE.fullmatch(event_id)
        if found is None:
            raise InvalidRequest("This is not the id of an event of a chat.", param="after")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.message}:{self.characters}"


class AnswerLog:
    """The text of an answer that grows. What is read from any place on, however cut, joins to the whole."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._ends: list[int] = []

    @property
    def length(self) -> int:
        """Characters so far."""
        return self._ends[-1] if self._ends else 0

    def append(self, text: str) -> None:
        """Some more of the answer. A NUL, which no database of ours keeps in a text, is U+FFFD from here on."""
        text = text.replace("\x00", "\ufffd")
        if text:
            self._ends.append(self.length + len(text))
            self._pieces.append(text)

    def since(self, characters: int) -> str:
        """What came after so many characters."""
        first = bisect_right(self._ends, characters)
        if first == len(self._pieces):
            return ""
        begins = self._ends[first - 1] if first else 0
        return "".join((self._pieces[first][characters - begins :], *self._pieces[first + 1 :]))
