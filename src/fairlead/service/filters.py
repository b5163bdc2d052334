"""Which rows of a table are meant, by what their columns hold. Plain arrays; knows nothing of where rows are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.documents.columns import Column, Value
from fairlead.errors import InvalidRequest

_NOTHING: Final = -1
_MOST_VALUES: Final = 1_000
_ENDS: Final = ("from", "to")


@dataclass(frozen=True, slots=True)
class Condition:
    """What a column of a row must hold: one of `values`, or else something from `low` to `high`, both included."""

    column: Column
    values: tuple[Value, ...] = ()
    low: str | float | None = None
    high: str | float | None = None


def conditions(filters: Mapping[str, object] | None, columns: Sequence[Column]) -> list[Condition]:
    """Filters as people write them: `{column: value, or [values], or {"from", "to"}}`. InvalidRequest."""
    by_name = {column.name: column for column in columns}
    found = []
    for name, wanted in (filters or {}).items():
        column = by_name.get(name)
        if column is None:
            there = ", ".join(by_name)
            raise _wrong(f"There is no column {name[:100]!r}: the collection has {there[:500]}.")
        if isinstance(wanted, dict):
            if not wanted or not set(wanted) <= set(_ENDS):
                raise _wrong(f"The filter of {name} may have from and to, and needs one of them.")
            low, high = (None if wanted.get(end) is None else _end(column, wanted[end]) for end in _ENDS)
            found.append(Condition(column, low=low, high=high))
        else:
            values = wanted if isinstance(wanted, list | tuple) else (wanted,)
            if not 0 < len(values) <= _MOST_VALUES:
                raise _wrong(f"The filter of {name} may have 1 to {_MOST_VALUES} values.")
            found.append(Condition(column, tuple(_value(column, value) for value in values)))
    return found


class ColumnValues:
    """The values of one column, row by row.

    Args:
        column: which one.
        values: of the rows.
    """

    def __init__(self, column: Column, values: Iterable[Value]) -> None:
        self._is_number = column.type == "number"
        self._codes: dict[str, int] = {}
        """Of a column of texts: each text that it has, numbered."""
        self._held = self._encoded(values)

    def append(self, values: Iterable[Value]) -> None:
        """The next rows."""
        self._held = np.concatenate([self._held, self._encoded(values)])

    def mask(self, condition: Condition) -> NDArray[np.bool_]:
        """[rows]: whether each meets a condition."""
        held = self._held
        if condition.values:
            if not self._is_number:
                codes = [
                    self._codes.get(_as_text(value), _NOTHING - 1) for value in condition.values if value is not None
                ]
                wanted = [*codes, *([_NOTHING] if None in condition.values else [])]
                return np.isin(held, wanted)
            numbers = [value for value in condition.values if value is not None]
            found = np.isin(held, np.array(numbers, np.float64))
            return found | np.isnan(held) if None in condition.values else found
        low, high = condition.low, condition.high
        if not self._is_number:
            within = [code for text, code in self._codes.items() if _is_within(text, low, high)]
            return np.isin(held, within)
        found = ~np.isnan(held)
        if low is not None:
            found &= held >= float(low)
        if high is not None:
            found &= held <= float(high)
        return found

    def _encoded(self, values: Iterable[Value]) -> NDArray[np.float64] | NDArray[np.int32]:
        if self._is_number:
            return np.array([np.nan if value is None else float(value) for value in values], np.float64)
        codes = self._codes
        return np.array(
            [_NOTHING if value is None else codes.setdefault(_as_text(value), len(codes)) for value in values], np.int32
        )


def _is_within(text: str, low: str | float | None, high: str | float | None) -> bool:
    return (low is None or text >= str(low)) and (high is None or text <= str(high))


def _as_text(value: Value) -> str:
    """How a value is compared in a column of texts."""
    return value if isinstance(value, str) else json.dumps(value)


def _value(column: Column, value: object) -> Value:
    if value is None or isinstance(value, bool | int | float | str):
        if value is None or column.type == "text" or _is_number(value):
            return value
        raise _wrong(f"The column {column.name} is of numbers, and {str(value)[:40]!r} is none.")
    raise _wrong(f"The filter of {column.name} must be a value, a list of values, or an object with from and to.")


def _end(column: Column, value: object) -> str | float:
    if column.type == "number" and _is_number(value):
        assert isinstance(value, int | float), "a number"
        return value
    if column.type == "text" and isinstance(value, str):
        return value
    kind = "a number" if column.type == "number" else "a text"
    raise _wrong(f"From and to of the column {column.name} must be {kind}, not {str(value)[:40]!r}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="filters")
