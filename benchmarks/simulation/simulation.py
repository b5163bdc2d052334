"""The real engine and scheduler under a simulated machine, with people who ask as a trace says.

Time is virtual: it passes where the runner says that a step took some, and where there is nothing to do. So hours of
traffic are played in seconds, and the same seed plays the same again.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.simulation.machine import VOCABULARY, Clock, Machine, SimulatedRunner, Watch
from benchmarks.simulation.traffic import Ask, Trace
from fairlead.engine.engine import Engine
from fairlead.engine.kv_cache import KVCache
from fairlead.engine.messages import (
    Cancel,
    Event,
    Failed,
    Finished,
    Generate,
    Sampling,
    Scheduling,
    Stats,
    Timing,
    Token,
    Usage,
)
from fairlead.engine.runner import Chunk, Sampled
from fairlead.engine.scheduler import Scheduler

QUOTE = 24
"""Most tokens that an answer quotes in a row."""


@dataclass(slots=True)
class Record:
    """What became of one ask. Times are in virtual seconds."""

    ask: Ask
    sent: float
    prompt: list[int]
    answer: list[int]
    """What it would be answered in full."""
    drawn: list[float] = field(default_factory=list)
    """When each token came."""
    ended: float | None = None
    reason: str | None = None
    """A finish reason, or the code of an error."""
    usage: Usage | None = None
    timing: Timing | None = None
    computed: int = 0
    """Tokens computed for it, those that a preemption had undone again and wrong guesses included."""

    @property
    def ttft(self) -> float | None:
        """Seconds to its first token; None where none came."""
        return self.drawn[0] - self.sent if self.drawn else None

    @property
    def gaps(self) -> list[float]:
        """Seconds between neighbouring tokens."""
        return [later - sooner for sooner, later in itertools.pairwise(self.drawn)]


@dataclass(slots=True)
class History:
    """All that happened."""

    records: list[Record | None]
    """By the asks' places in the trace; None where its time had not come."""
    stats: Stats
    """The engine's own, at the end."""
    seconds: float
    """Virtual seconds from the first arrival to the end."""
    steps: list[tuple[float, int]]
    """Seconds and rows of each step."""

    @property
    def asked(self) -> list[Record]:
        """Those that came."""
        return [record for record in self.records if record is not None]

    def of(self, user: str) -> list[Record]:
        """Those of one user."""
        return [record for record in self.asked if record.ask.user == user]


