"""The files of chats: attached, made ready, removed, and searched for what a question needs.

The rest of the server comes here. Parsing and embedding are `indexing.py`'s, ranking `search.py`'s, and what fits into
a prompt `excerpts.py`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.documents import messages
from fairlead.documents.client import Readers, ReadFailed
from fairlead.errors import ChatNotFound, Conflict, FairleadError, FileTooLarge, NotFound, UnreadableFile
from fairlead.service.embedding import Embedder
from fairlead.service.excerpts import choose, selected_text, whole_text
from fairlead.service.indexing import Indexer, Stage
from fairlead.service.material import Material, Source
from fairlead.service.passages import ChatPassages, PassageCache
from fairlead.service.uploads import Upload
from fairlead.storage import chats, files
from fairlead.storage.blobs import Blobs
from fairlead.storage.database import Database
from fairlead.storage.files import File, Passage

_QUESTION_WITHIN_S: Final = 10.0
_QUESTION_CHARS: Final = 4_000
"""Of a question that passages are searched for; a longer one is no question any more."""
_LONGEST_TOKEN: Final = 16
"""Characters: a text that is longer than so many for each token of the room is not counted."""
_BY_WORDS: Final = "The embedding model is not to be had: passages were found by their words alone."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLimits:
    """What files may take."""

    file_bytes: int = 50 << 20
    files_per_chat: int = 50


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A file, and how far it is where it is not ready."""

    file: File
    stage: Stage | None


