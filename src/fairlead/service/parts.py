"""A long text in parts that a model takes in one by one, cut where most begins.

Pure: text and a way to count tokens in, parts out. Nothing is added, and nothing lost but what was to be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fairlead.documents.cutting import cut
from fairlead.documents.units import Unit

Count = Callable[[str], int]


def passages_of(text: str) -> list[str]:
    """A text in passages of some paragraphs; put together they are the text."""
    return [passage.text for passage in cut([Unit(text=text)])]


def spread(passages: Sequence[str], share: float) -> list[str]:
    """About this share of the passages by their characters, above 0 and evenly from all of the text; 1 is all of it."""
    if share >= 1:
        return list(passages)
    chosen: list[str] = []
    seen = taken = 0
    for passage in passages:
        seen += len(passage)
        if taken + len(passage) / 2 <= share * seen:
            chosen.append(passage)
            taken += len(passage)
    return chosen or list(passages[:1])


def packed(passages: Sequence[str], room: int, count: Count) -> list[str]:
    """Passages put together, in order, into as few parts as fit into so many tokens each.

    Two parts that follow upon each other have more than `room` tokens in all, so that fewer parts would not do. A
    passage that does not fit by itself is halved until it does.

    Args:
        passages: as they follow upon each other.
        room: in tokens, at least 1.
        count: counts a text's tokens; takes its time.
    """
    parts: list[str] = []
    gathered, length = "", 0
    for passage in passages:
        for piece in _fitting(passage, room, count):
            tokens = count(piece)
            if gathered and length + tokens > room:
                parts.append(gathered)
                gathered, length = "", 0
            gathered += piece
            length += tokens
    return [*parts, gathered] if gathered else parts


def _fitting(text: str, room: int, count: Count) -> Iterator[str]:
    if len(text) < 2 or count(text) <= room:
        yield text
        return
    middle = len(text) // 2
    at = text.rfind(" ", 1, middle) + 1 or middle
    yield from _fitting(text[:at], room, count)
    yield from _fitting(text[at:], room, count)
