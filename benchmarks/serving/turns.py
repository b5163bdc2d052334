"""Two ways of doing the same, measured by turns, so that what the machine does beside falls on both alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.servers import Scheduling, Server, fairlead

LEAST_PAIRS = 3

Timed = Callable[[], Awaitable[float]]


@dataclass(frozen=True)
class Setup:
    """What is measured, and for how long."""

    model: Path
    threads: int
    seconds: float
    """Of taking turns, in one scenario."""

    @asynccontextmanager
    async def pair(self, one: Scheduling, other: Scheduling) -> AsyncIterator[tuple[Server, Server]]:
        """Two servers that differ in these settings; while one works the other sleeps.

        Look-up is off unless they say otherwise: its luck is not what is compared.
        """
        async with AsyncExitStack() as stack:
            servers = [
                fairlead(self.model, self.threads, {"lookup": False, **settings}, name)
                for name, settings in (("one", one), ("other", other))
            ]
            yield await stack.enter_async_context(servers[0]), await stack.enter_async_context(servers[1])


@dataclass(frozen=True)
class Comparison:
    """What two ways came to, turn by turn."""

    pairs: list[tuple[float, float]]

    @property
    def one(self) -> float:
        """The first's median."""
        return statistics.median(one for one, _ in self.pairs)

    @property
    def other(self) -> float:
        """The second's."""
        return statistics.median(other for _, other in self.pairs)

    @property
    def ratio(self) -> float:
        """The first to the second: the median over pairs that were measured side by side."""
        return statistics.median(one / other for one, other in self.pairs)

    @property
    def uncertainty(self) -> float:
        """The standard error of that median, as of normally distributed ratios."""
        return 1.25 * statistics.stdev(one / other for one, other in self.pairs) / math.sqrt(len(self.pairs))


async def by_turns(one: Timed, other: Timed, seconds: float) -> Comparison:
    """Measure for so long, after a first try of each that is not counted; who begins changes from pair to pair."""
    await one()
    await other()
    began, pairs = time.monotonic(), list[tuple[float, float]]()
    while len(pairs) < LEAST_PAIRS or time.monotonic() - began < seconds:
        if len(pairs) % 2:
            second = await other()
            pairs.append((await one(), second))
        else:
            pairs.append((await one(), await other()))
    return Comparison(pairs)
