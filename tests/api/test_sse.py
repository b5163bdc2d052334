"""The life of a stream, with a client made of callables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.types import Message

from fairlead.api.sse import Events, EventStream, ends_in_error
from fairlead.errors import EngineFailed


class Client:
    """The other end of a stream: reads so many bodies, and goes when `leaves` is set."""

    def __init__(self, reads: int = 1000) -> None:
        self.bodies: list[bytes] = []
        self.ended = False
        self._reads = reads
        self.leaves = asyncio.Event()

    async def receive(self) -> Message:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            if len(self.bodies) == self._reads:
                await asyncio.Event().wait()
            self.bodies += [message["body"]] if message["body"] else []
            self.ended = not message.get("more_body", False)


class Source:
    """Events that come when they are let go, and know whether they were closed."""

    def __init__(self, *events: bytes) -> None:
        self.closed = False
        self.more = asyncio.Event()
        self._events = events

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        try:
            for event in self._events:
                yield event
            await self.more.wait()
        finally:
            self.closed = True


def test_events_are_numbered_and_on_one_line() -> None:
    events = Events()
    assert events.event("token", {"text": "a\nb ö"}) == 'id: 1\nevent: token\ndata: {"text":"a\\nb ö"}\n\n'.encode()
    assert events.event("done", {}).startswith(b"id: 2\n")


async def test_a_stream_from_beginning_to_end() -> None:
    client, source = Client(), Source(b"one", b"two")
    source.more.set()
    await EventStream(source())({}, client.receive, client.send)
    assert client.bodies == [b"one", b"two"]
    assert client.ended
    assert source.closed


async def test_an_idle_stream_is_kept_alive() -> None:
    client, source = Client(), Source(b"one")
    task = asyncio.create_task(EventStream(source(), keep_alive_s=0.05)({}, client.receive, client.send))
    await asyncio.sleep(0.18)
    source.more.set()
    await task
    assert client.bodies[0] == b"one"
    assert 2 <= client.bodies.count(b": keep-alive\n\n") <= 3


async def test_a_client_that_goes_ends_the_stream_at_once() -> None:
    client, source = Client(), Source(b"one")
    closed: list[bool] = []

    async def on_close() -> None:
        closed.append(True)

    stream: EventStream[Any] = EventStream(source(), on_close=on_close)
    task = asyncio.create_task(stream({}, client.receive, client.send))
    await asyncio.sleep(0.01)
    client.leaves.set()
    await asyncio.wait_for(task, 1)
    assert source.closed
    assert closed == [True]
    assert not client.ended


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    client, source = Client(reads=1), Source(b"one", b"two")
    stream: EventStream[Any] = EventStream(source(), keep_alive_s=0.05, read_within_s=0.1)
    await asyncio.wait_for(stream({}, client.receive, client.send), 3)
    assert client.bodies == [b"one"]
    assert source.closed
    assert not client.ended


@pytest.mark.parametrize(
    ("error", "code"), [(EngineFailed("gone"), "engine_failed"), (ValueError("/x"), "internal_error")]
)
async def test_an_error_is_the_last_event(error: Exception, code: str) -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise error

    numbered = Events()
    told = [event async for event in ends_in_error(events(), lambda body: numbered.event("error", body))]
    assert told[0] == b"one"
    assert len(told) == 2
    assert f'"code":"{code}"'.encode() in told[1]
    assert b"/x" not in told[1]
