"""Passages ranked for a question: by the words they share with it and by meaning, both together.

Plain arrays; knows nothing of files, models or prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.service.word_index import WordIndex

_WORDS_WORTH: Final = 0.8
"""Of a question's words all found, in cosines. By `benchmarks/retrieval.py`, as is how the two are put together."""


class Searchable:
    """Passages that can be searched.

    Args:
        texts: of the passages, each with its heading.
        vectors: [passages, width], each of length 1; a passage that has none yet is zeros. None where none has.
    """

    def __init__(self, texts: Sequence[str], vectors: NDArray[np.float32] | None) -> None:
        self._words = WordIndex(texts)
        self._vectors = vectors

    def ranked(self, question: str, vector: NDArray[np.float32] | None) -> list[int]:
        """Indices of passages, best first; those that neither word nor meaning speaks for are left out.

        Args:
            question: what is asked.
            vector: [width], the question's; None to go by words alone.
        """
        by_words = self._words.scores(question)
        if vector is None or self._vectors is None:
            return [int(index) for index in np.argsort(-by_words, kind="stable") if by_words[index] > 0]
        return fused(by_words, self._vectors @ vector)


def fused(by_words: NDArray[np.float32], by_meaning: NDArray[np.float32]) -> list[int]:
    """Indices, best first, by the share of the question's words and the cosine with its meaning together.

    Both are absolute. Ranks and scores relative to the other passages' say of a question whose words are nowhere
    that some passage has them best, and let that spoil what its meaning found.
    """
    total = by_meaning + _WORDS_WORTH * by_words
    return [int(index) for index in np.argsort(-total, kind="stable") if total[index] > 0]
