"""Files attached to chats for tests: a chat of somebody's, and an embedder that knows words alone."""

from __future__ import annotations

import asyncio
import contextlib
import re
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert

from fairlead.documents.client import Readers
from fairlead.errors import ModelNotFound, ModelNotReady
from fairlead.service.documents import ChatDocuments, FileLimits, FileStatus
from fairlead.storage import tables
from fairlead.storage.database import Database
from fairlead.storage.migrate import migrate

WIDTH = 64


class HashingEmbedder:
    """Texts as counts of hashed words; `None` of its texts while it is `absent`."""

    def __init__(self) -> None:
        self.absent = False
        self.stops_after: int | None = None
        """So many calls of patient work are answered, and then none any more."""
        self.calls = 0

    @property
    def name(self) -> str:
        return "hashing"

    async def check(self, model: str) -> None:
        if model != self.name:
            raise ModelNotFound(f"There is no model {model}.", param="model")

    async def embed(
        self, texts: Sequence[str], *, model: str | None = None, user: str | None = None, patient: bool = False
    ) -> NDArray[np.float32]:
        self.calls += 1
        if patient and self.stops_after is not None:
            self.stops_after -= 1
            if self.stops_after < 0:
                await asyncio.Event().wait()
        if self.absent:
            raise ModelNotReady("The model is not here.")
        vectors = np.full((len(texts), WIDTH), 0.01, np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                vectors[row, zlib.crc32(word.encode()) % WIDTH] += 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


async def add_chats(database: Database, **chats: int) -> None:
    """A person for each name, with so many chats, numbered from 1."""
    now = datetime.now(UTC)
    async with database.writing() as connection:
        for name, count in chats.items():
            added = insert(tables.Person).values(name=name, created_at=now).returning(tables.Person.id)
            person = (await connection.execute(added)).scalar_one()
            for number in range(1, count + 1):
                values = {"person_id": person, "number": number, "created_at": now, "updated_at": now}
                await connection.execute(insert(tables.Chat).values(values))


@contextlib.asynccontextmanager
async def documents_in(
    home: Path,
    embedder: HashingEmbedder | None = None,
    limits: FileLimits | None = None,
    readers: Readers | None = None,
) -> AsyncIterator[ChatDocuments]:
    """The documents of a server with this home, where "anna" has two chats and "bert" one."""
    new = not (home / "fairlead.db").exists()
    database = Database.at(home / "fairlead.db")
    await migrate(database)
    if new:
        await add_chats(database, anna=2, bert=1)
    documents = ChatDocuments(database, home / "files", embedder, limits, readers)
    await documents.start()
    try:
        yield documents
    finally:
        await documents.close()
        await database.close()


async def attach(
    documents: ChatDocuments, chat_id: int, files: dict[str, bytes], *, settle: bool = True
) -> list[FileStatus]:
    """Attach files, and wait until each is ready or has failed."""
    async with contextlib.AsyncExitStack() as received:
        uploads = []
        for name, data in files.items():
            uploads.append(documents.upload(name))
            received.push_async_callback(uploads[-1].discard)
            await uploads[-1].write(data)
            await uploads[-1].finish()
        attached = await documents.attach(chat_id, uploads)
    if settle:
        await documents.settled(chat_id)
        return await documents.listed(chat_id)
    return attached
