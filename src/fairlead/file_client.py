"""The routes of a chat's files, typed, over a `FairleadClient`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import BinaryIO, Final

import msgspec

from fairlead.client import ANSWER_S, FairleadClient

_LOOK_EVERY_S: Final = 0.25


class Progress(msgspec.Struct, frozen=True):
    """How far a file is: `phase` is `waiting`, `reading` (pages) or `embedding` (passages)."""

    phase: str
    done: int = 0
    total: int | None = None


class ChatFile(msgspec.Struct, frozen=True):
    """A file of a chat; `state` is `parsing`, `ready` or `failed`, which has its reason in `error`."""

    file_id: int
    name: str
    kind: str
    size_bytes: int
    state: str
    created_at: str
    progress: Progress | None = None
    pages: int | None = None
    characters: int | None = None
    error: str | None = None
    note: str | None = None


class _Files(msgspec.Struct, frozen=True):
    files: list[ChatFile]


class _Removed(msgspec.Struct, frozen=True):
    removed: bool


class ChatFiles:
    """The files of one chat.

    Args:
        client: of the server.
        chat_id: the chat's number.
        user: whose it is, where no key says so.
    """

    def __init__(self, client: FairleadClient, chat_id: int, user: str | None = None) -> None:
        self._client = client
        self._path = f"/chats/{chat_id}/files"
        self._user: dict[str, str] = {} if user is None else {"user": user}

    async def attach(self, files: Mapping[str, bytes | BinaryIO]) -> list[ChatFile]:
        """Attach files by their names, all or none.

        Raises:
            FileTooLarge, UnsupportedFile, UnreadableFile, StorageFull, StorageUsedUp, Conflict
        """
        return (await self._client.send_files(self._path, files, _Files, query=self._user)).files

    async def list(self) -> list[ChatFile]:
        """The files in the order in which they were attached."""
        return (await self._client.call("GET", self._path, _Files, query=self._user, within_s=ANSWER_S)).files

    async def look_at(self, file_id: int) -> ChatFile:
        """One of them."""
        path = f"{self._path}/{file_id}"
        return await self._client.call("GET", path, ChatFile, query=self._user, within_s=ANSWER_S)

    async def settled(self, file_id: int) -> ChatFile:
        """One of them, once it is ready or has failed."""
        while (file := await self.look_at(file_id)).state == "parsing":  # noqa: ASYNC110 - of another process
            await asyncio.sleep(_LOOK_EVERY_S)
        return file

    async def content(self, file_id: int) -> bytes:
        """A file as it was attached."""
        return await self._client.fetch("GET", f"{self._path}/{file_id}/content", query=self._user)

    async def remove(self, file_id: int) -> None:
        """Remove one of them, also while it is parsed."""
        await self._client.call("DELETE", f"{self._path}/{file_id}", _Removed, query=self._user, within_s=ANSWER_S)
