"""When those who wait will begin, as far as it can be told from what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.engine.messages import Waiting
from fairlead.engine.request import Request

STAY_STEP = 0.1
"""How far one request that ends moves the mean of how long they run."""

LEAST_LEFT = 0.1
"""Who has run longer than the mean is expected to run for this share of it more: most that overstay end soon."""


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
        self,
        queue: Sequence[Request],
        *,
        openings: int,
        running: Sequence[Request],
        prefill_rate: float | None,
        now: float,
    ) -> list[Waiting]:
        """The place and the expected wait of each that waits.

        One begins when the prompts before it are read, and when as many others have left as must before there is
        an opening: those who run, each in its time, and after them those who came in their places.

        Args:
            queue: those who wait, in the order in which they will begin.
            openings: how many can begin without anybody leaving.
            running: those who run.
            prefill_rate: tokens that are computed a second, or None where that is not known.
            now: seconds on the clock of the requests.
        """
        unread = sum(request.uncomputed for request in running)
        leaves = sorted(self.remaining_s(request, now) for request in running)
        waits: list[Waiting] = []
        for position, request in enumerate(queue):
            wait_s = math.inf if prefill_rate is None else unread / prefill_rate
            leavers = position + 1 - openings
            if leavers > 0:
                wait_s = max(wait_s, self._leaving_s(leaves, leavers))
            waits.append(Waiting(request.id, request.client.id, position, wait_s if wait_s < math.inf else None))
            unread += len(request.tokens)
        return waits

    def remaining_s(self, request: Request, now: float) -> float:
        """How long a request will run yet: as others have, but no longer than its answer may; inf if unknown."""
        if self.stay_s is None:
            as_others = math.inf
        else:
            as_others = max(self.stay_s - (now - request.admitted), LEAST_LEFT * self.stay_s)
        gaps = len(request.tokens) - request.prompt_length - 1
        if request.answered is None or gaps < 1:
            return as_others
        return min(as_others, (request.length_limit - len(request.tokens)) * (now - request.answered) / gaps)

    def _leaving_s(self, leaves: Sequence[float], leavers: int) -> float:
        """When so many will have left, where those who run leave at these times and their successors after a stay."""
        if not leaves:
            return math.inf
        rounds, place = divmod(leavers - 1, len(leaves))
        if rounds and self.stay_s is None:
            return math.inf
        return leaves[place] + rounds * (self.stay_s or 0.0)