class ChatDocuments:
    """The files of all chats. Start it before anything else, and close it in the end.

    Args:
        database: where chats are.
        folder: where files' bytes are.
        embedder: None for a server that finds passages by words alone.
        limits: on what is attached.
        readers: that parse.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        embedder: Embedder | None = None,
        limits: FileLimits | None = None,
        readers: Readers | None = None,
    ) -> None:
        self._database = database
        self._blobs = Blobs(folder)
        self._embedder = embedder
        self._limits = limits or FileLimits()
        self._passages = PassageCache(database)
        self._readers = readers or Readers()
        self._indexer = Indexer(database, self._blobs, self._readers, embedder, self._passages.forget)
        self._names = asyncio.Lock()
        """Held while a hash's name and its row come or go together."""

    async def start(self) -> None:
        """Delete what no file needs, and go on with files that were being parsed when the server ended."""
        async with self._database.reading() as connection:
            wanted = await files.hashes(connection)
            unparsed = await files.unparsed(connection)
        swept = await asyncio.to_thread(self._blobs.sweep, wanted)
        if swept:
            logger.info("deleted %d files that were of no chat any more", swept)
        for file in unparsed:
            self._indexer.begin(file)

    async def close(self) -> None:
        """End all parsing."""
        await self._indexer.close()

    # ---- files ----------------------------------------------------------------------------------------

    async def chat_row(self, person_id: int, number: int) -> int:
        """The row of a person's chat. ChatNotFound where they have none of this number."""
        async with self._database.reading() as connection:
            chat = await chats.find(connection, person_id, number)
        if chat is None:
            raise ChatNotFound("There is no such chat.", param="chat_id")
        return chat.id

    def upload(self, name: str) -> Upload:
        """A file to be received; errors as in `Upload`."""
        return Upload(self._blobs, name, self._limits.file_bytes)

    def check_together(self, uploads: Sequence[Upload]) -> None:
        """FileTooLarge where files have more bytes together than one may have."""
        if sum(upload.received_bytes for upload in uploads) > self._limits.file_bytes:
            most = f"{self._limits.file_bytes / (1 << 20):.3g} MB"
            raise FileTooLarge(
                f"The files are too large: together they may have {most} at most.",
                details={"limit_bytes": self._limits.file_bytes},
            )

    async def attach(
        self, chat_id: int, uploads: Sequence[Upload], admit: Callable[[int], Awaitable[None]] | None = None
    ) -> list[FileStatus]:
        """Attach files that were received and finished, all or none, and begin to parse them.

        Args:
            chat_id: the chat's row.
            uploads: the files; to be discarded after this, whatever comes of it.
            admit: called with their bytes while nothing else is attached; raises where they may not be.

        Raises:
            Conflict: the chat has too many.
            ChatNotFound: the chat is gone.
        """
        async with self._names:
            if admit is not None:
                await admit(sum(upload.incoming.size_bytes for upload in uploads))
            for upload in uploads:
                await asyncio.to_thread(self._blobs.keep, upload.incoming)
            async with self._database.writing() as connection:
                attached = await self._add(connection, chat_id, uploads)
        for file in attached:
            self._indexer.begin(file)
        return [self._status(file) for file in attached]

    async def _add(self, connection: AsyncConnection, chat_id: int, uploads: Sequence[Upload]) -> list[File]:
        most = self._limits.files_per_chat
        if await files.count(connection, chat_id) + len(uploads) > most:
            raise Conflict(f"A chat may have {most} files at most: remove some first.", param="files")
        attached = []
        for upload in uploads:
            file = await files.add(
                connection,
                chat_id,
                name=upload.name,
                kind=upload.kind,
                sha256=upload.incoming.sha256,
                size_bytes=upload.incoming.size_bytes,
            )
            if file is None:
                raise ChatNotFound("The chat is gone.", param="chat_id")
            attached.append(file)
        return attached

    async def listed(self, chat_id: int) -> list[FileStatus]:
        """A chat's files in the order in which they were attached."""
        async with self._database.reading() as connection:
            found = await files.of_chat(connection, chat_id)
        return [self._status(file) for file in found]

    async def find(self, chat_id: int, number: int) -> FileStatus:
        """A chat's file. NotFound where it has none of this number."""
        async with self._database.reading() as connection:
            file = await files.find(connection, chat_id, number)
        if file is None:
            raise NotFound(f"There is no file {number} in this chat.", param="file_id")
        return self._status(file)

    async def content(self, chat_id: int, number: int) -> tuple[File, Path]:
        """A chat's file, and where its bytes are. NotFound as above."""
        file = (await self.find(chat_id, number)).file
        return file, self._blobs.path(file.sha256)

    async def text(self, chat_id: int, number: int) -> str:
        """All that a chat's file says, as far as it is text.

        Raises:
            NotFound: as above.
            Conflict: it is still being read.
            UnreadableFile: it could not be.
        """
        _, passages = await self.passages(chat_id, number)
        return "".join(passage.text for passage in passages)

    async def passages(self, chat_id: int, number: int) -> tuple[File, list[Passage]]:
        """A chat's file, and all that it says in passages, with their vectors. Errors as in `text`."""
        file = (await self.find(chat_id, number)).file
        if file.state == "parsing":
            raise Conflict(f"{file.name} is still being read: try again when it is ready.", param="file")
        if file.state == "failed":
            raise UnreadableFile(f"{file.name} could not be read. {file.error}", param="file")
        async with self._database.reading() as connection:
            return file, await files.passages(connection, [file.id])

    async def read(self, upload: Upload) -> str:
        """All that a file says which was received and finished, and is not to be kept. UnreadableFile as above."""
        return "".join(passage.text for passage in await self.read_passages(upload))

    async def read_passages(self, upload: Upload) -> list[messages.Passage]:
        """The same in passages."""
        found: list[messages.Passage] = []
        try:
            async with contextlib.aclosing(self._readers.read(upload.incoming.path, upload.kind)) as told:
                async for message in told:
                    if isinstance(message, messages.Passages):
                        found += message.passages
        except ReadFailed as error:
            raise UnreadableFile(f"{upload.name} could not be read. {error}", param="file") from None
        return found

    async def remove(self, chat_id: int, number: int) -> None:
        """Remove a file, whatever is done with it now. NotFound as above."""
        await self._remove((await self.find(chat_id, number)).file)

    async def remove_all(self, chat_id: int) -> None:
        """Remove all files of a chat that is about to be deleted."""
        for status in await self.listed(chat_id):
            await self._remove(status.file)

    async def settled(self, chat_id: int) -> None:
        """Wait until nothing is done with the files of a chat any more."""
        for status in await self.listed(chat_id):
            await self._indexer.settle(status.file.id)

    async def _remove(self, file: File) -> None:
        await self._indexer.stop(file.id)
        async with self._names:
            async with self._database.writing() as connection:
                await files.remove(connection, file.id)
                wanted = await files.is_wanted(connection, file.sha256)
            if not wanted:
                await asyncio.to_thread(self._blobs.delete, file.sha256)
        self._passages.forget(file.chat_id)

    def _status(self, file: File) -> FileStatus:
        return FileStatus(file, self._indexer.stage(file.id))

    # ---- what a prompt is given of them ---------------------------------------------------------------

    async def material(self, chat_id: int, question: str, room: int, count: Callable[[str], int]) -> Material:
        """What to give a model of a chat's files for a question: see `material.Documents`."""
        async with self._database.reading() as connection:
            attached = await files.of_chat(connection, chat_id)
        notes = _notes(attached)
        ready = [file for file in attached if file.state == "ready"]
        if not ready:
            return Material(notes=notes)
        model = self._embedder.name if self._embedder is not None else None
        passages = await self._passages.of(chat_id, ready, model)
        if passages.characters <= room * _LONGEST_TOKEN:
            whole = whole_text(passages.files)
            if await asyncio.to_thread(count, whole) <= room:
                sources = tuple(Source(file_id=file.number, name=file.name, text="") for file in ready)
                return Material(whole=whole, sources=sources, notes=notes)
        vector = await self._vector(question[:_QUESTION_CHARS]) if passages.embedded else None
        if self._embedder is not None:
            for file in passages.not_embedded:
                self._indexer.begin_embedding(file)
        by_words = () if vector is not None or self._embedder is None else (_BY_WORDS,)
        return await asyncio.to_thread(_selection, passages, question, vector, room, count, (*notes, *by_words))

    async def _vector(self, question: str) -> NDArray[np.float32] | None:
        """The question's; None where the model is not to be had now."""
        assert self._embedder is not None, "nothing else embeds passages"
        try:
            async with asyncio.timeout(_QUESTION_WITHIN_S):
                vectors = await self._embedder.embed([question])
        except (FairleadError, TimeoutError) as error:
            logger.warning("a question was searched for by its words alone: %s", error)
            return None
        vector: NDArray[np.float32] = vectors[0]
        return vector


def _selection(
    passages: ChatPassages,
    question: str,
    vector: NDArray[np.float32] | None,
    room: int,
    count: Callable[[str], int],
    notes: tuple[str, ...],
) -> Material:
    ranked = passages.ranked(question[:_QUESTION_CHARS], vector)
    excerpts = choose(passages.files, ranked, room, count)
    if not excerpts:
        return Material(notes=(*notes, "The context has no room for anything of the attached files."))
    return Material(
        selected=selected_text(excerpts), sources=tuple(excerpt.source() for excerpt in excerpts), notes=notes
    )


def _notes(attached: Sequence[File]) -> tuple[str, ...]:
    """What people should know of files that give nothing, or not all."""
    told = []
    for file in attached:
        if file.state == "parsing":
            told.append(f"{file.name} is still being read; this answer goes without it.")
        elif file.state == "failed":
            told.append(f"{file.name} could not be read. {file.error}")
        elif file.error:
            told.append(f"{file.name}: {file.error}")
    return tuple(told)
