"""A batch in the making: how many of whose tokens, and how long that will take.

Owns the figures of one step; who comes first is the scheduler's to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fairlead.engine.fairness import PROMPT_PRICE, Client
from fairlead.engine.pace import Pace
from fairlead.engine.request import Request
from fairlead.engine.runner import Chunk

LEAST_CHUNK = 8
"""Tokens of a prompt that a step computes whatever its budget, so that prompts always advance."""

CHUNK_MULTIPLE = 16
"""Chunks of more than four times as many tokens are a multiple of this, as kernels like it."""


class Step:
    """What a step computes, as far as it is decided.

    Args:
        pace: how long steps take.
        max_rows: most tokens that a step computes.

    Attributes:
        counts: how many of whose tokens, in the order in which they were added.
        guesses: what is verified behind the next token of an answer.
        rows: tokens in all.
        attended: how many tokens these attend to in all, themselves included.
        reads: whether one of them belongs to a prompt.
        scored: tokens of continuations.
    """

    def __init__(self, pace: Pace, max_rows: int) -> None:
        self._pace = pace
        self._max_rows = max_rows
        self.counts: dict[Request, int] = {}
        self.guesses: dict[Request, list[int]] = {}
        self.rows = 0
        self.attended = 0
        self.reads = False
        self.scored = 0
        self._charges: dict[Client, float] = {}

    def add(self, request: Request, count: int) -> None:
        """Compute the next `count` tokens of a request."""
        self.counts[request] = count
        self.rows += count
        self.attended += _attended(request.computed, count)

    def read(self, request: Request, count: int) -> None:
        """Compute the next `count` tokens of a prompt, or of what has to be computed again."""
        self.add(request, count)
        self.reads = True
        charge = count * PROMPT_PRICE / request.weight
        self._charges[request.client] = self._charges.get(request.client, 0.0) + charge
        self.scored += count if request.branches else 0

    def drop(self, request: Request) -> None:
        """Leave a request out after all, if it was in."""
        count = self.counts.pop(request, 0)
        self.rows -= count
        self.attended -= _attended(request.computed, count)
        self.scored -= count if request.branches else 0

    def charge(self, client: Client) -> float:
        """What a client will be charged for the prompts that this step reads."""
        return self._charges.get(client, 0.0)

    @property
    def free_rows(self) -> int:
        """How many more tokens it can compute."""
        return self._max_rows - self.rows

    def guess(self, request: Request, tokens: list[int]) -> None:
        """Verify these guesses behind the next token of an answer."""
        self.guesses[request] = tokens
        self.rows += len(tokens)
        self.attended += _attended(request.computed + 1, len(tokens))

    def chunks(self, request: Request, pages: Sequence[int]) -> Iterator[Chunk]:
        """What it computes of a request, which has these pages."""
        scoring = request.scoring
        if scoring is not None and request.branches:
            yield from scoring.chunks(request.id, pages)
            return
        start, end = request.computed, request.computed + self.counts[request]
        guesses = self.guesses.get(request, ())
        tokens = [*request.tokens[start:end], *guesses]
        ends = end == len(request.tokens)
        if scoring is None:
            yield Chunk(request.id, tokens, start, pages, ends, len(guesses))
        else:
            firsts = scoring.firsts() if ends else []
            yield Chunk(request.id, tokens, start, pages, samples=False, scores=[firsts] if firsts else ())

    def seconds(self, more: int = 0) -> float:
        """How long it will take, with so many more rows like those it has."""
        if not self.rows:
            return 0.0
        return self._pace.predict(self.rows + more, self.attended * (1 + more / self.rows))

    def room(self, request: Request, limit_s: float, least: int = LEAST_CHUNK) -> int:
        """How many tokens of a prompt there is time for, where the step shall end within `limit_s`.

        At least `least` if it is the first prompt that the step reads.
        """
        most = min(request.uncomputed, self.free_rows)
        if self._within(request, most, limit_s):
            return most
        low, high = 0, most  # so many fit, so many do not
        while high - low > 1:
            middle = (low + high) // 2
            if self._within(request, middle, limit_s):
                low = middle
            else:
                high = middle
        if low > 4 * CHUNK_MULTIPLE:
            low -= low % CHUNK_MULTIPLE
        return low if self.reads else max(low, min(most, least))

    def _within(self, request: Request, count: int, limit_s: float) -> bool:
        attended = self.attended + _attended(request.computed, count)
        return self._pace.predict(self.rows + count, attended) <= limit_s


def _attended(start: int, count: int) -> int:
    """How many tokens the `count` tokens from position `start` on attend to in all, themselves included."""
    return count * start + count * (count + 1) // 2
