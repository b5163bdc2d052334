"""Server-sent events, written as bytes: the way of every token to the client.

Owns the stream's life: it notices a client that has gone, keeps an idle stream alive and cuts off a reader
that does not read. Knows nothing of what the events say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fairlead.api import errors
from fairlead.api.errors import ErrorResponse
from fairlead.api.responses import encode
from fairlead.errors import FairleadError

T = TypeVar("T")
Told = TypeVar("Told")

logger = logging.getLogger(__name__)

KEEP_ALIVE_S: Final = 15.0
READ_WITHIN_S: Final = 60.0
"""A client that takes nothing for so long, while there is something for it, is cut off."""

_KEEP_ALIVE: Final = b": keep-alive\n\n"
_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


def event(event_id: str, name: str, data: object) -> bytes:
    """One event; its id must not hold line ends."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event_id.encode(), name.encode(), encode(data))


class Events:
    """Writes events with names, and ids counted from 1."""

    def __init__(self) -> None:
        self._last = 0

    def event(self, name: str, data: object) -> bytes:
        """One event."""
        self._last += 1
        return event(str(self._last), name, data)


class EventStream(Response, Generic[Told]):
    """An answer made of events, each element of `events` being whole ones. `Told` has what each says by its name.

    However the stream ends, `events` is closed before this returns; with a client that has gone, at once.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        *,
        on_close: Callable[[], Awaitable[None]] | None = None,
        keep_alive_s: float = KEEP_ALIVE_S,
        read_within_s: float = READ_WITHIN_S,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(_HEADERS)
        self._events = events
        self._on_close = on_close
        self._keep_alive_s = keep_alive_s
        self._read_within_s = read_within_s
        self._sent_at = 0.0
        self._sending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Send the stream."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        self._sent_at = asyncio.get_running_loop().time()
        pump = asyncio.create_task(self._pump(send))
        others = [asyncio.create_task(gone(receive)), asyncio.create_task(self._keep_alive(send))]
        try:
            await asyncio.wait((pump, *others), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, *others):
                task.cancel()
            await asyncio.gather(pump, *others, return_exceptions=True)
            await self._events.aclose()
            if self._on_close is not None:  # a generator that was never begun does not clean up behind itself
                await self._on_close()
        if not pump.cancelled():
            pump.result()
            await send({"type": "http.response.body", "body": b""})

    async def _pump(self, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        async for chunk in self._events:
            self._sending, self._sent_at = True, clock()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            self._sending = False
            self._sent_at = clock()

    async def _keep_alive(self, send: Send) -> None:
        """Write a comment where nothing else is written; returns where the client has stopped reading."""
        clock = asyncio.get_running_loop().time
        while True:
            idle = clock() - self._sent_at
            if self._sending and idle >= self._read_within_s:
                logger.warning("a reader that took nothing for %.0f s was cut off", idle)
                return
            if not self._sending and idle >= self._keep_alive_s:
                await send({"type": "http.response.body", "body": _KEEP_ALIVE, "more_body": True})
                self._sent_at = clock()
                idle = 0.0
            await asyncio.sleep(self._keep_alive_s - idle if idle < self._keep_alive_s else 1.0)


async def gone(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def ends_in_error(
    events: AsyncGenerator[bytes, None], tell: Callable[[ErrorResponse], bytes]
) -> AsyncGenerator[bytes, None]:
    """The same events, and where making them fails, one that tells of it: the status has been sent by then."""
    try:
        async for event in events:
            yield event
    except FairleadError as error:
        yield tell(errors.body_of(error))
    except Exception:
        logger.exception("a stream failed")
        yield tell(errors.unforeseen())
    finally:
        await events.aclose()


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do some work for a client, and leave it where the client goes; ClientDisconnect is raised then."""
    task, watch = asyncio.create_task(work), asyncio.create_task(gone(request.receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)
