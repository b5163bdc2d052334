"""What chat templates may call, and the budget that every value they make is held to.

Each function measures what it is about to make where that could be more than its parts together. Which names
templates know them by is decided in `template_sandbox.py`.
"""

from __future__ import annotations

import contextvars
import json
import re
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from jinja2.runtime import Undefined
from jinja2.utils import Namespace

CPU_SECONDS: Final = 2.0

_FORMAT_WIDTH: Final = re.compile(r"%[^a-zA-Z%]*(?:\*|\d{4})")
_TIME_FORMAT: Final = re.compile(r"(?:[^%]|%-?[a-zA-Z%])*")
_MAX_INTEGER_BITS: Final = 4096


class Exceeded(Exception):
    """A template went past a limit."""


class Refused(Exception):
    """A template called `raise_exception`."""


class Budget:
    """What one rendering may use."""

    def __init__(self, chars: int) -> None:
        self._chars = chars
        self._deadline = time.thread_time() + CPU_SECONDS

    def tick(self) -> None:
        """Raises `Exceeded` once the time is over."""
        if time.thread_time() > self._deadline:
            raise Exceeded(f"it takes more than {CPU_SECONDS:g} s")

    def check(self, size: int) -> None:
        """Raises `Exceeded` for something of this size, if it is too large."""
        if size > self._chars:
            raise Exceeded(f"it makes a text or list of more than {self._chars} characters")

    def measure(self, *values: object) -> int:
        """The size of what these values hold: characters, and one for each value."""
        size = len(values)
        stack: list[object] = list(values)
        while stack:
            value = stack.pop()
            if isinstance(value, str):
                size += len(value)
            elif isinstance(value, list | tuple | set | frozenset):
                size += len(value)
                self.check(size)
                stack.extend(value)
            elif isinstance(value, dict):
                size += 2 * len(value)
                self.check(size)
                stack.extend(value)
                stack.extend(value.values())
            elif isinstance(value, int):
                check_integer(value.bit_length())
        self.check(size)
        return size


current: contextvars.ContextVar[Budget] = contextvars.ContextVar("budget")
"""The budget of the rendering that runs in this thread."""


def check_integer(bits: int) -> None:
    """Raises `Exceeded` for an integer of so many bits, if they are too many."""
    if bits > _MAX_INTEGER_BITS:
        raise Exceeded("it makes an integer that is too large")


def checked(value: Any) -> Any:
    """A value that an expression made, once it is known to be within the limits."""
    budget = current.get()
    budget.tick()
    budget.measure(value)
    return value


def as_text(value: object) -> str:
    """What `{{ value }}` writes."""
    if isinstance(value, str | int | float | list | tuple | dict | Undefined) or value is None:
        return str(checked(value))
    raise TypeError(f"a {type(value).__name__} has no text")


def paced(values: Iterable[Any]) -> Iterator[Any]:
    """What a loop goes through, with a look at the clock in each turn."""
    tick = current.get().tick
    for value in values:
        tick()
        yield value


def concat(values: Iterable[object]) -> str:
    """`a ~ b`."""
    return "".join(map(as_text, values))


def check_product(left: Any, right: Any) -> None:
    """Raises `Exceeded` where `left * right` would be too large."""
    for value, count in ((left, right), (right, left)):
        if isinstance(value, str | list | tuple) and isinstance(count, int):
            budget = current.get()
            budget.check(budget.measure(value) * count)
    if isinstance(left, int) and isinstance(right, int):
        check_integer(left.bit_length() + right.bit_length())


def power(base: Any, exponent: Any) -> Any:
    """`base ** exponent`, of small numbers."""
    if abs(base) > 1 << 20 or abs(exponent) > 64:
        raise Exceeded("it raises to a power that is too large")
    return base**exponent


def modulo(text: str, *values: Any) -> str:
    """`text % values`, for strings."""
    budget = current.get()
    if _FORMAT_WIDTH.search(text):
        raise Exceeded("it fills text to a width that is too large")
    budget.check(len(text) + text.count("%") * budget.measure(*values))
    made: str = text % (values[0] if len(values) == 1 else values)
    return made


def replace(value: object, old: str, new: str, count: int | None = None) -> str:
    """`text.replace(old, new)`, of the text of anything."""
    text = str(value)
    found = text.count(old)
    if count is not None and count >= 0:
        found = min(found, count)
    current.get().check(len(text) + found * (len(new) - len(old)))
    return text.replace(old, new, found)


def join(values: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    """The filter `join`."""
    if attribute is not None:
        values = [value[attribute] for value in values]
    return join_with(separator, [as_text(value) for value in values])


def join_with(separator: str, values: Iterable[str]) -> str:
    """`separator.join(values)`."""
    values = list(values)
    budget = current.get()
    budget.check(budget.measure(values) + len(separator) * len(values))
    return separator.join(values)


def indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """The filter `indent`."""
    margin = width if isinstance(width, str) else _times(" ", width)
    lines = str(text).splitlines()
    current.get().check(len(text) + len(margin) * len(lines))
    return "\n".join(
        margin + line if (first or number) and (blank or line) else line for number, line in enumerate(lines)
    )


def _times(text: str, count: int) -> str:
    check_product(text, count)
    return text * count


def rounded(value: float, precision: int = 0) -> float:
    """The filter `round`, to at most 20 places."""
    return round(value, max(-20, min(precision, 20)))


def tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as Hugging Face's templates expect it: nothing is escaped for HTML."""
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    budget = current.get()
    pieces, size = [], 0
    for piece in encoder.iterencode(value):
        size += len(piece)
        budget.check(size)
        pieces.append(piece)
    return "".join(pieces)


def raise_exception(message: object) -> None:
    """How a template refuses what it is given."""
    raise Refused(as_text(message))


def strftime_now(pattern: str) -> str:
    """The local time, as Hugging Face's templates ask for it."""
    if len(pattern) > 100 or not _TIME_FORMAT.fullmatch(pattern):
        raise ValueError("strftime_now takes a short format without widths")
    return datetime.now().astimezone().strftime(pattern)


class SilentNamespace(Namespace):
    """Jinja's `namespace`. It can hold itself, or others many times over, so its text is not what it holds."""

    def __repr__(self) -> str:
        return "<namespace>"
