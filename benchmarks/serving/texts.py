"""Texts to send: common words in an order of their own, and one to quote."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

COMMON_WORDS = (
    "the of and a to in is you that it he was for on are as with his they at be this have from or one had by word "
    "but not what all were we when your can said there use an each which she do how their if will up other about out "
    "many then them these so some her would make like him into time has look two more write go see number no way "
    "could people my than first water been call who oil its now find long down day did get come made may part"
)

CODE = '''def largest_gap(times):
    """The longest pause between neighbouring times, and where it began."""
    longest, place = 0.0, None
    for number in range(1, len(times)):
        pause = times[number] - times[number - 1]
        if pause > longest:
            longest, place = pause, number - 1
    return longest, place


def moving_average(values, width):
    """The mean of each value and the width - 1 values before it."""
    if width < 1:
        raise ValueError("the width must be 1 or more")
    total, means = 0.0, []
    for number, value in enumerate(values):
        total += value
        if number >= width:
            total -= values[number - width]
        means.append(total / min(number + 1, width))
    return means
'''

REPORT = (
    "The harbour of Vessel Bay was closed on Monday after a storm had torn two fishing boats from their moorings. "
    "No one was hurt, said the harbour master, Anna Lindqvist, but the northern pier will need repairs that may "
    "take until the end of March. The ferry to the islands leaves from the old quay in the meantime, twice a day, "
    "at nine in the morning and at four in the afternoon. The town council will meet on Thursday to speak about the "
    "cost, which is thought to be some four hundred thousand crowns. Insurance covers no more than half of it. The "
    "fishermen have asked for help from the county, which has promised an answer within ten days."
)


def words(draw: random.Random, count: int) -> str:
    """So many common words; nobody else's begin alike."""
    return " ".join(draw.choices(COMMON_WORDS.split(), k=count))


def chat(user: str, system: str | None = None) -> Sequence[Mapping[str, str]]:
    """A conversation's messages."""
    first = [{"role": "system", "content": system}] if system is not None else []
    return [*first, {"role": "user", "content": user}]
