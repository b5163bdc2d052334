"""The approximate index of a very large collection: a graph of near vectors (HNSW, by USearch), and what it misses.

Its recall is measured when it is built, on questions of our own against exact search, and told with the collection.
Y. Malkov, D. Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
World graphs", 2016. Plain arrays; all of it may be called from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

_CONNECTIVITY: Final = 16
_EXPANSION_ADD: Final = 128
_EXPANSION_SEARCH: Final = 256
"""How many candidates a search keeps in sight."""
_QUESTIONS: Final = 100
_NEAREST: Final = 10
"""Recall is the share of so many nearest rows that are found."""
_NOISE: Final = 1.0
"""Length of what is added to a row's vector to make a question of it: as far off as a question is from its answer."""
_AT_ONCE: Final = 2_000
"""Rows that are added before it is asked whether they are wanted,"""
_BETWEEN_SEARCHES: Final = 50
"""and before a search may come between."""
_SPARE: Final = 2
"""Rows more than asked for, relative to those: some may have been removed."""


class Approximate:
    """An index of rows by their places. Build it by `built`.

    Args:
        width: of the vectors.
    """

    def __init__(self, width: int) -> None:
        self.recall = 0.0
        """Of the 10 nearest rows, the share that was found, on average; measured when it was built."""
        self._turn = threading.Lock()
        self._index = Index(
            ndim=width,
            metric="ip",
            dtype="f16",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
            expansion_search=_EXPANSION_SEARCH,
        )

    def add(self, first: int, vectors: NDArray[np.float16]) -> None:
        """The vectors of the rows at `first` and the places after it, [rows, width]."""
        for begin in range(0, len(vectors), _BETWEEN_SEARCHES):
            some = vectors[begin : begin + _BETWEEN_SEARCHES]
            with self._turn:
                self._index.add(np.arange(first + begin, first + begin + len(some)), some, threads=1)

    def remove(self, place: int) -> None:
        """A row is gone."""
        with self._turn:
            self._index.remove(place)

    def remove_dead(self, alive: NDArray[np.bool_]) -> None:
        """Those rows are gone that are not alive, [rows]."""
        for place in np.flatnonzero(~alive):
            if int(place) in self._index:
                self.remove(int(place))

    def near(self, vector: NDArray[np.float32], most: int) -> tuple[NDArray[np.int64], int]:
        """Places of the nearest rows, somewhat more than `most` of them; and how many rows were looked at."""
        with self._turn:
            found = self._index.search(vector, _SPARE * most, threads=1)
        return np.asarray(found.keys).astype(np.int64), int(found.visited_members)

    def measure(self, matrix: NDArray[np.float16], alive: NDArray[np.bool_]) -> None:
        """Measure the recall."""
        random = np.random.default_rng(0)
        rows = matrix[random.choice(np.flatnonzero(alive), _QUESTIONS)].astype(np.float32)
        noise = random.standard_normal(rows.shape).astype(np.float32)
        questions = rows + _NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        questions /= np.linalg.norm(questions, axis=1, keepdims=True)
        exact = _best(matrix, alive, questions)
        found = [set(self.near(question, _NEAREST)[0].tolist()[:_NEAREST]) for question in questions]
        hits = sum(len(own & right) for own, right in zip(found, exact, strict=True))
        self.recall = round(hits / sum(map(len, exact)), 3)


def built(matrix: NDArray[np.float16], alive: NDArray[np.bool_], is_wanted: Callable[[], bool]) -> Approximate | None:
    """An index of the rows that are alive, with its recall; None where it is not wanted any more before it is built."""
    index = Approximate(matrix.shape[1])
    for first in range(0, len(matrix), _AT_ONCE):
        if not is_wanted():
            return None
        index.add(first, matrix[first : first + _AT_ONCE])
    index.remove_dead(alive)
    index.measure(matrix, alive)
    return index


def _best(matrix: NDArray[np.float16], alive: NDArray[np.bool_], questions: NDArray[np.float32]) -> list[set[int]]:
    """The places of the nearest rows of each question."""
    scores = np.empty((len(questions), len(matrix)), np.float32)
    for begin in range(0, len(matrix), _AT_ONCE):
        some = matrix[begin : begin + _AT_ONCE].astype(np.float32)
        scores[:, begin : begin + _AT_ONCE] = questions @ some.T
    scores[:, ~alive] = -np.inf
    nearest = np.argpartition(scores, -_NEAREST, axis=1)[:, -_NEAREST:]
    return [set(own.tolist()) for own in nearest]
