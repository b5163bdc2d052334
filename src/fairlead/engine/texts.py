"""Which texts of which requests a step turns into vectors: a state machine without clock or I/O.

Whatever waits is put together into steps, short texts and long ones side by side: nothing is padded, so a step is
full when its tokens are. Between clients the one who had the least is next (`fairness.py`); of a client's requests
the oldest comes first, and of its texts the longest that there is room for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from fairlead.engine.fairness import Client, Clients
from fairlead.engine.messages import (
    ClientLoad,
    Embed,
    Embedded,
    Event,
    Failed,
    Finished,
    FinishReason,
    Timing,
    Usage,
    Waiting,
)


@dataclass(slots=True, eq=False)
class Job:
    """A request under way.

    Attributes:
        command: as it came.
        client: whose it is.
        arrived: when it came.
        began: when the first step that computed some of it began.
        pending: texts that no step has yet: their lengths, each with the text's place, ascending.
        vectors: of each text, as far as they are computed.
        left: texts that have none yet.
    """

    command: Embed
    client: Client
    arrived: float
    pending: list[tuple[int, int]]
    vectors: list[bytes]
    left: int
    began: float | None = None

    @property
    def tokens(self) -> int:
        """Of all its texts."""
        return sum(map(len, self.command.texts))


@dataclass(frozen=True, slots=True)
class Piece:
    """A text of a step."""

    job: Job
    place: int
    """Among the request's texts."""

    @property
    def tokens(self) -> Sequence[int]:
        """Its token ids."""
        return self.job.command.texts[self.place]


@dataclass(slots=True)
class TextScheduler:
    """The requests of an encoder.

    Args:
        max_batch_tokens: most tokens of a step; no text has more.
    """

    max_batch_tokens: int
    tokens: int = 0
    """Computed since the load."""
    _jobs: dict[int, Job] = field(default_factory=dict)
    _of_client: dict[Client, deque[Job]] = field(default_factory=dict)
    _clients: Clients = field(default_factory=Clients)

    @property
    def has_work(self) -> bool:
        """Whether a request has not ended yet."""
        return bool(self._jobs)

    @property
    def running(self) -> int:
        """Requests of which something was computed."""
        return len(self._jobs) - self.waiting

    @property
    def waiting(self) -> int:
        """Requests of which nothing was computed."""
        return sum(job.began is None for job in self._jobs.values())

    def add(self, command: Embed, now: float) -> None:
        """Accept a request, whose texts are known to be neither empty nor too long."""
        client = self._clients.enter(command.client, now)
        pending = sorted((len(text), place) for place, text in enumerate(command.texts))
        job = Job(command, client, now, pending, [b""] * len(pending), len(pending))
        self._jobs[command.id] = job
        self._of_client.setdefault(client, deque()).append(job)

    def cancel(self, request_id: int, reason: FinishReason, now: float) -> list[Event]:
        """End a request, if it has not ended. What a step is computing of it comes to nothing."""
        job = self._jobs.get(request_id)
        if job is None:
            return []
        self._end(job, now)
        return [Finished(request_id, reason, Usage(job.tokens, 0), self._timing(job, now))]

    def schedule(self, now: float) -> list[Piece]:
        """The texts of the next step; none where nothing waits."""
        batch: list[Piece] = []
        room = self.max_batch_tokens
        while (piece := self._next(room)) is not None:
            batch.append(piece)
            room -= len(piece.tokens)
            piece.job.began = now if piece.job.began is None else piece.job.began
            piece.job.client.charge_prompt(len(piece.tokens), piece.job.command.weight)
        return batch

    def update(self, batch: Sequence[Piece], vectors: Sequence[bytes], now: float) -> list[Event]:
        """Take the vectors of a step's texts; the events are of requests that have all of theirs."""
        events: list[Event] = []
        for piece, vector in zip(batch, vectors, strict=True):
            job = piece.job
            self.tokens += len(piece.tokens)
            job.vectors[piece.place] = vector
            job.left -= 1
            if job.left == 0 and job.command.id in self._jobs:
                self._end(job, now)
                usage = Usage(job.tokens, 0)
                events.append(Embedded(job.command.id, b"".join(job.vectors), usage, self._timing(job, now)))
        return events

    def fail(self, batch: Sequence[Piece], code: str, message: str, now: float) -> list[Event]:
        """End the requests whose texts a step could not compute."""
        struck = {piece.job.command.id: piece.job for piece in batch if piece.job.command.id in self._jobs}
        for job in struck.values():
            self._end(job, now)
        return [Failed(request_id, code, message) for request_id in struck]

    def loads(self) -> list[ClientLoad]:
        """What each client has, and had."""
        return self._clients.loads()

    def queue(self, rate: float | None) -> list[Waiting]:
        """Those of whom nothing was computed, in order of arrival; `rate` is of tokens a second."""
        told: list[Waiting] = []
        ahead = 0
        for job in self._jobs.values():
            if job.began is None:
                wait_s = None if rate is None else ahead / rate
                told.append(Waiting(job.command.id, job.client.id, len(told), wait_s))
            ahead += sum(length for length, _ in job.pending)
        return told

    def _next(self, room: int) -> Piece | None:
        """The text that comes next of those with at most `room` tokens."""
        for client in sorted(self._of_client, key=lambda client: client.standing):
            for job in self._of_client[client]:
                at = bisect_right(job.pending, (room, len(job.vectors)))
                if at > 0:
                    _, place = job.pending.pop(at - 1)
                    return Piece(job, place)
        return None

    def _end(self, job: Job, now: float) -> None:
        del self._jobs[job.command.id]
        jobs = self._of_client[job.client]
        jobs.remove(job)
        if not jobs:
            del self._of_client[job.client]
        self._clients.leave(job.client, now)

    def _timing(self, job: Job, now: float) -> Timing:
        began = now if job.began is None else job.began
        return Timing(began - job.arrived, now - began, 0.0)
