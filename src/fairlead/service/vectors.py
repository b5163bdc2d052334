"""The vectors of a collection in memory, and the search among them: exact, by every row's scalar product.

Plain arrays; knows nothing of texts, models or the database. What grows and shrinks does so on the event loop; a
search, in a thread, sees the rows that were there when it began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairlead.documents.columns import Value
from fairlead.service.approximate import Approximate
from fairlead.service.filters import ColumnValues, Condition

_GROWS_BY: Final = 1.5
_LEAST_ROOM: Final = 1_024


class Near(NamedTuple):
    """The rows that were found, best first, with their cosines; and how many were looked at."""

    numbers: list[int]
    scores: list[float]
    searched: int


class Vectors:
    """Rows by their numbers, a vector of length 1 for each.

    Args:
        numbers: [rows], rising.
        vectors: [rows, width].
    """

    def __init__(self, numbers: NDArray[np.int32], vectors: NDArray[np.float32]) -> None:
        self._count = len(numbers)
        self._numbers = numbers
        self._matrix = vectors
        self._alive = np.ones(self._count, np.bool_)
        self._columns: dict[str, tuple[int, ColumnValues]] = {}
        self.approximate: Approximate | None = None
        """Where there are very many rows: an index of all places below its own count."""

    def __len__(self) -> int:
        return self._count

    @property
    def numbers(self) -> NDArray[np.int32]:
        """Of all rows that ever were here."""
        return self._numbers[: self._count]

    @property
    def matrix(self) -> NDArray[np.float32]:
        """[rows, width], of those rows."""
        return self._matrix[: self._count]

    @property
    def alive(self) -> NDArray[np.bool_]:
        """[rows]: which of them are here still."""
        return self._alive[: self._count]

    @property
    def size_bytes(self) -> int:
        """What they take in memory."""
        return self._matrix.nbytes

    def append(self, numbers: NDArray[np.int32], vectors: NDArray[np.float32], rows: Sequence[Sequence[Value]]) -> None:
        """The next rows, and the values of each in the order of the collection's columns."""
        begin, end = self._count, self._count + len(numbers)
        if not begin:
            self._matrix = np.empty((0, vectors.shape[1] if vectors.ndim == 2 else 0), np.float32)
        if end > len(self._matrix):
            room = max(int(_GROWS_BY * end), _LEAST_ROOM)
            self._numbers = _grown(self._numbers[:begin], room)
            self._matrix = _grown(self._matrix[:begin], room)
            self._alive = _grown(self._alive[:begin], room)
        self._numbers[begin:end] = numbers
        self._matrix[begin:end] = vectors
        self._alive[begin:end] = True
        for place, column in self._columns.values():
            column.append([row[place] for row in rows])
        self._count = end

    def remove(self, number: int) -> None:
        """A row is gone."""
        place = int(np.searchsorted(self.numbers, number))
        if place < self._count and self._numbers[place] == number:
            self._alive[place] = False
            if self.approximate is not None:
                self.approximate.remove(place)

    def lacks(self, condition: Condition) -> bool:
        """Whether the column of a condition is still to be added."""
        return condition.column.name not in self._columns

    def add_column(self, place: int, condition: Condition, rows: Mapping[int, Value]) -> None:
        """The values of a column, the collection's so many-th, by the numbers of the rows that there are."""
        values = ColumnValues(condition.column, [rows.get(int(number)) for number in self.numbers])
        self._columns[condition.column.name] = (place, values)

    def near(
        self, vector: NDArray[np.float32], most: int, conditions: Sequence[Condition] = (), least: float | None = None
    ) -> Near:
        """The rows nearest to a vector of length 1, among those that meet all conditions.

        Args:
            vector: [width].
            most: so many at most.
            conditions: on columns that were added.
            least: the least cosine that counts.
        """
        count = self._count
        numbers, matrix, alive = self._numbers[:count], self._matrix[:count], self._alive[:count]
        if not count:
            return Near([], [], 0)
        if self.approximate is not None and not conditions:
            places, searched = self.approximate.near(vector, most)
            places = places[places < count]  # others came after this began
            scores = products(matrix[places], vector)
            scores[~alive[places]] = -np.inf
        else:
            meant = alive.copy()
            for condition in conditions:
                meant &= self._columns[condition.column.name][1].mask(condition)[:count]
            searched = int(np.count_nonzero(meant))
            scores = products(matrix, vector)
            scores[~meant] = -np.inf
            places = np.arange(count) if count <= most else np.argpartition(scores, count - most)[count - most :]
            scores = scores[places]
        order = np.argsort(-scores, kind="stable")[:most]
        order = order[scores[order] >= (-1.1 if least is None else least)]
        return Near(
            [int(number) for number in numbers[places[order]]], [float(score) for score in scores[order]], searched
        )


def products(matrix: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows]: each row's scalar product with a vector, in this thread alone.

    The library beneath `@` shares the rows out among threads. That gains next to nothing, as memory sets the pace, and
    where a model uses the processors too all wait for the thread that was held up.
    """
    found: NDArray[np.float32] = np.vecdot(matrix, vector)
    return found


def _grown(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """An array with room for so many rows, and what it held."""
    grown = np.empty((rows, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
