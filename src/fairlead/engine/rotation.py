"""What those who were served much leave to those who were served little, step by step.

All running answers get a row in every step, while no client has got far ahead of another. Where one has, his
answers take turns, and his prompts are read in the time that this saves: so whoever is behind him keeps a
good part of the pace that he would have alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.engine.fairness import Client
from fairlead.engine.pace import Pace
from fairlead.engine.request import Request

SLACK = 64.0
"""A client is ahead whose counter is more than this above another's: some tens of tokens, which no reader notices."""

ROWS_SLOWDOWN = 2.5
"""Those ahead get more rows than their least while the step takes no longer than this many times what one row takes."""

SLOWDOWN = 2.75
"""On average steps take this many times as long, prompts included: whoever is behind keeps 36% of his pace alone."""

SAVED_S = 0.05
"""So much time can be saved up to read prompts of those ahead: a gap in a stream that no reader sees."""


class Rotation:
    """Who is ahead of whom, and how much time there is for him.

    Args:
        pace: how long steps take.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._answers: Sequence[Request] = ()
        self._behind: Client | None = None
        self._step = 0
        self._row_s = 0.0
        self._saved_s = 0.0

    def begin(self, answers: Sequence[Request], step: int) -> None:
        """Begin the step of this number, in which the next tokens of these are due, in order of admission."""
        self._step = step
        self._answers = answers
        clients = dict.fromkeys(request.client for request in answers)  # in an order that is the same every time
        self._behind = min(clients, key=lambda client: client.counter) if len(clients) > 1 else None
        if self._behind is not None:
            self._row_s = self._pace.predict(1, min(len(request.tokens) for request in answers))

    def end(self, seconds: float) -> None:
        """Note how long the step took."""
        if self._behind is None:
            self._saved_s = 0.0
        else:
            self._saved_s = min(self._saved_s + SLOWDOWN * self._row_s - seconds, SAVED_S)

    def ahead(self, client: Client) -> bool:
        """Whether a client has got ahead of another who has answers running."""
        return self._behind is not None and client.standing - self._behind.standing > SLACK

    def favours(self, client: Client) -> bool:
        """Whether a client's prompts are more urgent than others': he has no answer, or is the one behind."""
        return client is self._behind or not client.answering

    def saved_s(self, client: Client) -> float | None:
        """How long a step may read a client's prompts for the sake of those behind him; None where nobody is."""
        return max(self._saved_s, 0.0) if self.ahead(client) else None

    def rows(self, newcomer: Request | None, limit_s: float) -> list[Request]:
        """Those who get a row, in order of admission.

        Of a client who is ahead it is the one served longest ago, and as many more as there is time for. Where
        a newcomer's whole prompt fits into a step of `limit_s` seconds if others have fewer rows, all clients
        have their fewest: he has his first token at once, and they their next ones a little later.
        """
        rows = self._rows_in_time() if any(self.ahead(request.client) for request in self._answers) else self._answers
        if newcomer is None:
            return list(rows)
        fewest = self._fewest(rows)
        context = sum(len(request.tokens) for request in fewest) + len(newcomer.tokens) ** 2 // 2
        fits = self._pace.predict(len(fewest) + newcomer.uncomputed, context) <= limit_s
        return fewest if fits else list(rows)

    def _rows_in_time(self) -> list[Request]:
        """All of those who are behind, and of those ahead their least and what else there is time for."""
        chosen = {request for request in self._answers if not self.ahead(request.client)}
        others = [request for request in self._answers if request not in chosen]
        others.sort(key=lambda request: (request.client.counter, request.served, request.number))
        chosen.update({request.client: request for request in reversed(others)}.values())
        context = sum(len(request.tokens) for request in chosen)
        for request in others:
            if request not in chosen:
                context += len(request.tokens)
                if self._pace.predict(len(chosen) + 1, context) > ROWS_SLOWDOWN * self._row_s:
                    break
                chosen.add(request)
        return [request for request in self._answers if request in chosen]

    def _fewest(self, rows: Sequence[Request]) -> list[Request]:
        """Of each client the answer served longest ago, and any that had no row in the step before."""
        oldest = sorted(rows, key=lambda request: (request.served, request.number), reverse=True)
        firsts = {request.client: request for request in oldest}
        return [request for request in rows if request.served < self._step - 1 or firsts[request.client] is request]
