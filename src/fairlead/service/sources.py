"""What a question may be answered from: passages of a text or of files, each with where it stands.

Pure: texts in, candidates out, ranked, fitted into a room of tokens and written for a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead.documents.cutting import cut
from fairlead.documents.units import Unit
from fairlead.service.collections import Hit
from fairlead.service.indexing import embedded_text
from fairlead.service.parts import packed
from fairlead.service.search import Searchable

Count = Callable[[str], int]

_PARAGRAPH_END: Final = re.compile(r"\n\s*\n")
_BETWEEN: Final = "\n\n"


class Passage(Protocol):
    """A part of a file's text, as readers tell of it and as it is stored."""

    @property
    def text(self) -> str:
        """What it says."""

    @property
    def heading(self) -> str:
        """Under which it stands."""

    @property
    def page(self) -> int | None:
        """On which it stands, from 1."""

    @property
    def line_from(self) -> int | None:
        """Where it begins, from 1."""

    @property
    def line_to(self) -> int | None:
        """Where it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A text that a model was given, and where it stands; what does not apply to its kind is None.

    Attributes:
        kind: of what it is a part: a text that was sent along, a file, a collection.
        text: as the model was given it.
        score: the cosine of its meaning with the question's.
        start: its first character in the text that was sent along, and `end` the one after its last.
        chat_id: the chat's number, of a file that is kept; `file_id` is its number there.
        row: of a collection, by its columns.
    """

    kind: Literal["context", "file", "row"]
    text: str
    score: float = 0.0
    start: int | None = None
    end: int | None = None
    chat_id: int | None = None
    file_id: int | None = None
    name: str | None = None
    page: int | None = None
    line_from: int | None = None
    line_to: int | None = None
    collection: str | None = None
    row_id: int | None = None
    row: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A source that is not scored yet; `meant` is what of it is embedded, `vector` is there where that was done."""

    source: Source
    meant: str
    vector: NDArray[np.float32] | None = None


def of_context(text: str) -> list[Candidate]:
    """The passages of a text that was sent along."""
    found = []
    begin = 0
    for passage in cut(_paragraphs(text)):
        if said := passage.text.strip():
            start = begin + passage.text.index(said)
            source = Source(kind="context", text=said, start=start, end=start + len(said))
            found.append(Candidate(source=source, meant=said))
        begin += len(passage.text)
    return found


def of_file(
    name: str,
    passages: Sequence[Passage],
    vectors: Sequence[NDArray[np.float32] | None] | None = None,
    *,
    chat_id: int | None = None,
    file_id: int | None = None,
) -> list[Candidate]:
    """The passages of a file, those of white space left out; `vectors` are theirs, None where one has none."""
    return [
        Candidate(
            source=Source(
                kind="file",
                text=passage.text.strip(),
                chat_id=chat_id,
                file_id=file_id,
                name=name,
                page=passage.page,
                line_from=passage.line_from,
                line_to=passage.line_to,
            ),
            meant=embedded_text(passage.heading, passage.text),
            vector=vector,
        )
        for passage, vector in zip(passages, vectors or [None] * len(passages), strict=True)
        if passage.text.strip()
    ]


def of_rows(collection: str, hits: Sequence[Hit]) -> list[Source]:
    """What was found in a collection."""
    return [
        Source(kind="row", text=hit.text, score=hit.score, collection=collection, row_id=hit.id, row=hit.row)
        for hit in hits
    ]


def ranked(
    candidates: Sequence[Candidate], vectors: NDArray[np.float32], question: str, vector: NDArray[np.float32]
) -> tuple[list[Source], list[int]]:
    """The sources in their order, each with its score; and their places, best first by words and meaning together.

    Args:
        candidates: what may answer, at least one.
        vectors: [candidates, width], each of length 1.
        question: what is asked.
        vector: [width], the question's.
    """
    sources = [
        replace(candidate.source, score=round(float(score), 4))
        for candidate, score in zip(candidates, vectors @ vector, strict=True)
    ]
    best = Searchable([candidate.meant for candidate in candidates], vectors).ranked(question, vector)
    return sources, best or list(range(len(sources)))


def fitting(sources: Sequence[Source], best: Sequence[int], room: int, count: Count) -> list[Source]:
    """Of the best sources those that fit into so many tokens, best first; the very best is cut where it has to be.

    Args:
        sources: in the order in which they stand.
        best: places of those that are wanted, best first.
        room: in tokens, at least some ten.
        count: counts a text's tokens; takes its time.
    """
    chosen: list[Source] = []
    for place in best:
        fit = sources[place]
        length = count(written(fit) + _BETWEEN)
        if length > room and not chosen:
            fit = _beginning(fit, room, count)
            length = count(written(fit) + _BETWEEN)
        if length <= room:
            chosen.append(fit)
            room -= length
    return chosen


def text_of(sources: Sequence[Source]) -> str:
    """Sources as a prompt has them."""
    return _BETWEEN.join(map(written, sources))


def written(source: Source) -> str:
    """A source as a prompt has it: a file's under a label, a row with all its columns."""
    if source.row is not None:
        return "\n".join(f"{column}: {value}" for column, value in source.row.items() if value is not None)
    if source.name is None:
        return source.text
    label = source.name if source.page is None else f"{source.name} · page {source.page}"
    return f"[{label}]\n{source.text}"


def _beginning(source: Source, room: int, count: Count) -> Source:
    """As much of a source as fits; of a row, its text alone."""
    bare = replace(source, text="", row=None)
    text = packed([source.text], max(room - count(written(bare) + _BETWEEN), 1), count)[0].rstrip()
    return replace(bare, text=text, end=None if source.start is None else source.start + len(text))


def _paragraphs(text: str) -> Iterator[Unit]:
    begin = 0
    for end in _PARAGRAPH_END.finditer(text):
        yield Unit(text=text[begin : end.end()])
        begin = end.end()
    if begin < len(text):
        yield Unit(text=text[begin:])
