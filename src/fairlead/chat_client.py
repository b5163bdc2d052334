"""The routes of chats, typed, over a `FairleadClient`. Answers whose connection is lost are taken up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypedDict, Unpack

import msgspec

from fairlead.answer_info import Queued, Text, Wishes
from fairlead.chat_info import Chat, ChatAnswer, ChatMessage, ChatPage, Preparing, Started
from fairlead.client import ANSWER_S, Event, FairleadClient, Unreachable, decode

_TRIES: Final = 6
"""How often a lost answer is asked for again before it is given up, with longer waits each time."""
_FIRST_WAIT_S: Final = 0.25


class Lost(msgspec.Struct, frozen=True):
    """The connection is lost; the answer is asked for again in so many seconds."""

    again_in_s: float


Told = Started | Preparing | Queued | Text | ChatAnswer | Lost
"""What a stream tells, in this order; the last of it is a `ChatAnswer`. `Lost` may stand anywhere behind the first."""


class Settings(TypedDict, total=False):
    """What is set for a chat; None takes it back."""

    title: str
    system: str | None
    model: str | None
    parameters: Mapping[str, Any] | None
    on_overflow: str
    leaf: int


class _Number(msgspec.Struct, frozen=True):
    chat_id: int


class _Messages(msgspec.Struct, frozen=True):
    messages: list[ChatMessage]


class Chats:
    """A user's chats on a server.

    Args:
        client: of the server.
        user: whose they are, where no key says so.
    """

    def __init__(self, client: FairleadClient, user: str | None = None) -> None:
        self._client = client
        self._user: dict[str, str] = {} if user is None else {"user": user}

    async def next_id(self) -> int:
        """A number for a new chat, which `generate` makes."""
        return (await self._client.call("GET", "/next_chat_id", _Number, query=self._user, within_s=ANSWER_S)).chat_id

    async def page(self, words: str = "", *, limit: int = 50, before: int | None = None) -> ChatPage:
        """Chats, the newest first, or those in which all these words are found; behind the chat `before`."""
        query: dict[str, str | int] = {**self._user, "limit": limit}
        query |= ({"q": words} if words else {}) | ({} if before is None else {"before": before})
        return await self._client.call("GET", "/chats", ChatPage, query=query, within_s=ANSWER_S)

    async def create(self, **settings: Unpack[Settings]) -> Chat:
        """A new chat."""
        return await self._client.call("POST", "/chats", Chat, body={**settings, **self._user}, within_s=ANSWER_S)

    async def open(self, chat_id: int) -> Chat:
        """A chat with the messages of the branch that is shown."""
        return await self._client.call("GET", f"/chats/{chat_id}", Chat, query=self._user, within_s=ANSWER_S)

    async def messages(self, chat_id: int) -> list[ChatMessage]:
        """The messages of all branches."""
        query = {**self._user, "branches": "all"}
        path = f"/chats/{chat_id}/messages"
        return (await self._client.call("GET", path, _Messages, query=query, within_s=ANSWER_S)).messages

    async def change(self, chat_id: int, **settings: Unpack[Settings]) -> Chat:
        """Rename a chat, set it up anew, or show the branch of another message (`leaf`)."""
        body = {**settings, **self._user}
        return await self._client.call("PATCH", f"/chats/{chat_id}", Chat, body=body, within_s=ANSWER_S)

    async def delete(self, chat_id: int) -> None:
        """Delete a chat with all that belongs to it."""
        await self._client.fetch("DELETE", f"/chats/{chat_id}", query=self._user)

    async def export(self, chat_id: int, kind: str = "md") -> bytes:
        """A chat as a file: "md" to be read, "json" to be taken in again."""
        query = {**self._user, "format": kind}
        return await self._client.fetch("GET", f"/chats/{chat_id}/export", query=query)

    async def take_in(self, exported: bytes) -> Chat:
        """A new chat of one that was exported as JSON."""
        body = decode(exported, dict[str, Any])
        return await self._client.call("POST", "/chats/import", Chat, body=body, query=self._user)

    # ---- answers --------------------------------------------------------------------------------------

    def generate(self, chat_id: int, prompt: str, **wishes: Unpack[Wishes]) -> AsyncGenerator[Told]:
        """Ask in a chat, which is made where its number is reserved. Closing the iterator does not end the answer."""
        body = {"chat_id": chat_id, "prompt": prompt, **wishes, **self._user}
        return self._answer(chat_id, self._client.stream("POST", "/generate", body=body))

    def send(self, chat_id: int, prompt: str, **wishes: Unpack[Wishes]) -> AsyncGenerator[Told]:
        """Ask in a chat."""
        return self._send(chat_id, {"prompt": prompt, **wishes})

    def edit(self, chat_id: int, message_id: int, prompt: str, **wishes: Unpack[Wishes]) -> AsyncGenerator[Told]:
        """Ask a question in other words, in a branch of its own."""
        return self._send(chat_id, {"edit": message_id, "prompt": prompt, **wishes})

    def regenerate(self, chat_id: int, message_id: int, **wishes: Unpack[Wishes]) -> AsyncGenerator[Told]:
        """Have a question answered again, in a branch of its own."""
        return self._send(chat_id, {"regenerate": message_id, **wishes})

    def follow(self, chat_id: int, after: str | None = None) -> AsyncGenerator[Told]:
        """Take up an answer behind an event; without one, that which goes on, else the last, from its beginning."""
        return self._answer(chat_id, self._stream(chat_id, after))

    def _send(self, chat_id: int, body: Mapping[str, object]) -> AsyncGenerator[Told]:
        path = f"/chats/{chat_id}/messages"
        return self._answer(chat_id, self._client.stream("POST", path, body={**body, **self._user}))

    def _stream(self, chat_id: int, after: str | None) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        query = {**self._user, **({"after": after} if after else {})}
        return self._client.stream("GET", f"/chats/{chat_id}/stream", query=query)

    async def _answer(
        self, chat_id: int, stream: AbstractAsyncContextManager[AsyncIterator[Event]]
    ) -> AsyncGenerator[Told]:
        """What a stream tells, and what the next ones tell where the connection is lost once the question is stored."""
        reached, tries = "", 0
        while True:
            try:
                async with stream as events:
                    async for event in events:
                        told = _told(event)
                        if told is None or (reached and isinstance(told, Started)):
                            continue
                        reached, tries = event.id or reached, 0
                        yield told
                return
            except Unreachable:
                if not reached or tries == _TRIES:
                    raise
            wait_s = _FIRST_WAIT_S * 2**tries
            yield Lost(wait_s)
            await asyncio.sleep(wait_s)
            tries += 1
            stream = self._stream(chat_id, reached)


def _told(event: Event) -> Told | None:
    """An event in its type; None for one of a later version."""
    match event.name:
        case "start":
            return decode(event.data, Started)
        case "preparing":
            return decode(event.data, Preparing)
        case "queued":
            return decode(event.data, Queued)
        case "token":
            return decode(event.data, Text)
        case "done":
            return decode(event.data, ChatAnswer)
    return None
