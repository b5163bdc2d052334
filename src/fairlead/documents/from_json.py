"""JSON: its members, each with the path to it; a file in one long line is set out in many first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from fairlead.documents.from_text import lines_of
from fairlead.documents.units import Break, Unit, Unreadable

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_READABLE_LINE = 400
"""Characters; a file with longer lines is set out anew."""
_NAMED_LEVELS = 3
_LONGEST_KEY = 60


def json_units(text: str, depth: int) -> Iterator[Unit]:
    """The lines of a JSON text. Unreadable where it is none, or is nested deeper than `depth`."""
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError:
        raise Unreadable("It is nested too deep to be read.") from None
    except ValueError as error:
        raise Unreadable(f"It is no valid JSON: {error}.") from None
    lines = lines_of(text)
    numbered = max(map(len, lines), default=0) <= _READABLE_LINE
    path = _Path(depth)
    for number, line in enumerate(lines if numbered else set_out(text), 1):
        level, heading = path.level, str(path)
        for token in _TOKEN.finditer(line):
            path.take(token[0])
        closes = line.lstrip()[:1] in ("}", "]")
        begins = Break.SENTENCE if closes or level > 2 else Break.SECTION if level == 1 else Break.PARAGRAPH
        yield Unit(text=line, begins=begins, heading=heading or str(path), line=number if numbered else None)


def set_out(text: str) -> Iterator[str]:
    """The lines of a JSON text with a member on each, every token as it was."""
    line: list[str] = []
    indent, previous = 0, ""
    for match in _TOKEN.finditer(text):
        sign = match[0]
        opened = previous in ("{", "[")
        closes = sign in ("}", "]")
        indent -= closes
        if previous == "," or opened != closes:
            yield "".join(line) + "\n"
            line = [" " * indent]
        line.append(": " if sign == ":" else sign)
        indent += sign in ("{", "[")
        previous = sign
    yield "".join(line)


class _Path:
    """Where in a JSON text one is, told by its tokens."""

    def __init__(self, deepest: int) -> None:
        self._deepest = deepest
        self._places: list[str | int] = []
        self._last = ""

    @property
    def level(self) -> int:
        """How many objects and arrays are open."""
        return len(self._places)

    def take(self, sign: str) -> None:
        """The next token."""
        places = self._places
        if sign == "{":
            places.append("")
        elif sign == "[":
            places.append(0)
        elif sign in ("}", "]"):
            places.pop()
        elif sign == ":":
            places[-1] = self._last.strip('"')[:_LONGEST_KEY]
        elif sign == "," and isinstance(place := places[-1], int):
            places[-1] = place + 1
        if len(places) > self._deepest:
            raise Unreadable(f"It is nested deeper than {self._deepest} levels.")
        self._last = sign

    def __str__(self) -> str:
        told = ""
        for place in self._places[:_NAMED_LEVELS]:
            told += f"[{place}]" if isinstance(place, int) else f".{place}" if place else ""
        return told.removeprefix(".")
