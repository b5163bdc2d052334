"""A scheduler under an invented machine: steps take the time that a formula says, tokens are drawn from nothing."""

from __future__ import annotations

import heapq
import itertools
import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fairlead.engine.kv_cache import KVCache
from fairlead.engine.messages import Finished, Generate, Priority, Sampling, Scheduling, Token
from fairlead.engine.runner import Chunk, Sampled
from fairlead.engine.scheduler import Batch, Scheduler

Cost = Callable[[Sequence[Chunk]], float]


def small_model(chunks: Sequence[Chunk]) -> float:
    """Seconds of a step of a model of 135 M weights on two cores: 4 ms, then 0.2 ms a row beyond the first four."""
    rows = sum(len(chunk.tokens) for chunk in chunks)
    return 0.004 + 0.0002 * max(0, rows - 4) + 1e-7 * _attended(chunks)


LARGE_MODEL = ((1, 0.025), (4, 0.027), (8, 0.034), (16, 0.054), (32, 0.065), (64, 0.085), (128, 0.125), (512, 0.480))
"""Rows and seconds of a step of 1.03 G weights on two cores, as measured."""


def large_model(chunks: Sequence[Chunk]) -> float:
    """Seconds of a step by that table, and what attention adds."""
    rows = sum(len(chunk.tokens) for chunk in chunks)
    place = max(1, bisect_left(LARGE_MODEL, (rows, 0.0)))
    (fewer, sooner), (more, later) = LARGE_MODEL[place - 1 : place + 1]
    return sooner + (later - sooner) * (rows - fewer) / (more - fewer) + 1e-7 * _attended(chunks)


def _attended(chunks: Sequence[Chunk]) -> float:
    return sum(len(chunk.tokens) * (chunk.start + len(chunk.tokens) / 2) for chunk in chunks)


@dataclass
class Story:
    """What one request felt."""

    client: int
    prompt: int
    arrived: float
    times: list[float] = field(default_factory=list)
    ended: float | None = None

    @property
    def first_s(self) -> float:
        return self.times[0] - self.arrived

    @property
    def rate(self) -> float:
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])

    def gaps(self, since: float) -> list[float]:
        """Between tokens that came after then, in seconds."""
        return [later - sooner for sooner, later in itertools.pairwise(self.times) if later > since]


class Machine:
    """Runs a scheduler; `now` passes as its steps take time."""

    def __init__(
        self,
        cost: Cost = small_model,
        pages: int = 2048,
        page_size: int = 32,
        batch: int = 512,
        context: int = 4096,
        scheduling: Scheduling | None = None,
    ) -> None:
        self.scheduler = Scheduler(
            KVCache(pages, page_size),
            context_length=context,
            max_batch_tokens=batch,
            scheduling=scheduling or Scheduling(),
        )
        self.cost = cost
        self.now = 0.0
        self.stories: dict[int, Story] = {}
        self.batches = 0
        self._random = random.Random(1)
        self._arrivals: list[tuple[float, int, Generate]] = []

    def send(
        self,
        prompt: int | Sequence[int],
        answer: int,
        *,
        at: float | None = None,
        client: int = 0,
        weight: float = 1.0,
        priority: Priority = "normal",
    ) -> Story:
        """A request: of so many tokens unlike any other, or of these."""
        request_id = len(self.stories)
        tokens = [self._random.randrange(1 << 30) for _ in range(prompt)] if isinstance(prompt, int) else list(prompt)
        command = Generate(
            id=request_id,
            tokens=tokens,
            sampling=Sampling(),
            max_tokens=answer,
            client=client,
            weight=weight,
            priority=priority,
        )
        at = self.now if at is None else at
        self.stories[request_id] = Story(client, len(tokens), at)
        heapq.heappush(self._arrivals, (at, request_id, command))
        return self.stories[request_id]

    def take_arrivals(self) -> None:
        """Hand the scheduler what has been sent by now."""
        while self._arrivals and self._arrivals[0][0] <= self.now:
            at, _, command = heapq.heappop(self._arrivals)
            assert self.scheduler.add(command, at) == []

    def step(self) -> Batch:
        """One step; or, where there is nothing to do, the wait for the next arrival."""
        if not self.scheduler.has_work and self._arrivals:
            self.now = max(self.now, self._arrivals[0][0])
        self.take_arrivals()
        batch = self.scheduler.schedule(self.now)
        if not batch:
            return batch
        self.batches += 1
        self.now += self.cost(batch)
        sampled = [Sampled(chunk.request_id, self._random.randrange(1 << 30)) for chunk in batch if chunk.samples]
        for event in self.scheduler.update(batch, sampled, self.now):
            if isinstance(event, Token):
                self.stories[event.id].times.append(self.now)
            elif isinstance(event, Finished):
                self.stories[event.id].ended = self.now
        return batch

    def run(self, until: float = float("inf")) -> None:
        """Step until then, or until all is done."""
        while self.now < until and (self.scheduler.has_work or self._arrivals):
            assert self.step(), "a step is empty though there is work"

    def service(self, client: int) -> float:
        """What a client was served, in the prices of its counter."""
        for load in self.scheduler.loads():
            if load.client == client:
                return load.prefill_tokens + 2.0 * load.decode_tokens
        return 0.0
