"""A client that costs next to nothing while it listens: it notes when bytes come, and reads them when all are there.

It shares the machine with the server that it measures, so every microsecond that it took for an event would be one by
which the server seemed slower.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Body = Mapping[str, object]

READ_BYTES = 1 << 16
_EVENT = b"data: {"


@dataclass(slots=True)
class Answer:
    """What one request came to. Times are in seconds on the monotonic clock."""

    user: str
    sent: float
    pieces: list[tuple[float, str]] = field(default_factory=list)
    """When each piece of text came, and what it was."""
    ended: float = 0.0
    usage: dict[str, Any] = field(default_factory=dict)
    """As the server counted."""
    error: str | None = None
    left: bool = False
    """Whether the client went before the end."""

    @property
    def times(self) -> list[float]:
        """When pieces of text came."""
        return [at for at, _ in self.pieces]

    @property
    def gaps(self) -> list[float]:
        """Seconds between neighbouring pieces."""
        return [later - sooner for sooner, later in itertools.pairwise(self.times)]

    @property
    def ttft(self) -> float:
        """Seconds to the first text; ValueError where none came."""
        if not self.pieces:
            raise ValueError(f"a request was not answered: {self.error or 'no text came'}")
        return self.pieces[0][0] - self.sent

    @property
    def rate(self) -> float:
        """Pieces a second while it streamed."""
        first, last = self.times[0], self.times[-1]
        return (len(self.pieces) - 1) / (last - first) if last > first else 0.0

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(text for _, text in self.pieces)

    @property
    def tokens(self) -> int:
        """As the server counted them; else the pieces."""
        return int(self.usage.get("completion_tokens", len(self.pieces)))


class Stream:
    """One streamed request to an OpenAI-compatible server.

    Args:
        url: where it listens, with `/v1`.
        user: who asks.
        body: of a chat completion, or where it has a `prompt`, of a completion.
        key: the API key, where one is needed.
    """

    def __init__(self, url: str, user: str, body: Body, key: str | None = None) -> None:
        self.answer = Answer(user, time.monotonic())
        self.events = 0
        """Events seen so far, the first of which may hold no text."""
        self._where = urlsplit(url)
        self._route = "completions" if "prompt" in body else "chat/completions"
        self._body = {**body, "user": user, "stream": True, "stream_options": {"include_usage": True}}
        self._key = key
        self._reads: list[tuple[float, bytes]] = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def until(self, events: int) -> None:
        """Wait until so many events have come, or the stream has ended."""
        while self.events < events and not self._task.done():
            self._news.clear()
            await self._news.wait()

    async def end(self) -> Answer:
        """Wait for the end; whoever is cancelled meanwhile leaves the stream as it is."""
        await asyncio.wait({self._task})
        self._task.result()
        return self.answer

    async def leave(self) -> Answer:
        """Close the connection, as somebody who presses stop."""
        if not self._task.done():
            self.answer.left = True
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        return self.answer

    async def _run(self) -> None:
        writer = None
        try:
            reader, writer = await asyncio.open_connection(self._where.hostname, self._where.port, limit=READ_BYTES)
            self.answer.sent = time.monotonic()
            writer.write(self._request())
            while data := await reader.read(READ_BYTES):
                self._reads.append((time.monotonic(), data))
                self.events += data.count(_EVENT)
                self._news.set()
                if b"data: [DONE]" in data:
                    break
        except OSError as error:
            self.answer.error = f"{type(error).__name__}: {error}"
        finally:
            self.answer.ended = time.monotonic()
            if writer is not None:
                writer.close()
            self._understand()
            self._news.set()

    def _request(self) -> bytes:
        body = json.dumps(self._body).encode()
        head = (
            f"POST {self._where.path}/{self._route} HTTP/1.1\r\nHost: {self._where.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        )
        if self._key is not None:
            head += f"Authorization: Bearer {self._key}\r\n"
        return head.encode() + b"\r\n" + body

    def _understand(self) -> None:
        """Make an answer of the bytes that came."""
        answer = self.answer
        raw = b"".join(data for _, data in self._reads)
        if answer.left and not raw:
            return
        head, _, rest = raw.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        if status != [b"200"]:
            answer.error = answer.error or f"{head[:60]!r} {rest[:300]!r}"
            return
        came = _arrivals(self._reads)
        position = len(head) + 4
        for line in rest.split(b"\n"):
            if line.startswith(_EVENT):
                self._take(json.loads(line[len(b"data: ") :]), came(position + len(line)))
            position += len(line) + 1
        if not answer.left and b"data: [DONE]" not in rest:
            answer.error = answer.error or "the stream was cut off"

    def _take(self, event: dict[str, Any], at: float) -> None:
        if "error" in event:
            self.answer.error = json.dumps(event["error"])[:300]
            return
        for choice in event.get("choices", ()):
            if text := choice.get("text") or choice.get("delta", {}).get("content"):
                self.answer.pieces.append((at, text))
        if usage := event.get("usage"):
            self.answer.usage = usage


def _arrivals(reads: list[tuple[float, bytes]]) -> Callable[[int], float]:
    """A function that tells when the byte before an offset came."""
    ends = list(itertools.accumulate(len(data) for _, data in reads))

    def came(offset: int) -> float:
        return reads[min(bisect.bisect_left(ends, offset), len(reads) - 1)][0]

    return came
