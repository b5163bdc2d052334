"""When those who wait will begin, as far as it can be told from what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.engine.messages import Waiting
from fairlead.engine.request import Request

STAY_STEP = 0.1
"""How far one request that ends moves the mean of how long they run."""


@dataclass
class Forecast:
    """What waiting times follow from.

    Attributes:
        stay_s: how long requests run, from their pages to their end; None before one has ended.
    """

    stay_s: float | None = None

    def left(self, stayed_s: float) -> None:
        """Take in how long a request has run that has ended."""
        self.stay_s = stayed_s if self.stay_s is None else self.stay_s + STAY_STEP * (stayed_s - self.stay_s)

    def waits(
        self, queue: Sequence[Request], *, openings: int, running: int, unread: int, prefill_rate: float | None
    ) -> list[Waiting]:
        """The place and the expected wait of each that waits.

        One begins when the prompts before it are read, and when as many of the running have left as must
        before there is an opening: of so many that run, one leaves in the time that one runs by their number.

        Args:
            queue: those who wait, in the order in which they will begin.
            openings: how many can begin without anybody leaving.
            running: how many run.
            unread: tokens of running prompts that are still to be computed.
            prefill_rate: tokens that are computed a second, or None where that is not known.
        """
        waits: list[Waiting] = []
        for position, request in enumerate(queue):
            read_s = None if prefill_rate is None else unread / prefill_rate
            leavers = position + 1 - openings
            if leavers > 0 and read_s is not None:
                read_s = None if self.stay_s is None else max(read_s, leavers * self.stay_s / max(running, 1))
            waits.append(Waiting(request.id, request.client.id, position, read_s))
            unread += len(request.tokens)
        return waits