class Simulation:
    """One trace on one machine.

    Args:
        trace: the asks.
        machine: what steps cost.
        scheduling: the scheduler's settings.
        page_count: pages of the KV cache, `page_size` tokens each.
        context_length: the longest prompt and answer together, in tokens.
        max_batch_tokens: most tokens of a step.
        seed: of tokens, noise and hiccups.
        watch: told of each step, before the scheduler takes it in.
    """

    def __init__(
        self,
        trace: Trace,
        machine: Machine,
        scheduling: Scheduling | None = None,
        *,
        page_count: int = 2048,
        page_size: int = 32,
        context_length: int = 8192,
        max_batch_tokens: int = 512,
        seed: int = 0,
        watch: Watch | None = None,
    ) -> None:
        self.clock = Clock()
        self.runner = SimulatedRunner(
            machine,
            self.clock,
            page_count=page_count,
            page_size=page_size,
            max_batch_tokens=max_batch_tokens,
            seed=seed,
            watch=self._count,
        )
        self.scheduler = Scheduler(
            KVCache(page_count, page_size),
            context_length=context_length,
            max_batch_tokens=max_batch_tokens,
            scheduling=scheduling or Scheduling(),
        )
        self.engine = Engine(self.scheduler, self.runner, self.clock)
        self.records: list[Record | None] = [None] * len(trace)
        self._trace = trace
        self._watch = watch
        self._draw = random.Random(seed)
        self.clients = {user: number for number, user in enumerate(sorted({ask.user for ask in trace}))}
        self._prefixes: dict[str, list[int]] = {}
        self._followers: dict[int, list[int]] = {}
        self._arrivals: list[tuple[float, int]] = []  # a heap
        self._departures: list[tuple[float, int]] = []  # a heap
        self._steps: list[tuple[float, int]] = []
        for place, ask in enumerate(trace):
            if ask.after is None:
                self._arrivals.append((ask.at, place))
            else:
                self._followers.setdefault(ask.after, []).append(place)
        heapq.heapify(self._arrivals)

    def run(self, until: float = float("inf"), after_step: Callable[[], None] | None = None) -> History:
        """Play the trace to its end, or to a time; `after_step` is called after every step of the engine."""
        start = self._arrivals[0][0] if self._arrivals else 0.0
        while self.clock.now < until and (self._arrivals or self.engine.has_work):
            if not self.engine.has_work:
                self.clock.now = max(self.clock.now, self._arrivals[0][0])
            self._let_come_and_go()
            before = self.clock.now
            events = self.engine.step()
            self._note(events)
            if self.clock.now == before and not events and self.engine.has_work:
                raise RuntimeError("the scheduler has work and does none")
            if after_step is not None:
                after_step()
        return History(self.records, self.engine.stats(), self.clock.now - start, self._steps)

    def _let_come_and_go(self) -> None:
        """Send what is due, and leave those whose users have no patience left."""
        while self._arrivals and self._arrivals[0][0] <= self.clock.now:
            sent, place = heapq.heappop(self._arrivals)
            self._send(place, sent)
        while self._departures and self._departures[0][0] <= self.clock.now:
            _, place = heapq.heappop(self._departures)
            self._note(self.engine.cancel(Cancel(place)))

    def _send(self, place: int, sent: float) -> None:
        ask = self._trace[place]
        client = self.clients[ask.user]
        prompt = self._prompt(ask)
        record = self.records[place] = Record(ask, sent, prompt, self._answer(ask, prompt))
        self.runner.answers[place] = record.answer
        command = Generate(
            id=place,
            tokens=prompt,
            sampling=Sampling(temperature=0),
            max_tokens=ask.answer_tokens,
            timeout_s=ask.timeout_s,
            client=client,
            weight=ask.weight,
            priority=ask.priority,
            salt=client + 1,
            public_tokens=ask.prefix_tokens,
        )
        if ask.patience_s is not None:
            heapq.heappush(self._departures, (sent + ask.patience_s, place))
        self._note(self.engine.add(command))

    def _prompt(self, ask: Ask) -> list[int]:
        """What it continues, the shared beginning, and words of its own."""
        before: list[int] = []
        if ask.continues:
            assert ask.after is not None
            earlier = self.records[ask.after]
            assert earlier is not None, "what an ask continues has ended"
            before = earlier.prompt + earlier.answer[: len(earlier.drawn)]
        return before + self._shared(ask) + self._words(ask.prompt_tokens - ask.prefix_tokens)

    def _shared(self, ask: Ask) -> list[int]:
        if ask.prefix is None:
            return []
        if ask.prefix not in self._prefixes:
            longest = max(other.prefix_tokens for other in self._trace if other.prefix == ask.prefix)
            self._prefixes[ask.prefix] = self._words(longest)
        return self._prefixes[ask.prefix][: ask.prefix_tokens]

    def _words(self, count: int) -> list[int]:
        return self._draw.choices(range(VOCABULARY), k=count)

    def _answer(self, ask: Ask, prompt: list[int]) -> list[int]:
        """Words of its own and quotes by turns, as long on average as makes the share of quotes right."""
        answer: list[int] = []
        while len(answer) < ask.answer_tokens:
            count = self._draw.randint(1, QUOTE)
            if self._draw.random() < ask.quoted:
                start = self._draw.randrange(max(1, len(prompt) - count))
                answer += prompt[start : start + count]
            else:
                answer += self._words(count)
        return answer[: ask.answer_tokens]

    def _count(self, chunks: Sequence[Chunk], sampled: Sequence[Sampled], seconds: float) -> None:
        self._steps.append((seconds, sum(len(chunk.tokens) for chunk in chunks)))
        for chunk in chunks:
            record = self.records[chunk.request_id]
            assert record is not None
            record.computed += len(chunk.tokens)
        if self._watch is not None:
            self._watch(chunks, sampled, seconds)

    def _note(self, events: Sequence[Event]) -> None:
        """Enter what the engine says, and set off whoever waited for an end."""
        for event in events:
            if isinstance(event, Stats) or not isinstance(event, Token | Finished | Failed):
                continue
            record = self.records[event.id]
            assert record is not None
            assert record.ended is None, "something came behind the end"
            if isinstance(event, Token):
                assert event.token == record.answer[len(record.drawn)], "a token of another answer"
                record.drawn.append(self.clock.now)
                continue
            record.ended = self.clock.now
            if isinstance(event, Finished):
                record.reason, record.usage, record.timing = event.reason, event.usage, event.timing
            else:
                record.reason = event.code
            del self.runner.answers[event.id]
            for place in self._followers.pop(event.id, []):
                heapq.heappush(self._arrivals, (self.clock.now + self._trace[place].think_s, place))
