"""One answer from a server: to a prompt alone, or to one with files, for which a chat lives as long as the answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from fairlead.answer_info import Answer, Queued, Text, Wishes
from fairlead.chat_client import Chats, Told
from fairlead.chat_info import ChatAnswer, FilesTold, Source, Started
from fairlead.cli.terminal import stages
from fairlead.client import FairleadClient
from fairlead.errors import FairleadError, UnreadableFile
from fairlead.file_client import ChatFiles

_STOPS_WITHIN_S: Final = 5.0

CANCELLED: Final = "cancelled"


class AnswerFromFiles(Answer, frozen=True):
    """An answer to a prompt with files, and what the model was given of them."""

    files: FilesTold = FilesTold()
    sources: list[Source] = msgspec.field(default_factory=list)


async def ask(
    client: FairleadClient,
    prompt: str,
    wishes: Wishes,
    files: Sequence[Path],
    show: Callable[[str], None],
    *,
    user: str | None = None,
) -> Answer:
    """The whole answer; `show` is given each piece of it as it comes. `user` is who asks, where no key says so.

    When it is cancelled it stops the generation on the server, and returns what came, with that as its finish reason.

    Raises:
        UnreadableFile: one of the files cannot be read, by this program or by the server.
        FairleadError: whatever else the server refuses.
    """
    reading = _Reading(client, show)
    if not files:
        number = reading.request_id
        if user is None:
            alone = client.infer_stream(prompt, request_id=number, **wishes)
        else:
            alone = client.infer_stream(prompt, request_id=number, user=user, **wishes)
        return await reading.whole(_alone(alone))
    async with _chat_with(client, files, user) as chat_id:
        told = Chats(client, user).send(chat_id, prompt, **wishes)
        return await reading.whole(_in_chat(told, reading))


class _Reading:
    """An answer as far as it has come."""

    def __init__(self, client: FairleadClient, show: Callable[[str], None]) -> None:
        self.request_id = f"run-{uuid.uuid4().hex}"
        self._client = client
        self._show = show
        self._came: list[str] = []

    async def whole(self, told: AsyncGenerator[str | Answer]) -> Answer:
        """All of it; or, where the task is cancelled, what came until then."""
        # In a task of its own: the stream must outlive the cancelling, for the end that the server tells after it.
        task = asyncio.ensure_future(self._read(told))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            return await self._stopped(task)
        finally:
            task.cancel()

    async def _read(self, told: AsyncGenerator[str | Answer]) -> Answer:
        async with aclosing(told):
            async for piece in told:
                if isinstance(piece, Answer):
                    return msgspec.structs.replace(piece, text="".join(self._came))
                self._came.append(piece)
                self._show(piece)
        raise FairleadError("The answer ended without an end.")

    async def _stopped(self, task: asyncio.Future[Answer]) -> Answer:
        try:
            async with asyncio.timeout(_STOPS_WITHIN_S):
                await self._client.cancel(self.request_id)
                return await task
        except (FairleadError, TimeoutError):  # it was not begun, or the server is away: closing the stream stops it
            return Answer(id=self.request_id, model="", finish_reason=CANCELLED, text="".join(self._came))


async def _alone(told: AsyncGenerator[Queued | Text | Answer]) -> AsyncGenerator[str | Answer]:
    async with aclosing(told) as events:
        async for event in events:
            if isinstance(event, Text):
                yield event.text
            elif isinstance(event, Answer):
                yield event


async def _in_chat(told: AsyncGenerator[Told], reading: _Reading) -> AsyncGenerator[str | Answer]:
    async with aclosing(told) as events:
        async for event in events:
            if isinstance(event, Started):
                reading.request_id = event.id or reading.request_id
            elif isinstance(event, Text):
                yield event.text
            elif isinstance(event, ChatAnswer):
                yield AnswerFromFiles(
                    id=event.id or reading.request_id,
                    model=event.model or "",
                    finish_reason=event.finish_reason or "error",
                    usage=event.usage,
                    timing=event.timing,
                    context=event.context,
                    files=event.files,
                    sources=event.sources,
                )


@asynccontextmanager
async def _chat_with(client: FairleadClient, files: Sequence[Path], user: str | None) -> AsyncIterator[int]:
    """A chat with these files, read by the server; it is deleted with the context."""
    chats = Chats(client, user)
    chat_id = (await chats.create(title="fairlead run")).chat_id
    try:
        attached = ChatFiles(client, chat_id, user)
        with stages() as tell:
            numbers = [await _attach(attached, path) for path in files]
            for path, number in zip(files, numbers, strict=True):
                tell(f"Reading {path.name}")
                file = await attached.settled(number)
                if file.state == "failed":
                    raise UnreadableFile(f"{path}: {file.error}")
        yield chat_id
    finally:
        await chats.delete(chat_id)


async def _attach(attached: ChatFiles, path: Path) -> int:
    try:
        with path.open("rb") as content:
            (file,) = await attached.attach({path.name: content})
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}.") from error
    return file.file_id
