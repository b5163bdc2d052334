"""Times single steps of a runner: a prompt read, a token decoded for several sequences.

The tokens are random ids, which cost what others do. Contexts are not computed before a token is decoded behind them:
attention takes the same time whatever the pages hold.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.bench.suite import pages_of
from fairlead.bench.work import Span, StepWork, Work
from fairlead.engine.messages import Sampling
from fairlead.engine.runner import Chunk
from fairlead.kernels.native_runner import NativeRunner
from fairlead.models.plan import Plan

_GREEDY = Sampling(temperature=0)


class OutOfTime(Exception):
    """The time for all figures is over."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """A prompt of so many tokens read, and the first token of its answer drawn: seconds, and what that took."""

    tokens: int
    seconds: float
    work: Work

    @property
    def tokens_per_s(self) -> float:
        """Prompt tokens."""
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Decode:
    """A token drawn for each of `batch` sequences that hold `context` with it: seconds, and what that took."""

    batch: int
    context: int
    seconds: float
    work: Work

    @property
    def tokens_per_s(self) -> float:
        """Tokens drawn, of all sequences together."""
        return self.batch / self.seconds


class Timing:
    """Takes figures of one runner.

    Args:
        plan: of the model that the runner holds.
        runner: with KV cache enough for the longest and for the most sequences asked for.
        seconds: about how long each figure is measured.
        limit_s: for all figures together; what is not taken by then raises OutOfTime.
    """

    def __init__(self, plan: Plan, runner: NativeRunner, *, seconds: float, limit_s: float) -> None:
        self._runner = runner
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
        return Prefill(tokens, self._median_s(read, sequences=1), work)

    def decode(self, batch: int, context: int) -> Decode:
        """Draw a token for so many sequences of this length, the same one again and again."""
        spans = [Span(context - 1, context)] * batch
        chunks = self._chunks(spans, samples=True)
        seconds = self._median_s(lambda: self._step(chunks), sequences=batch)
        return Decode(batch, context, seconds, self._work.of(spans, sampled=batch))

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

    def _median_s(self, run: Callable[[], None], sequences: int) -> float:
        """The median of several times; the first does not count where there is time for another."""
        for number in range(sequences):
            self._runner.open(number, _GREEDY, [], 0, [])
        try:
            times: list[float] = []
            while sum(times) < self._seconds:
                began = time.perf_counter()
                run()
                times.append(time.perf_counter() - began)
        finally:
            for number in range(sequences):
                self._runner.close(number)
        return statistics.median(times[1:] or times)
