"""The server's hand on one worker: start it, send it requests, hear it answer, end it.

Owns the worker's process and the queues in which answers wait for their readers. Knows token ids only, like
the engine.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType

import psutil

from fairlead.engine.framing import FrameError, ServerConnection
from fairlead.engine.messages import (
    Cancel,
    Command,
    Embed,
    Embedded,
    Event,
    Failed,
    Finished,
    FinishReason,
    Generate,
    Load,
    Loaded,
    LoadFailed,
    Priority,
    Progress,
    Sampling,
    Score,
    Scored,
    Stats,
    Token,
    Waiting,
)
from fairlead.engine.pending import Pending, Told
from fairlead.errors import EngineFailed, FairleadError, InvalidRequest, ModelNotReady, error_from

END_WITHIN_S = 2.0
"""A worker that has lost its connection and lives on for longer is killed."""

log = logging.getLogger(__name__)


class Generation(AsyncIterator[Token | Finished]):
    """An answer as it is drawn: each `Token`, and `Finished` at last.

    Iterating raises the error of a `Failed` request, EngineFailed where the worker died, and ModelNotReady
    where it was closed. Leave it as a context, or by `aclose`, and the worker stops what is not finished;
    so it does where a task is cancelled that waits for the next token. (Wait with a time limit by
    `asyncio.wait`, not by `wait_for`, which cancels.)
    """

    def __init__(self, client: EngineClient, request_id: int) -> None:
        self.id = request_id
        self._client = client
        self._events: deque[Token | Finished] = deque()
        self._ended = False
        self._error: FairleadError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> Waiting | None:
        """Its place among those that have not begun, or had to pause; None where it runs, as far as the worker told."""
        return self._client._queue.get(self.id)

    async def ready(self, within_s: float) -> bool:
        """Wait for so long that something can be taken without waiting; whether it can, the end included."""
        if not self._events and not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait({self._waiter}, timeout=within_s)
            finally:
                self._waiter = None
        return bool(self._events) or self._ended

    def cancel(self, reason: FinishReason = "cancelled") -> None:
        """Ask the worker to stop; what it had drawn, and `Finished` with this reason, still come."""
        if not self._ended:
            self._client._cancel(self.id, reason)

    async def aclose(self) -> None:
        """Leave the answer; the worker stops it, and nothing more comes of it."""
        self.cancel()
        self._client._forget(self.id)
        self._events.clear()
        self._end(None)

    async def __anext__(self) -> Token | Finished:
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                await self.aclose()
                raise
            finally:
                self._waiter = None
        return self._events.popleft()

    async def __aenter__(self) -> Generation:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _push(self, event: Token | Finished) -> None:
        """Hand on an event; readers are woken once for all events that come together."""
        self._events.append(event)
        if isinstance(event, Finished):
            self._ended = True
        self._wake()

    def _end(self, error: FairleadError | None) -> None:
        """Nothing more comes, because of this error or because nobody wants it."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class EngineClient:
    """A running worker. Made by `start`; belongs to the event loop that it was made on."""

    def __init__(self, process: subprocess.Popen[bytes], on_progress: Callable[[int, int], None] | None) -> None:
        loop = asyncio.get_running_loop()
        self.stats: Stats | None = None
        """The newest that the worker told."""
        self._queue: dict[int, Waiting] = {}
        self._process = process
        self._on_progress = on_progress
        self._connection = ServerConnection(self._hear, self._lost)
        self._ready: asyncio.Future[Loaded] = loop.create_future()
        self._exit: asyncio.Future[int] = loop.create_future()
        self._reaper: asyncio.Task[None] | None = None
        self._closing = False
        self._generations: dict[int, Generation] = {}
        self._embeddings: dict[int, Pending[Embedded]] = {}
        self._scorings: dict[int, Pending[Scored]] = {}
        self._last_id = 0

    @classmethod
    async def start(
        cls, load: Load, on_progress: Callable[[int, int], None] | None = None, runner: str | None = None
    ) -> EngineClient:
        """Spawn a worker and wait until it has loaded its model.

        Args:
            load: what to load, and how much of it to serve.
            on_progress: called with the bytes done and the bytes in all, a few times a second.
            runner: "module:function" that loads the model in the worker, where it is not the processor's own.

        Raises:
            FairleadError: the model could not be loaded; of the class that the worker raised.
            EngineFailed: the worker died while it loaded.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = _spawn(theirs, runner)
        client = cls(process, on_progress)
        try:
            await asyncio.get_running_loop().create_connection(lambda: client._connection, sock=ours)
            client._connection.send(load)
            await client._ready
        except BaseException:
            await client.close(force=True)
            raise
        return client

    @property
    def loaded(self) -> Loaded:
        """What the worker told of the model."""
        return self._ready.result()

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether requests can be sent."""
        return not self._closing and self._reaper is None

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return len(self._generations) + len(self._embeddings) + len(self._scorings)

    def rss_bytes(self) -> int:
        """The worker's resident memory; 0 when it has ended."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def cpu_s(self) -> float:
        """Processor time that the worker has used, in seconds; 0 when it has ended."""
        try:
            used = psutil.Process(self.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(used.user + used.system)

    def kill(self) -> None:
        """End a worker that is stuck, as if it had died: its answers raise EngineFailed."""
        self._process.kill()

    def generate(
        self,
        tokens: Sequence[int],
        sampling: Sampling,
        *,
        max_tokens: int,
        min_tokens: int = 0,
        stop_tokens: Sequence[int] = (),
        timeout_s: float | None = None,
        client: int = 0,
        weight: float = 1.0,
        priority: Priority = "normal",
        salt: int = 0,
        public_tokens: int = 0,
    ) -> Generation:
        """Ask for an answer to `tokens`; the fields are those of `messages.Generate`.

        Raises:
            EngineFailed, ModelNotReady: the worker has died, or was closed.
            InvalidRequest: too long to be sent at all.
        """
        command = Generate(
            id=self._next_id(),
            tokens=list(tokens),
            sampling=sampling,
            max_tokens=max_tokens,
            min_tokens=min_tokens,
            stop_tokens=list(stop_tokens),
            timeout_s=timeout_s,
            client=client,
            weight=weight,
            priority=priority,
            salt=salt,
            public_tokens=public_tokens,
        )
        self._send(command)
        generation = Generation(self, command.id)
        self._generations[command.id] = generation
        return generation

    def embed(self, texts: Sequence[Sequence[int]], *, client: int = 0, weight: float = 1.0) -> Pending[Embedded]:
        """Ask for the vectors of texts; the fields are those of `messages.Embed`. Errors as of `generate`."""
        command = Embed(id=self._next_id(), texts=[list(text) for text in texts], client=client, weight=weight)
        return self._ask(command, self._embeddings)

    def score(
        self,
        tokens: Sequence[int],
        continuations: Sequence[Sequence[int]],
        *,
        client: int = 0,
        weight: float = 1.0,
        priority: Priority = "normal",
        salt: int = 0,
        public_tokens: int = 0,
    ) -> Pending[Scored]:
        """Ask how likely texts go on; the fields are those of `messages.Score`. Errors as of `generate`."""
        command = Score(
            id=self._next_id(),
            tokens=list(tokens),
            continuations=[list(continuation) for continuation in continuations],
            client=client,
            weight=weight,
            priority=priority,
            salt=salt,
            public_tokens=public_tokens,
        )
        return self._ask(command, self._scorings)

    async def wait_closed(self) -> int:
        """Wait until the worker has ended, by whomever; its exit status, negative for a signal."""
        return await asyncio.shield(self._exit)

    async def close(self, *, force: bool = False) -> None:
        """End the worker, and return when its process and memory are gone.

        Answers that run raise ModelNotReady: cancel them, and hear them out, where they shall end
        otherwise. `force` kills at once; else the worker has `END_WITHIN_S` seconds to go by itself.
        """
        self._closing = True
        if force:
            self._process.kill()
        self._connection.close()
        self._reap()
        await self.wait_closed()

    def _ask(self, command: Embed | Score, waiting: dict[int, Pending[Told]]) -> Pending[Told]:
        """Send a command whose answer comes in one piece, to who waits among these."""
        self._send(command)

        def leave() -> None:
            if waiting.pop(command.id, None) is not None:
                self._cancel(command.id, "cancelled")

        pending = waiting[command.id] = Pending[Told](leave)
        return pending

    def _next_id(self) -> int:
        """The number of a new request; the error that says why there can be none."""
        if not self.alive:
            raise self._gone()
        self._last_id += 1
        return self._last_id

    def _send(self, command: Command) -> None:
        try:
            self._connection.send(command)
        except FrameError as error:
            raise InvalidRequest(f"The request is too long: {error}.") from error

    def _cancel(self, request_id: int, reason: FinishReason) -> None:
        self._connection.send(Cancel(request_id, reason))

    def _forget(self, request_id: int) -> None:
        self._generations.pop(request_id, None)

    def _hear(self, events: list[Event]) -> None:
        """Hand on what the worker says; events of answers that were left are nobody's."""
        for event in events:
            match event:
                case Token():
                    if (generation := self._generations.get(event.id)) is not None:
                        generation._push(event)
                case Finished():
                    if (generation := self._generations.pop(event.id, None)) is not None:
                        generation._push(event)
                case Embedded():
                    if (embedding := self._embeddings.pop(event.id, None)) is not None:
                        embedding.succeed(event)
                case Scored():
                    if (scoring := self._scorings.pop(event.id, None)) is not None:
                        scoring.succeed(event)
                case Failed():
                    self._fail(event.id, error_from(event.code, event.message))
                case Stats():
                    self.stats = event
                    self._queue = {waiting.id: waiting for waiting in event.queue}
                case Progress():
                    if self._on_progress is not None:
                        self._on_progress(event.done, event.total)
                case Loaded():
                    if not self._ready.done():
                        self._ready.set_result(event)
                case LoadFailed():
                    if not self._ready.done():
                        self._ready.set_exception(error_from(event.code, event.message, details=event.details))

    def _lost(self, error: Exception | None) -> None:
        """The connection has ended: so have all answers, and so will the process."""
        if error is not None:
            log.error("the connection to worker %d broke: %s", self.pid, error)
        for request_id in [*self._generations, *self._embeddings, *self._scorings]:
            self._fail(request_id, self._gone())
        self._reap()

    def _fail(self, request_id: int, error: FairleadError) -> None:
        """End a request, if it has not ended."""
        if (generation := self._generations.pop(request_id, None)) is not None:
            generation._end(error)
        if (embedding := self._embeddings.pop(request_id, None)) is not None:
            embedding.fail(error)
        if (scoring := self._scorings.pop(request_id, None)) is not None:
            scoring.fail(error)

    def _gone(self) -> FairleadError:
        if self._closing:
            return ModelNotReady("The model was unloaded.")
        return EngineFailed("The model's worker process ended unexpectedly.")

    def _reap(self) -> None:
        if self._reaper is None:
            self._reaper = asyncio.get_running_loop().create_task(self._wait_for_exit())

    async def _wait_for_exit(self) -> None:
        """Wait for the process, which has lost its connection, and kill it where it does not end of itself.

        A thread waits, because a loop's own ways to hear of a child's end differ and some need the main
        thread.
        """
        try:
            status = await asyncio.to_thread(self._process.wait, END_WITHIN_S)
        except subprocess.TimeoutExpired:
            log.warning("worker %d did not end by itself and is killed", self.pid)
            self._process.kill()
            status = await asyncio.to_thread(self._process.wait)
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        if not self._closing:
            log.error("worker %d ended %s", self.pid, how)
        if not self._ready.done():
            self._ready.set_exception(EngineFailed(f"The worker process ended {how} while it loaded the model."))
        self._exit.set_result(status)


def _spawn(connected: socket.socket, runner: str | None) -> subprocess.Popen[bytes]:
    """Start a worker on its end of a socketpair.

    A fresh interpreter, never a fork: the server's threads, locks and memory stay its own. `-P` keeps the
    folder that the server was started in out of the way of imports. Its output joins the server's log.
    """
    command = [sys.executable, "-P", "-m", "fairlead.engine.worker", str(connected.fileno())]
    if runner is not None:
        command += ["--runner", runner]
    return subprocess.Popen(  # noqa: S603 - the command is ours
        command, pass_fds=[connected.fileno()], stdin=subprocess.DEVNULL, stdout=2
    )
