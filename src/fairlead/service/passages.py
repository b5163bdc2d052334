"""The passages of a chat's files in memory, ready to be searched, for chats that were asked about lately."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.service.indexing import embedded_text
from fairlead.service.search import Searchable
from fairlead.storage import files
from fairlead.storage.database import Database
from fairlead.storage.files import File, Passage

_MOST_CHARACTERS: Final = 20_000_000
"""Of all texts that are kept; with their index and vectors some 10 bytes for each."""
_BEGINNING: Final = 3
"""Passages of each file, where nothing speaks for any passage."""


class ChatPassages:
    """What the files of one chat say.

    Args:
        ready: the files.
        passages: of them all, in order.
        model: whose vectors count; None for none.
    """

    def __init__(self, ready: Sequence[File], passages: Sequence[Passage], model: str | None) -> None:
        by_file = {file_id: list(group) for file_id, group in groupby(passages, key=lambda passage: passage.file_id)}
        self.files: list[tuple[File, Sequence[Passage]]] = [(file, by_file.get(file.id, [])) for file in ready]
        self.characters = sum(len(passage.text) for passage in passages)
        vectors = {
            passage.id: np.frombuffer(passage.embedding, "<f4")
            for passage in passages
            if passage.embedding is not None and passage.embedded_by == model
        }
        self.embedded = bool(vectors)
        self.not_embedded = [
            file for file, own in self.files if model is not None and any(passage.id not in vectors for passage in own)
        ]
        self._places = [(at, index) for at, (_, own) in enumerate(self.files) for index in range(len(own))]
        in_order = [self.files[at][1][index] for at, index in self._places]
        self._searchable = Searchable(
            [embedded_text(passage.heading, passage.text) for passage in in_order], _matrix(in_order, vectors)
        )

    def ranked(self, question: str, vector: NDArray[np.float32] | None) -> list[tuple[int, int]]:
        """Places of passages, a file's index and the passage's in it, best first; their beginnings where none is."""
        found = [self._places[index] for index in self._searchable.ranked(question, vector)]
        return found or [place for place in self._places if place[1] < _BEGINNING]


class PassageCache:
    """Passages by chat; those that were not asked about for longest leave first.

    Args:
        database: where passages are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: OrderedDict[int, tuple[object, ChatPassages]] = OrderedDict()

    async def of(self, chat_id: int, ready: Sequence[File], model: str | None) -> ChatPassages:
        """Those of a chat whose ready files are these."""
        signature = (model, *((file.id, file.sha256, file.created_at) for file in ready))
        kept = self._kept.get(chat_id)
        if kept is not None and kept[0] == signature:
            self._kept.move_to_end(chat_id)
            return kept[1]
        async with self._database.reading() as connection:
            passages = await files.passages(connection, [file.id for file in ready])
        prepared = await asyncio.to_thread(ChatPassages, ready, passages, model)
        self._kept[chat_id] = (signature, prepared)
        self._kept.move_to_end(chat_id)
        while len(self._kept) > 1 and self._characters() > _MOST_CHARACTERS:
            self._kept.popitem(last=False)
        return prepared

    def forget(self, chat_id: int) -> None:
        """What can be found in a chat's files has changed."""
        self._kept.pop(chat_id, None)

    def _characters(self) -> int:
        return sum(kept.characters for _, kept in self._kept.values())


def _matrix(passages: Sequence[Passage], vectors: dict[int, NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """[passages, width]: a vector of each, zeros where it has none."""
    if not vectors:
        return None
    matrix = np.zeros((len(passages), len(next(iter(vectors.values())))), np.float32)
    for row, passage in enumerate(passages):
        if passage.id in vectors:
            matrix[row] = vectors[passage.id]
    return matrix
