"""What the steps of an engine took, counted for those who watch it."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

from fairlead.engine.messages import STEP_BUCKETS_S

RATE_OVER_S = 2.0
"""The rate of drawing is that of the steps that made up so many seconds."""

OVER = 1.2
"""A step is over its budget that took more than this many times as long."""


class Meter:
    """Counts steps, and knows how fast tokens are drawn.

    Attributes:
        steps: how many there were.
        seconds: how long all of them took.
        counts: how many there were in each class of `STEP_BUCKETS_S`, and above.
        over_budget: how many took more than `OVER` times what they should.
        last_s: how long the last one took.
        last_budget_s: how long that should have taken at most.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.seconds = 0.0
        self.counts = [0] * (len(STEP_BUCKETS_S) + 1)
        self.over_budget = 0
        self.last_s = 0.0
        self.last_budget_s = 0.0
        self._recent: deque[tuple[int, float]] = deque()
        self._recent_tokens = 0
        self._recent_s = 0.0

    def count(self, seconds: float, budget_s: float, drawn: int) -> None:
        """Take in a step: how long it took and should have taken, and how many tokens it drew."""
        self.steps += 1
        self.seconds += seconds
        self.counts[bisect_left(STEP_BUCKETS_S, seconds)] += 1
        self.over_budget += seconds > OVER * budget_s
        self.last_s, self.last_budget_s = seconds, budget_s
        self._recent.append((drawn, seconds))
        self._recent_tokens += drawn
        self._recent_s += seconds
        while self._recent_s - self._recent[0][1] > RATE_OVER_S:
            tokens, past_s = self._recent.popleft()
            self._recent_tokens -= tokens
            self._recent_s -= past_s

    def decode_rate(self) -> float | None:
        """Tokens drawn a second over the last seconds of work; None before any was."""
        if not self._recent_tokens or self._recent_s <= 0:
            return None
        return self._recent_tokens / self._recent_s
