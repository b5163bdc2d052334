"""Who sends requests: names on the outside, numbers for the engine, and what each may have.

Names never reach the engine. It knows a user by a number that is given once and never again, so that what one left
in the cache is nobody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fairlead.config import UserSettings

OTHERS: Final = "(others)"
"""How metrics call all those who have no label of their own."""

_MOST_KNOWN: Final = 10_000
_MOST_LABELS: Final = 50

CountTokens = Callable[[str, int, int], None]
"""A name, and tokens of a prompt and of its answer."""


def _count_nothing(name: str, prompt_tokens: int, completion_tokens: int) -> None:
    """For servers that keep no account."""


@dataclass(slots=True, eq=False)
class User:
    """Somebody who sends requests."""

    name: str
    number: int
    """The engine's name for them, and the salt of their prefixes; above 0."""
    label: str
    """What metrics call them: there are few labels, whoever comes."""
    weight: float
    """Their share of a model's time, relative to others'."""
    max_waiting: int
    """Most of their answers that may wait for a first token at once."""
    waiting: int = 0
    """Answers that wait for their first token."""
    running: int = 0
    """Answers that have it."""
    count: CountTokens = _count_nothing
    """Told of every answer's tokens at its end."""


class Users:
    """The users of one server. Those who were away the longest are forgotten where very many come.

    Args:
        settings: what is set for some, by their names. They, and the first few others, get labels of their own.
        max_waiting: for those for whom nothing else is set.
        count: is told of the tokens of every answer.
    """

    def __init__(
        self, settings: Mapping[str, UserSettings], max_waiting: int, count: CountTokens = _count_nothing
    ) -> None:
        self._count = count
        self._settings = settings
        self._max_waiting = max_waiting
        self._labels = set(settings)
        self._most_labels = len(settings) + _MOST_LABELS
        self._by_name: dict[str, User] = {}  # whoever came last is last
        self._by_number: dict[int, User] = {}
        self._last_number = 0

    def find(self, name: str) -> User:
        """The user of this name, who may be new."""
        user = self._by_name.pop(name, None) or self._meet(name)
        self._by_name[name] = user
        return user

    def numbered(self, number: int) -> User | None:
        """The user whom the engine knows by this number; None where they were forgotten."""
        return self._by_number.get(number)

    def _meet(self, name: str) -> User:
        if len(self._by_name) >= _MOST_KNOWN:
            self._forget_one()
        self._last_number += 1
        given = self._settings.get(name, UserSettings())
        user = User(
            name=name,
            number=self._last_number,
            label=self._label(name),
            weight=given.weight,
            max_waiting=self._max_waiting if given.max_waiting is None else given.max_waiting,
            count=self._count,
        )
        self._by_number[user.number] = user
        return user

    def _forget_one(self) -> None:
        """Forget who was away the longest; those with answers under way, of whom there are not so many, stay."""
        for user in self._by_name.values():
            if not user.waiting and not user.running:
                del self._by_name[user.name], self._by_number[user.number]
                return

    def _label(self, name: str) -> str:
        if name not in self._labels:
            if len(self._labels) >= self._most_labels:
                return OTHERS
            self._labels.add(name)
        return name
