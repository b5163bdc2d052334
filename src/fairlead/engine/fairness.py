"""Whose turn it is: virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024).

What is computed for a client is charged to its counter, and the client with the least is served first. Between
two clients who always have work waiting, the service received can then differ only by a bound that does not
grow with time; and since a client who does nothing has no turn to take, nobody's time is kept free for the
absent. One who comes back is lifted to the least counter of those who are there: absence earns no credit.

Owns the clients and their counters; requests are ordered by them in `waiting.py` and `scheduler.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.engine.messages import ClientLoad

PROMPT_PRICE = 1.0
ANSWER_PRICE = 2.0
"""The paper's prices of a token. An answer's cost more: each takes a step, which it shares with few others."""

FIRST_TOKEN_CREDIT = 2048.0
"""One who has a single request, and no answer yet, is served as if his counter were this much lower: the first token
of somebody who has nothing comes before the further prompts of one who is being answered. It is one prompt of some
length; and two who always have requests waiting have none of it, so that the bound between them is the paper's."""

FORGET_AFTER_S = 60.0
"""An idle client is forgotten after this long: those it got ahead of have been served, or have gone."""


@dataclass(slots=True, eq=False)
class Client:
    """Someone among whom time is shared out.

    Attributes:
        id: the service's number for it.
        counter: price of what was computed for it, by weight; only differences mean anything.
        requests: how many it has that have not ended.
        running: how many of these hold pages.
        answering: whether one of them has had its first token.
        prefill_tokens: prompt tokens computed for it.
        decode_tokens: tokens drawn for it.
        left: when its last request ended.
    """

    id: int
    counter: float = 0.0
    requests: int = 0
    running: int = 0
    answering: bool = False
    prefill_tokens: int = 0
    decode_tokens: int = 0
    left: float = 0.0

    @property
    def standing(self) -> float:
        """What its turn depends on: the least comes first."""
        single = self.requests == 1 and not self.answering
        return self.counter - FIRST_TOKEN_CREDIT if single else self.counter

    def charge_prompt(self, tokens: int, weight: float) -> None:
        """Charge for prompt tokens computed."""
        self.prefill_tokens += tokens
        self.counter += tokens * PROMPT_PRICE / weight

    def charge_answer(self, tokens: int, weight: float) -> None:
        """Charge for tokens drawn."""
        self.decode_tokens += tokens
        self.counter += tokens * ANSWER_PRICE / weight


class Clients:
    """The clients who have requests, and those who had some lately."""

    def __init__(self) -> None:
        self._clients: dict[int, Client] = {}
        self._last_counter = 0.0  # of the client who left last

    def enter(self, client_id: int, now: float) -> Client:
        """The client of one more request; lifted, where it had none."""
        client = self._clients.get(client_id)
        if client is None:
            client = self._clients[client_id] = Client(client_id)
        if client.requests == 0:
            active = [other.counter for other in self._clients.values() if other.requests]
            client.counter = max(client.counter, min(active, default=self._last_counter))
        client.requests += 1
        self._forget(now)
        return client

    def leave(self, client: Client, now: float) -> None:
        """Note that a request of this client has ended."""
        client.requests -= 1
        if client.requests == 0:
            client.left = now
            self._last_counter = client.counter

    def known(self) -> list[Client]:
        """All who are remembered."""
        return list(self._clients.values())

    def loads(self) -> list[ClientLoad]:
        """What each of them has, and had."""
        return [
            ClientLoad(
                client=client.id,
                running=client.running,
                waiting=client.requests - client.running,
                prefill_tokens=client.prefill_tokens,
                decode_tokens=client.decode_tokens,
                counter=client.counter,
            )
            for client in self._clients.values()
        ]

    def _forget(self, now: float) -> None:
        for client in self.known():
            if not client.requests and client.left < now - FORGET_AFTER_S:
                del self._clients[client.id]
