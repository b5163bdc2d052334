"""Files made ready: parsed aside, their passages stored as they come, and embedded.

Owns the tasks that do it, and how far each is. A file that is removed meanwhile takes its task along; one whose server
was killed is begun anew at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Literal

from fairlead.documents.client import Readers, ReadFailed
from fairlead.documents.messages import Passages, Progress, Read
from fairlead.errors import FairleadError
from fairlead.service.embedding import Embedder
from fairlead.storage import files
from fairlead.storage.blobs import Blobs
from fairlead.storage.database import Database
from fairlead.storage.files import File, NewPassage

_EMBEDDED_AT_ONCE: Final = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a file is."""

    phase: Literal["waiting", "reading", "embedding"] = "waiting"
    done: int = 0
    """Pages while it is read, passages while they are embedded."""
    total: int | None = None


class _Gone(Exception):
    """The file was removed meanwhile."""


class Indexer:
    """Makes files ready, each in a task.

    Args:
        database: where their passages go.
        blobs: where their bytes are.
        readers: that parse.
        embedder: None for a server that finds passages by words alone.
        on_change: called with a chat's row when what can be found in its files has changed.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        readers: Readers,
        embedder: Embedder | None,
        on_change: Callable[[int], None],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._readers = readers
        self._embedder = embedder
        self._on_change = on_change
        self._stages: dict[int, Stage] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def begin(self, file: File) -> None:
        """Make a file ready; returns at once."""
        self._start(file, self._index(file))

    def begin_embedding(self, file: File) -> None:
        """Embed what of a ready file is not, where nobody is at it."""
        if file.id not in self._tasks:
            self._start(file, self._embed_ready(file))

    def stage(self, file_id: int) -> Stage | None:
        """How far a file is; None where nothing is done with it."""
        return self._stages.get(file_id)

    async def settle(self, file_id: int) -> None:
        """Wait until nothing is done with a file any more."""
        if (task := self._tasks.get(file_id)) is not None:
            await asyncio.wait({task})

    async def stop(self, file_id: int) -> None:
        """End what is done with a file."""
        if (task := self._tasks.get(file_id)) is not None:
            task.cancel()
            await asyncio.wait({task})

    async def close(self) -> None:
        """End all tasks, and the reading processes with them. What was not ready is parsed at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start(self, file: File, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._watched(file, work))
        self._tasks[file.id] = task
        self._stages[file.id] = Stage()

        def ended(_: asyncio.Task[None]) -> None:
            self._tasks.pop(file.id, None)
            self._stages.pop(file.id, None)

        task.add_done_callback(ended)

    async def _watched(self, file: File, work: Coroutine[Any, Any, None]) -> None:
        """The work, whatever becomes of it: a mistake of ours leaves a file failed, and not parsing for ever."""
        try:
            await work
        except _Gone:
            pass
        except Exception:
            logger.exception("file %d could not be made ready", file.id)
            with contextlib.suppress(Exception):
                async with self._database.writing() as connection:
                    reason = "It could not be read; the server's log says why."
                    await files.end_parsing(connection, file.id, "failed", error=reason)

    async def _index(self, file: File) -> None:
        try:
            read = await self._read(file)
        except ReadFailed as error:
            async with self._database.writing() as connection:
                await files.begin_parsing(connection, file.id)
                await files.end_parsing(connection, file.id, "failed", error=str(error))
            return
        await self._embed(file)
        async with self._database.writing() as connection:
            await files.end_parsing(
                connection, file.id, "ready", error=read.note, pages=read.pages, characters=read.characters
            )
        self._on_change(file.chat_id)

    async def _read(self, file: File) -> Read:
        """Parse a file and store its passages. ReadFailed where it cannot be read."""
        async with self._database.writing() as connection:
            if not await files.begin_parsing(connection, file.id):
                raise _Gone
        stored = 0
        async with contextlib.aclosing(self._readers.read(self._blobs.path(file.sha256), file.kind)) as messages:
            async for message in messages:
                match message:
                    case Progress():
                        self._stages[file.id] = Stage("reading", message.done, message.total)
                    case Passages():
                        new = [
                            NewPassage(
                                heading=passage.heading,
                                text=passage.text,
                                page=passage.page,
                                line_from=passage.line_from,
                                line_to=passage.line_to,
                            )
                            for passage in message.passages
                        ]
                        async with self._database.writing() as connection:
                            if not await files.add_passages(connection, file.id, stored, new):
                                raise _Gone
                        stored += len(new)
                    case Read():
                        return message
        raise AssertionError("a reading ends with Read")

    async def _embed_ready(self, file: File) -> None:
        await self._embed(file)
        self._on_change(file.chat_id)

    async def _embed(self, file: File) -> None:
        """Store a vector for each passage; where the model is not to be had, words alone have to do."""
        if self._embedder is None:
            return
        model = self._embedder.name
        async with self._database.reading() as connection:
            waiting = await files.not_embedded(connection, file.id, model)
        for begin in range(0, len(waiting), _EMBEDDED_AT_ONCE):
            self._stages[file.id] = Stage("embedding", begin, len(waiting))
            passages = waiting[begin : begin + _EMBEDDED_AT_ONCE]
            try:
                vectors = await self._embedder.embed(
                    [embedded_text(passage.heading, passage.text) for passage in passages]
                )
            except FairleadError as error:
                logger.warning("passages are found by words alone: %s", error.message)
                return
            stored = [
                (passage.id, vector.astype("<f4").tobytes()) for passage, vector in zip(passages, vectors, strict=True)
            ]
            async with self._database.writing() as connection:
                await files.embed(connection, stored, model)


def embedded_text(heading: str, text: str) -> str:
    """What of a passage stands for it: its text under its heading."""
    return f"{heading}\n{text}" if heading else text
