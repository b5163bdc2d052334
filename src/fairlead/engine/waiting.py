"""The requests that hold no pages, in the order in which their turns come.

Owns the order of turns, and the waiting lines, two for each client: one of those that give way to everybody
(low priority) and one of the others. Within a line the order never changes; between clients it follows their
counters.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator

from fairlead.engine.fairness import PROMPT_PRICE, Client
from fairlead.engine.messages import Policy
from fairlead.engine.request import RANKS, Request

Turn = tuple[bool, float, int, int, int]
"""What orders requests: the least is first."""


def turn(request: Request, now: float, policy: Policy, ahead: float = 0.0) -> Turn:
    """When a request's turn to be read comes.

    By arrival alone where the policy is "fcfs". Else those that give way come last; then the client's standing
    decides, raised by what is `ahead` of the request in its own line; between equals the client who runs the
    fewest comes first; and a client's own requests come by priority and arrival.
    """
    if policy == "fcfs":
        return False, 0.0, 0, 0, request.number
    gives_way = request.gives_way(now)
    rank = request.rank if gives_way else min(request.rank, RANKS["normal"])
    return gives_way, request.client.standing + ahead, request.client.running, rank, request.number


FAR_AHEAD = 2048.0
"""Only beyond this is it fairer to stop the one who was served most than the one who began last: what is stopped has to
be computed again, and clients who are about equal would take turns in that."""


def first_to_stop(running: Collection[Request], now: float, policy: Policy) -> Request:
    """Who has to wait again when pages run out: who began last; of a client who is far ahead before others."""
    if policy == "fcfs":
        return max(running, key=lambda request: request.admission)
    least = min(request.client.counter for request in running)

    def order(request: Request) -> tuple[bool, float, int]:
        return request.gives_way(now), max(0.0, request.client.counter - least - FAR_AHEAD), request.admission

    return max(running, key=order)


class WaitingQueue:
    """Requests that wait for pages.

    Args:
        policy: by whose order.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy: Policy = policy
        self._lines: dict[tuple[Client, bool], list[Request]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Request]:
        for line in self._lines.values():
            yield from line

    def push(self, request: Request) -> None:
        """Let a request wait: a preempted one before its client's later ones, as its number says."""
        insort(self._lines.setdefault(_line(request), []), request, key=self._place)
        self._length += 1

    def remove(self, request: Request) -> None:
        """Take a request out, wherever it stands. KeyError where it does not wait."""
        line = self._lines[_line(request)]
        place = bisect_left(line, self._place(request), key=self._place)
        if place == len(line) or line[place] is not request:
            raise KeyError(request.id)
        del line[place]
        self._length -= 1
        if not line:
            del self._lines[_line(request)]

    def heads(self) -> list[Request]:
        """The first of each line."""
        return [line[0] for line in self._lines.values()]

    def next_of(self, request: Request) -> Request | None:
        """The first of the line in which a request has waited."""
        line = self._lines.get(_line(request))
        return line[0] if line else None

    def expected(self, now: float) -> list[Request]:
        """All, in the order in which they would begin if nobody else came and answers cost nothing."""
        turns: list[tuple[Turn, Request]] = []
        for line in self._lines.values():
            ahead = 0.0
            for request in line:
                turns.append((turn(request, now, self._policy, ahead), request))
                ahead += len(request.tokens) * PROMPT_PRICE / request.weight
        turns.sort(key=lambda entry: entry[0])
        return [request for _, request in turns]

    def _place(self, request: Request) -> tuple[int, int]:
        return (0 if self._policy == "fcfs" else request.rank), request.number


def _line(request: Request) -> tuple[Client, bool]:
    return request.client, request.rank == RANKS["low"]
