"""Passages: a file's text cut into parts that an embedding model takes in at once, along what structure it has.

Nothing is added or lost: put together, the passages are the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fairlead.documents.messages import Passage
from fairlead.documents.units import Break, Unit, pieces, size

MOST = 220
"""Tokens of a passage, by the count of `size`: MiniLM was trained on 128 and reads 256."""
LEAST = 20
"""A shorter one is joined with what follows, even over a heading."""


def cut(units: Iterable[Unit], most: int = MOST, least: int = LEAST) -> Iterator[Passage]:
    """The passages of a text, each of one page. White space is a passage of its own only where there is plenty."""
    gathering = _Gathering(most, least)
    for whole in units:
        for unit in pieces(whole, most // 2):
            yield from gathering.add(unit)
    yield from gathering.end()


class _Gathering:
    """Units that are not in a passage yet."""

    def __init__(self, most: int, least: int) -> None:
        self._most = most
        self._least = least
        self._units: list[tuple[Unit, float]] = []
        self._size = 0.0
        self._last: Unit | None = None
        """Of those that are not in a passage, the last that is not blank: blank ones belong to any page."""

    def add(self, unit: Unit) -> Iterator[Passage]:
        """Take a unit, and give the passages that are complete."""
        length = size(unit.text)
        blank = unit.text.isspace()
        turns_page = not blank and self._last is not None and unit.page != self._last.page
        if turns_page or (self._size >= self._least and unit.begins >= Break.SECTION):
            yield from self._take(len(self._units))
        while self._units and self._size + length > self._most:
            yield from self._take(self._best_cut(unit))
        self._units.append((unit, length))
        self._size += length
        self._last = self._last if blank else unit

    def end(self) -> Iterator[Passage]:
        """The last passage."""
        yield from self._take(len(self._units))

    def _best_cut(self, following: Unit) -> int:
        """Before which unit to cut: where most begins, and of equals the last."""
        kinds = [unit.begins for unit, _ in self._units[1:]] + [following.begins]
        best, so_far = len(self._units), 0.0
        best_kind: Break | None = None
        for index, kind in enumerate(kinds, 1):
            so_far += self._units[index - 1][1]
            if so_far >= self._least and (best_kind is None or kind >= best_kind):
                best, best_kind = index, kind
        return best

    def _take(self, count: int) -> Iterator[Passage]:
        taken, self._units = self._units[:count], self._units[count:]
        self._last = next((unit for unit, _ in reversed(self._units) if not unit.text.isspace()), None)
        self._size = sum(length for _, length in self._units)
        if not taken:
            return
        spoken = next((unit for unit, _ in taken if not unit.text.isspace()), taken[0][0])
        text = "".join(unit.text for unit, _ in taken)
        line_from = taken[0][0].line
        line_to = None if line_from is None else line_from + text.removesuffix("\n").count("\n")
        yield Passage(text=text, heading=spoken.heading, page=spoken.page, line_from=line_from, line_to=line_to)
