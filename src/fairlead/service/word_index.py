"""Passages found by the words they share with a question: BM25 (Robertson and Zaragoza, 2009), in memory.

Words are what people type and what code is made of: `readTheFile` and `read_the_file` are three words each, and one.
Scripts that do not part words are taken in pairs of signs.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SATURATION: Final = 1.2
"""k1: how much the second and third mention of a word count."""
_LENGTH_SHARE: Final = 0.75
"""b: how much a long passage is held against it."""
_WORD: Final = re.compile(r"[^\W_]+(?:_+[^\W_]+)*")
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\dA-Z_]+|\d+")
_UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_LONGEST: Final = 64
"""Characters of a word; what is longer is data."""

STOP_WORDS: Final = frozenset(
    {
        "a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do", "does", "for",
        "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "no", "not", "of",
        "on", "or", "our", "so", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this",
        "to", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with", "would", "you",
        "your",
    }
)  # fmt: skip
"""English words that a question is full of and that say nothing about what it is after."""


def words(text: str) -> Iterator[str]:
    """The words of a text in the form in which they are compared."""
    for found in _WORD.finditer(unicodedata.normalize("NFKC", text)):
        word = found[0]
        if len(word) > _LONGEST:
            continue
        if (unspaced := _UNSPACED.search(word)) is not None:
            signs = unspaced[0]
            yield from (signs[at : at + 2] for at in range(max(1, len(signs) - 1)))
            continue
        parts = _PART.findall(word)
        whole = word.casefold()
        if len(parts) > 1:
            yield whole
            yield from (_stem(part.casefold()) for part in parts)
        else:
            yield _stem(whole)


def _stem(word: str) -> str:
    """A word without its plural (Harman, "How effective is suffixing?", 1991), and without two more endings."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("us", "ss", "is")) and len(word) > 3:
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 3:
            word = word[: -len(ending)]
            return word[:-1] if word[-1] == word[-2] and word[-1] not in "lsz" else word
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


class WordIndex:
    """The words of passages.

    Args:
        texts: of the passages.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.length = len(texts)
        terms: dict[str, int] = {}
        term_of: list[int] = []
        passage_of: list[int] = []
        count_of: list[int] = []
        lengths = np.zeros(len(texts), np.float32)
        for passage, text in enumerate(texts):
            counts = Counter(words(text))
            lengths[passage] = sum(counts.values())
            for word, count in counts.items():
                term_of.append(terms.setdefault(word, len(terms)))
                passage_of.append(passage)
                count_of.append(count)
        order = np.argsort(np.asarray(term_of, np.int32), kind="stable")
        self._terms = terms
        self._passages = np.asarray(passage_of, np.int32)[order]
        self._starts = np.searchsorted(np.asarray(term_of, np.int32)[order], np.arange(len(terms) + 1))
        counts_in = np.asarray(count_of, np.float32)[order]
        mean = float(lengths.mean()) if len(texts) else 1.0
        norms = 1 - _LENGTH_SHARE + _LENGTH_SHARE * lengths / max(mean, 1.0)
        self._weights = counts_in * (_SATURATION + 1) / (counts_in + _SATURATION * norms[self._passages])

    def scores(self, question: str) -> NDArray[np.float32]:
        """[passages]: how well each answers to a question's words, as a share of the most that any text could.

        0 where it has none of them. A word that no passage has counts as the rarest: a question most of whose words
        are nowhere is answered badly by all.
        """
        scores = np.zeros(self.length, np.float32)
        most = 0.0
        asked = set(words(question))
        for word in asked - STOP_WORDS or asked:
            term = self._terms.get(word)
            begin, end = (0, 0) if term is None else (self._starts[term], self._starts[term + 1])
            rarity = np.log1p((self.length - (end - begin) + 0.5) / (end - begin + 0.5))
            scores[self._passages[begin:end]] += rarity * self._weights[begin:end]
            most += rarity * (_SATURATION + 1)
        if most:
            scores /= most
        return scores
