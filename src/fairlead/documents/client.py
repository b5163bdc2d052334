"""The server's hand on reading processes: how many at once, what they say, and their end.

Imports no reader: those are in the process alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from pathlib import Path

import msgspec

from fairlead.documents.messages import (
    LONGEST_LINE,
    Dialect,
    Header,
    Job,
    Limits,
    Message,
    Passages,
    Progress,
    Read,
    Rows,
    Unread,
)

_message: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT")
"""Of the environment; the rest, keys among it, is none of a file's business."""

log = logging.getLogger(__name__)


class ReadFailed(Exception):
    """A file that could not be read; the message is a sentence for people."""


class Readers:
    """Processes that read files, a fresh one for each file, and only so many at once.

    Args:
        limits: for each file.
        at_once: further files wait for their turn.
    """

    def __init__(self, limits: Limits | None = None, at_once: int = 1) -> None:
        self._limits = limits or Limits()
        self._turn = asyncio.Semaphore(at_once)

    async def read(self, path: Path, kind: str) -> AsyncGenerator[Progress | Passages | Read]:
        """What a file says: its progress, its passages, and last of all `Read`.

        Leave it, or close it, and the process is gone.

        Raises:
            ReadFailed: it could not be read, or not within the limits.
        """
        async with contextlib.aclosing(self._told(path, Job(kind, self._limits))) as messages:
            async for message in messages:
                assert isinstance(message, Progress | Passages | Read), "it was not to be read as a table"
                yield message

    async def read_table(self, path: Path, kind: str, dialect: Dialect) -> AsyncGenerator[Header | Rows | Read]:
        """What a table is, its rows, and last of all `Read`; errors and end as in `read`."""
        async with contextlib.aclosing(self._told(path, Job(kind, self._limits, dialect))) as messages:
            async for message in messages:
                assert isinstance(message, Header | Rows | Read), "it was to be read as a table"
                yield message

    async def _told(self, path: Path, job: Job) -> AsyncGenerator[Message]:
        """What the process says, up to `Read`."""
        async with (
            self._turn,
            self._process(path, job) as process,
            contextlib.aclosing(self._messages(process)) as messages,
        ):
            async for message in messages:
                if isinstance(message, Unread):
                    if message.detail:
                        log.error("a %s file could not be read: %s", job.kind, message.detail)
                    raise ReadFailed(message.reason)
                yield message
                if isinstance(message, Read):
                    return

    @contextlib.asynccontextmanager
    async def _process(self, path: Path, job: Job) -> AsyncIterator[subprocess.Popen[bytes]]:
        """A process at work on a file; killed and reaped in the end. A thread waits for it, as for engine workers."""
        told = msgspec.json.encode(job).decode()
        command = [sys.executable, "-P", "-m", "fairlead.documents.process", told, str(os.getpid())]
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        with path.open("rb") as file:
            process = subprocess.Popen(  # noqa: ASYNC220, S603 - takes a millisecond; the command is ours
                command, stdin=file, stdout=subprocess.PIPE, env=environment
            )
        try:
            yield process
        finally:
            process.kill()
            await asyncio.shield(asyncio.to_thread(process.wait))

    async def _messages(self, process: subprocess.Popen[bytes]) -> AsyncGenerator[Message]:
        reader = asyncio.StreamReader(limit=LONGEST_LINE)
        assert process.stdout is not None
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
        )
        ends_at = asyncio.get_running_loop().time() + self._limits.wall_s
        try:
            while line := await _within(reader.readline(), ends_at):
                yield _message.decode(line)
            raise ReadFailed(self._how_it_ended(await asyncio.to_thread(process.wait)))
        except TimeoutError:
            raise ReadFailed(f"Reading it takes more than {self._limits.wall_s:.0f} s, the most allowed.") from None
        except (msgspec.MsgspecError, ValueError) as error:
            log.error("a reading process wrote what is no message: %s", error)
            raise ReadFailed("It could not be read; the server's log says why.") from None
        finally:
            transport.close()

    def _how_it_ended(self, status: int) -> str:
        """The reason to tell of a process that ended without one."""
        limits = self._limits
        if status == -signal.SIGXCPU:
            return f"Reading it takes more than {limits.cpu_s} s of processor time, the most allowed."
        if status < 0:
            return (
                f"Reading it ended the reader ({signal.Signals(-status).name}): it is damaged, or takes more than "
                f"{limits.memory_bytes >> 20} MB of memory."
            )
        log.error("a reading process ended with status %d", status)
        return "It could not be read; the server's log says why."


async def _within(line: Awaitable[bytes], ends_at: float) -> bytes:
    """A line, or TimeoutError; only the wait for it is cut off, and nothing that is done with it."""
    async with asyncio.timeout_at(ends_at):
        return await line
