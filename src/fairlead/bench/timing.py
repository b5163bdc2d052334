"""Times single steps of a runner: a prompt read, a token decoded for several sequences.

The tokens are random ids, which cost what others do. Contexts are not computed before a token is decoded behind them:
attention takes the same time whatever the pages hold.

What a figure is a share of is measured in turn with it: on a machine that others use as well, limits that were measured
a minute ago tell little.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.bench.machine import Limits, Meter
from fairlead.bench.suite import pages_of
from fairlead.bench.work import Span, StepWork, Work
from fairlead.engine.messages import Sampling
from fairlead.engine.runner import Chunk
from fairlead.kernels.native_runner import NativeRunner
from fairlead.models.plan import Plan

_GREEDY = Sampling(temperature=0)

_TURNS = 5
"""How often a figure and its limits are measured in turn."""

_SHARE_OF_LIMITS = 0.2
"""How long each limit is measured in a turn, as a share of how long the figure is."""


class OutOfTime(Exception):
    """The time for all figures is over."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """A prompt of so many tokens read, and the first token of its answer drawn; with what that took and its limits."""

    tokens: int
    seconds: float
    work: Work
    limits: Limits

    @property
    def tokens_per_s(self) -> float:
        """Prompt tokens."""
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Decode:
    """A token drawn for each of `batch` sequences that hold `context` with it; with what that took and its limits."""

    batch: int
    context: int
    seconds: float
    work: Work
    limits: Limits

    @property
    def tokens_per_s(self) -> float:
        """Tokens drawn, of all sequences together."""
        return self.batch / self.seconds


class Timing:
    """Takes figures of one runner.

    Args:
        plan: of the model that the runner holds.
        runner: with KV cache enough for the longest and for the most sequences asked for.
        meter: of the limits, with the runner's number of threads.
        seconds: about how long each figure is measured.
        limit_s: for all figures together; what is not taken by then raises OutOfTime.
    """

    def __init__(self, plan: Plan, runner: NativeRunner, meter: Meter, *, seconds: float, limit_s: float) -> None:
        self._runner = runner
        self._meter = meter
        self._work = StepWork(plan, runner)
        self._seconds = seconds
        self._ends = time.monotonic() + limit_s
        self._random = np.random.default_rng(0)

    def prefill(self, tokens: int) -> Prefill:
        """Read a prompt of so many tokens, in steps as large as the runner takes."""
        most = self._runner.max_batch_tokens
        spans = [Span(start, min(start + most, tokens)) for start in range(0, tokens, most)]
        steps = [(self._chunks([span], samples=span is spans[-1]), span) for span in spans]

        def read() -> None:
            for chunks, _ in steps:
                self._step(chunks)

        work = sum((self._work.of([span], int(span is spans[-1])) for _, span in steps), Work())
        return Prefill(tokens, *self._measure(read, work, sequences=1))

    def decode(self, batch: int, context: int) -> Decode:
        """Draw a token for so many sequences of this length, the same one again and again."""
        spans = [Span(context - 1, context)] * batch
        chunks = self._chunks(spans, samples=True)
        work = self._work.of(spans, sampled=batch)
        return Decode(batch, context, *self._measure(lambda: self._step(chunks), work, sequences=batch))

    def _chunks(self, spans: Sequence[Span], *, samples: bool) -> list[Chunk]:
        """A step over a span of each of several sequences, which have pages of their own."""
        chunks = []
        for number, span in enumerate(spans):
            tokens = self._random.integers(0, self._runner.vocab_size, span.end - span.start).tolist()
            count = pages_of(span.end)
            pages = range(number * count, (number + 1) * count)
            chunks.append(Chunk(request_id=number, tokens=tokens, start=span.start, pages=pages, samples=samples))
        return chunks

    def _step(self, chunks: Sequence[Chunk]) -> None:
        if time.monotonic() > self._ends:
            raise OutOfTime
        self._runner.forward(chunks)

    def _measure(self, run: Callable[[], None], work: Work, sequences: int) -> tuple[float, Work, Limits]:
        """The median of several times, the work itself, and its limits at that time; measured turn and turn about.

        The first time does not count where there is time for another.
        """
        for number in range(sequences):
            self._runner.open(number, _GREEDY, [], 0, [])
        try:
            times: list[float] = []
            limits = [self._limits(work)]
            while sum(times) < self._seconds:
                times += _times(run, self._seconds / _TURNS)
                limits.append(self._limits(work))
        finally:
            for number in range(sequences):
                self._runner.close(number)
        return statistics.median(times[1:] or times), work, Limits.usual(limits)

    def _limits(self, work: Work) -> Limits:
        return self._meter.limits(work.multiply_adds, self._seconds / _TURNS * _SHARE_OF_LIMITS)


def _times(run: Callable[[], None], seconds: float) -> list[float]:
    """How long each of several runs took, which took at least so many seconds together."""
    times: list[float] = []
    while sum(times) < seconds:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return times
