"""What readers make of a file: pieces of text in order, and how well it may be cut between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

_TOKENS = re.compile(r"[⺀-鿿가-힯豈-﫿]|[^\W\d_]{1,6}|\d{1,3}|[^\w\s]|_+")
_SENTENCE_END = re.compile(r"""(?<=[.!?:;…])["'”’)\]]*\s+|(?<=[。！？])|\n\s*""")
_WORD = re.compile(r"\S+\s*|\s+")
_CHARACTER_SIZE = 1 / 256
"""Beside its tokens: so that no text is endless, not even one of white space."""


class Unreadable(Exception):
    """A file that cannot be read; the message is a sentence for people."""


class Break(IntEnum):
    """What begins with a piece of text: the more, the better a place to cut in front of it."""

    WORD = 0
    SENTENCE = 1
    PARAGRAPH = 2
    SECTION = 3
    """Under a heading of its own, a function, a class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A piece of text that should stay together. Put together, the texts of all units are the file's text."""

    text: str
    begins: Break = Break.PARAGRAPH
    heading: str = ""
    page: int | None = None
    line: int | None = None
    """On which it begins, from 1."""


def size(text: str) -> float:
    """About how many tokens a text has for a model that reads words in pieces; white space is next to nothing."""
    return len(_TOKENS.findall(text)) + len(text) * _CHARACTER_SIZE


def pieces(unit: Unit, most: int) -> Iterator[Unit]:
    """A unit, cut into parts of at most some `most` tokens at sentences, where these are longer at words."""
    if size(unit.text) <= most:
        yield unit
        return
    line, begins = unit.line, unit.begins
    for sentence in _sentences(unit.text):
        kind = begins
        for part in [sentence] if size(sentence) <= most else _words(sentence, most):
            yield replace(unit, text=part, begins=kind, line=line)
            line = None if line is None else line + part.count("\n")
            kind = Break.WORD
        begins = Break.SENTENCE


def _sentences(text: str) -> Iterator[str]:
    begin = 0
    for end in _SENTENCE_END.finditer(text):
        if end.end() > begin:
            yield text[begin : end.end()]
            begin = end.end()
    if begin < len(text):
        yield text[begin:]


def _words(text: str, most: int) -> Iterator[str]:
    """Parts of a sentence, whole words where these are not too long; of others so many characters as tokens may be."""
    gathered, length = "", 0.0
    for word in _WORD.findall(text):
        step = len(word) if size(word) <= most else most
        for part in (word[at : at + step] for at in range(0, len(word), step)):
            weight = size(part)
            if gathered and length + weight > most:
                yield gathered
                gathered, length = "", 0.0
            gathered += part
            length += weight
    if gathered:
        yield gathered
