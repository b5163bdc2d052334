"""The routes of collections, typed, over a `FairleadClient`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import BinaryIO, Final, Unpack
from urllib.parse import quote

import msgspec

from fairlead.client import ANSWER_S, FairleadClient
from fairlead.collection_info import (
    CollectionInfo,
    Preview,
    RowPage,
    SearchResults,
    SearchWishes,
    TableWishes,
    Value,
)

_LOOK_EVERY_S: Final = 0.25


class _Listed(msgspec.Struct, frozen=True):
    collections: list[CollectionInfo]


class _Removed(msgspec.Struct, frozen=True):
    removed: bool


class CollectionsClient:
    """The collections of one person.

    Args:
        client: of the server.
        user: whose they are, where no key says so.
    """

    def __init__(self, client: FairleadClient, user: str | None = None) -> None:
        self._client = client
        self._user: dict[str, str] = {} if user is None else {"user": user}

    async def create(
        self,
        name: str,
        rows: Sequence[Mapping[str, Value]],
        *,
        text_column: str | None = None,
        model: str | None = None,
    ) -> CollectionInfo:
        """Make a collection of rows; they are embedded in the background. Conflict where there is one of this name."""
        chosen = {"text_column": text_column, "model": model}
        given = {key: value for key, value in chosen.items() if value is not None}
        body = {"name": name, "rows": list(rows), **given, **self._user}
        return await self._client.call("POST", "/collections", CollectionInfo, body=body)

    async def create_from_file(
        self,
        name: str,
        file: str,
        content: bytes | BinaryIO,
        *,
        model: str | None = None,
        **wishes: Unpack[TableWishes],
    ) -> CollectionInfo:
        """The same of a csv, tsv or jsonl file.

        Raises:
            UnsupportedFile, UnreadableFile, FileTooLarge, StorageUsedUp, Conflict
            InvalidRequest: it has no such column.
        """
        query: dict[str, str | int] = {"name": name, **_texts(wishes), **self._user}
        if model is not None:
            query["model"] = model
        return await self._client.send_files("/collections/file", {file: content}, CollectionInfo, query=query)

    async def preview(self, file: str, content: bytes | BinaryIO, **wishes: Unpack[TableWishes]) -> Preview:
        """What a file would be read as; nothing is kept. Errors as above."""
        query: dict[str, str | int] = {**_texts(wishes), **self._user}
        return await self._client.send_files("/collections/preview", {file: content}, Preview, query=query)

    async def list(self) -> Sequence[CollectionInfo]:
        """All of them, and what comes with the server."""
        found = await self._client.call("GET", "/collections", _Listed, query=self._user, within_s=ANSWER_S)
        return found.collections

    async def look_at(self, name: str) -> CollectionInfo:
        """One of them; NotFound where there is none of this name."""
        return await self._client.call("GET", _path(name), CollectionInfo, query=self._user, within_s=ANSWER_S)

    async def until_settled(self, name: str) -> AsyncGenerator[CollectionInfo]:
        """One of them, again and again until it is ready or has failed, which comes last."""
        while True:
            found = await self.look_at(name)
            yield found
            if found.state != "embedding":
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def remove(self, name: str) -> None:
        """Delete a collection with all its rows."""
        await self._client.call("DELETE", _path(name), _Removed, query=self._user)

    async def rows(self, name: str, *, offset: int = 0, limit: int = 100) -> RowPage:
        """Rows in the order in which they came."""
        query: dict[str, str | int] = {"offset": offset, "limit": limit, **self._user}
        return await self._client.call("GET", f"{_path(name)}/rows", RowPage, query=query, within_s=ANSWER_S)

    async def add_rows(self, name: str, rows: Sequence[Mapping[str, Value]]) -> CollectionInfo:
        """Append rows."""
        body: dict[str, object] = {"rows": [*rows], **self._user}
        return await self._client.call("POST", f"{_path(name)}/rows", CollectionInfo, body=body)

    async def remove_row(self, name: str, row_id: int) -> None:
        """Delete a row."""
        await self._client.call("DELETE", f"{_path(name)}/rows/{row_id}", _Removed, query=self._user)

    async def search(self, name: str, query: str, **wishes: Unpack[SearchWishes]) -> SearchResults:
        """The rows whose texts are nearest to the query in meaning."""
        body = {"query": query, **wishes, **self._user}
        return await self._client.call("POST", f"{_path(name)}/search", SearchResults, body=body)


def _path(name: str) -> str:
    return f"/collections/{quote(name, safe='')}"


def _texts(wishes: TableWishes) -> dict[str, str]:
    return {key: str(value) for key, value in wishes.items()}
