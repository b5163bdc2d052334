"""Excerpts of files within a room of tokens: which passages go in, what is joined, and how it is written for a model.

Pure: passages and a way to count tokens in, text and sources out. What files say is only ever text in a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from fairlead.service.material import Source
from fairlead.storage.files import File, Passage

Count = Callable[[str], int]

_MOST_PASSAGES: Final = 8
"""The five that rank best and what is around the first of them; more would distract a model, and be read every turn."""
_NEIGHBOUR_WORTH: Final = 3
"""A neighbour is as welcome as the passage that ranks so many places behind the one beside it."""
_LABEL_TOKENS: Final = 24
"""About what a label takes; the whole is counted in the end."""
_SELECTED: Final = "Passages from the attached files that may help to answer:"
_WHOLE: Final = "The files attached to this conversation:"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Passages of one file that follow upon each other."""

    file: File
    passages: Sequence[Passage]
    rank: int
    """Of the best of them."""

    @property
    def text(self) -> str:
        """What they say."""
        return "".join(passage.text for passage in self.passages)

    def source(self) -> Source:
        """What people are told of it."""
        first, last = self.passages[0], self.passages[-1]
        return Source(
            file_id=self.file.number,
            name=self.file.name,
            page=first.page,
            line_from=first.line_from,
            line_to=last.line_to,
            text=self.text.strip("\n"),
        )


def whole_text(files: Sequence[tuple[File, Sequence[Passage]]]) -> str:
    """All that files say, as a prompt has it."""
    parts = [_WHOLE]
    for file, passages in files:
        parts += [_written(file, group, with_heading=False) for group in _pages(passages)]
    return "\n\n".join(parts)


def selected_text(excerpts: Sequence[Excerpt]) -> str:
    """Excerpts as a prompt has them: in the order in which they stand in the files."""
    in_order = sorted(excerpts, key=lambda excerpt: (excerpt.file.number, excerpt.passages[0].ordinal))
    written = [_written(excerpt.file, group) for excerpt in in_order for group in _pages(excerpt.passages)]
    return "\n\n".join([_SELECTED, *written])


def choose(
    files: Sequence[tuple[File, Sequence[Passage]]], ranked: Sequence[tuple[int, int]], room: int, count: Count
) -> list[Excerpt]:
    """The excerpts that fit into so many tokens, best first.

    Args:
        files: with all their passages.
        ranked: places of passages, best first: the file's index and the passage's within it.
        room: in tokens.
        count: counts a text's tokens; takes its time.
    """
    taken: dict[tuple[int, int], int] = {}
    left = room - count(_SELECTED)
    for rank, place in _wanted(files, ranked[:_MOST_PASSAGES]):
        if place in taken:
            continue
        if len(taken) == _MOST_PASSAGES:
            break
        passage = files[place[0]][1][place[1]]
        beside = any((place[0], place[1] + step) in taken for step in (-1, 1))
        length = count(passage.text) + (0 if beside else _LABEL_TOKENS)
        if length <= left:
            taken[place] = rank
            left -= length
    excerpts = _joined(files, taken)
    while taken and count(selected_text(excerpts)) > room:
        taken.popitem()  # the least welcome, which was taken last
        excerpts = _joined(files, taken)
    return excerpts


def _wanted(
    files: Sequence[tuple[File, Sequence[Passage]]], hits: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Hits and their neighbours in the order in which they are welcome, each with the rank of its hit."""
    wishes = []
    for rank, (file, index) in enumerate(hits):
        wishes.append((rank, 0, rank, (file, index)))
        beside = [index + step for step in (1, -1) if 0 <= index + step < len(files[file][1])]
        wishes += [(rank + _NEIGHBOUR_WORTH, 1, rank, (file, neighbour)) for neighbour in beside]
    for _, _, rank, place in sorted(wishes, key=lambda wish: wish[:3]):
        yield rank, place


def _joined(files: Sequence[tuple[File, Sequence[Passage]]], taken: dict[tuple[int, int], int]) -> list[Excerpt]:
    """Runs of passages, that with the best first."""
    runs: list[list[tuple[int, int]]] = []
    for place in sorted(taken):
        if runs and runs[-1][-1] == (place[0], place[1] - 1):
            runs[-1].append(place)
        else:
            runs.append([place])
    excerpts = [
        Excerpt(files[run[0][0]][0], [files[at][1][index] for at, index in run], min(taken[place] for place in run))
        for run in runs
    ]
    return sorted(excerpts, key=lambda excerpt: excerpt.rank)


def _pages(passages: Sequence[Passage]) -> Iterator[Sequence[Passage]]:
    """Passages in groups of one page each."""
    begin = 0
    for end, (one, other) in enumerate(pairwise(passages), 1):
        if one.page != other.page:
            yield passages[begin:end]
            begin = end
    if passages:
        yield passages[begin:]


def _written(file: File, passages: Sequence[Passage], *, with_heading: bool = True) -> str:
    """Passages of one page under a label that says where they stand."""
    first, last = passages[0], passages[-1]
    label = [file.name]
    if first.page is not None:
        label.append(f"page {first.page}")
    if with_heading and first.line_from is not None:
        label.append(f"lines {first.line_from}-{last.line_to}")
    if with_heading and first.heading:
        label.append(first.heading)
    text = "".join(passage.text for passage in passages).strip("\n")
    return f"[{' · '.join(label)}]\n{text}"
