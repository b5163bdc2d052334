"""The vectors of a collection in memory, and the search among them: exact, whatever it may look at roughly first.

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
from fairlead.service.codes import Codes, grown
from fairlead.service.filters import ColumnValues, Condition

_GROWS_BY: Final = 1.5
_LEAST_ROOM: Final = 1_024
_NOWHERE: Final = -np.inf


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

    def __init__(self, numbers: NDArray[np.int32], vectors: NDArray[np.float16]) -> None:
        self._count = len(numbers)
        self._numbers: NDArray[Any] = numbers
        self._matrix: NDArray[Any] = vectors
        self._alive: NDArray[Any] = np.ones(self._count, np.bool_)
        self._codes = Codes(vectors.shape[1])
        self._codes.write(0, vectors, self._count)
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
    def matrix(self) -> NDArray[np.float16]:
        """[rows, width], of those rows."""
        return self._matrix[: self._count]

    @property
    def alive(self) -> NDArray[np.bool_]:
        """[rows]: which of them are here still."""
        return self._alive[: self._count]

    @property
    def size_bytes(self) -> int:
        """What they take in memory."""
        return self._matrix.nbytes + self._codes.size_bytes

    def append(self, numbers: NDArray[np.int32], vectors: NDArray[np.float16], rows: Sequence[Sequence[Value]]) -> None:
        """The next rows, and the values of each in the order of the collection's columns."""
        if not len(numbers):
            return
        begin, end = self._count, self._count + len(numbers)
        if not begin:
            self._matrix, self._codes = np.empty((0, vectors.shape[1]), np.float16), Codes(vectors.shape[1])
        room = len(self._matrix)
        if end > room:
            room = max(int(_GROWS_BY * end), _LEAST_ROOM)
            self._numbers = grown(self._numbers, begin, room)
            self._matrix = grown(self._matrix, begin, room)
            self._alive = grown(self._alive, begin, room)
        self._numbers[begin:end] = numbers
        self._matrix[begin:end] = vectors
        self._alive[begin:end] = True
        self._codes.write(begin, vectors, room)
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
        if not count:
            return Near([], [], 0)
        numbers, matrix, alive = self._numbers[:count], self._matrix[:count], self._alive[:count]
        if self.approximate is not None and not conditions:
            places, searched = self.approximate.near(vector, most)
            places = places[places < count]  # others came after this began
            places = places[alive[places]]
        else:
            meant = alive.copy()
            for condition in conditions:
                meant &= self._columns[condition.column.name][1].mask(condition)[:count]
            searched = int(np.count_nonzero(meant))
            places = self._candidates(vector, meant, most)
        scores = matrix[places].astype(np.float32) @ vector
        order = np.argsort(-scores, kind="stable")[:most]
        if least is not None:
            order = order[scores[order] >= least]
        return Near(
            [int(number) for number in numbers[places[order]]], [float(score) for score in scores[order]], searched
        )

    def _candidates(self, vector: NDArray[np.float32], meant: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
        """Places of rows that are meant, all of those among them that may be one of the `most` nearest."""
        count = len(meant)
        rough, off_by = self._codes.products(vector, count)
        rough[~meant] = _NOWHERE
        if count <= most:
            return np.flatnonzero(meant)
        bar = np.partition(rough, count - most)[
            count - most
        ]  # of as many rows the product is at least this less off_by
        return np.flatnonzero((rough >= bar - 2 * off_by) & meant)
