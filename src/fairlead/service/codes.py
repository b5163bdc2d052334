"""Vectors in a byte for each number: a first look at all of them that reads a quarter of what they would take.

It says how far it may be off. A row v is rounded to s·c, c of whole numbers from -127 to 127, and the loss is known:
|v - s·c|. By Cauchy and Schwarz a product of two that were rounded is off by no more than what both lost. So rows that
cannot be among the best are told from those that may, and these are then looked at as they are. The products of bytes
are NumKong's, in this thread alone: memory sets the pace, and threads of a model may have the other processors.
"""

from __future__ import annotations

from typing import Any, Final

import numkong
import numpy as np
from numpy.typing import NDArray

_MOST: Final = 127
_AT_ONCE: Final = 16_384
"""Rows of one product, between which other threads have the interpreter; and of one rounding, which takes room."""
_ROUNDING: Final = 1e-5
"""More than what sums of so few products in floating point are off by."""
_LONGEST: Final = 1.001
"""Of a row of length 1, each of whose numbers was rounded to 16 bits."""


class Codes:
    """Rows in bytes; grows with `append`."""

    def __init__(self, width: int) -> None:
        self._codes: NDArray[Any] = np.empty((0, width), np.int8)
        self._scales: NDArray[Any] = np.empty(0, np.float32)
        self._lost = 0.0

    @property
    def size_bytes(self) -> int:
        """What they take in memory."""
        return self._codes.nbytes + self._scales.nbytes

    def write(self, begin: int, vectors: NDArray[np.float16], room: int) -> None:
        """The rows from `begin` on, [rows, width], each of length 1; `room` for so many in all."""
        if room > len(self._codes):
            self._codes, self._scales = grown(self._codes, begin, room), grown(self._scales, begin, room)
        for first in range(0, len(vectors), _AT_ONCE):
            some = vectors[first : first + _AT_ONCE].astype(np.float32)
            codes, scales, lost = _rounded(some)
            place = slice(begin + first, begin + first + len(some))
            self._codes[place], self._scales[place] = codes, scales
            self._lost = max(self._lost, float(lost.max()))

    def products(self, vector: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], float]:
        """[rows]: about the scalar product of each of the first `count` rows with a vector of length 1, [width].

        And by how much any of them may be off.
        """
        codes, scales, lost = _rounded(vector[np.newaxis])
        found = np.empty(count, np.float32)
        for begin in range(0, count, _AT_ONCE):
            end = min(begin + _AT_ONCE, count)
            found[begin:end] = np.asarray(numkong.cdist(codes, self._codes[begin:end], metric="dot"))[0]
        found *= self._scales[:count]
        found *= scales[0]
        return found, self._lost + (_LONGEST + self._lost) * float(lost[0]) + _ROUNDING


def grown(array: NDArray[Any], count: int, room: int) -> NDArray[Any]:
    """An array with room for so many rows, and the first `count` of what it held."""
    new = np.empty((room, *array.shape[1:]), array.dtype)
    new[:count] = array[:count]
    return new


def _rounded(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Each row's bytes, what one of them stands for, and the length of what is lost."""
    scales = np.maximum(np.abs(vectors).max(axis=1), np.finfo(np.float32).tiny) / np.float32(_MOST)
    codes = np.rint(vectors / scales[:, np.newaxis]).astype(np.int8)
    lost = np.linalg.norm(vectors - codes * scales[:, np.newaxis], axis=1)
    return codes, scales, lost
