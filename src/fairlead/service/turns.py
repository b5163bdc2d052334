"""Whose turn it is where models cannot be in memory together. A plain state machine: no clock, no I/O.

Requests for a model that is not loaded wait as `Ask`s. They are grouped: one load serves all that ask for the
model. A model that was loaded stays for a shortest time, so that requests that alternate do not have it loaded each
time. While nobody runs on it, it may leave after that; where somebody always does, those who wait for its memory
bear that up to a longest wait, and then it is closed: new requests for it wait in their turn, what runs ends, and it
leaves. Which model comes next is fair between users: each load is charged to the users who asked for it, and the
user charged least comes first (after the virtual counters of Sheng et al., OSDI 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fairlead.service.room import Resident, make_room

_MOST_USERS: Final = 4096
"""Charges that are remembered; of users without an ask the least charged are forgotten first."""


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """A request that waits for a model."""

    model: str
    user: str
    since: float


@dataclass(frozen=True, slots=True)
class House:
    """What there is, in bytes: free memory, the models in it, and what others would need.

    Models that are asked for and have no need here are on their way already.
    """

    free_bytes: int
    residents: Sequence[Resident]
    needs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Turn:
    """What to do now."""

    load: str | None = None
    """Load this model; the memory is there, or will be once `leave` have left, who are idle."""
    leave: tuple[str, ...] = ()
    impossible: tuple[str, ...] = ()
    """Models that are asked for and would not fit if all others left that may leave."""
    look_again_at: float | None = None
    """When to ask again; None: when something has changed."""


class Turns:
    """The asks, and the order in which models come.

    Args:
        longest_wait_s: after which models in the way take no new requests.
        shortest_stay_s: that each loaded model has.
    """

    def __init__(self, *, longest_wait_s: float, shortest_stay_s: float) -> None:
        self._longest_wait_s = longest_wait_s
        self._shortest_stay_s = shortest_stay_s
        self._asks: list[Ask] = []
        self._charges: dict[str, float] = {}
        self._closed: frozenset[str] = frozenset()

    @property
    def asked(self) -> dict[str, list[Ask]]:
        """The asks by model, in order of arrival."""
        by_model: dict[str, list[Ask]] = {}
        for ask in self._asks:
            by_model.setdefault(ask.model, []).append(ask)
        return by_model

    def is_closed(self, model: str) -> bool:
        """Whether new requests for this model have to wait, although it is loaded."""
        return model in self._closed

    def ask(self, model: str, user: str, now: float) -> Ask:
        """A request waits from now on."""
        others = {ask.user for ask in self._asks}
        if user not in others:  # whoever comes back starts with the least charged of those who wait
            least = min((self._charges.get(other, 0.0) for other in others), default=0.0)
            self._charges[user] = max(self._charges.get(user, 0.0), least)
        ask = Ask(model, user, now)
        self._asks.append(ask)
        return ask

    def withdraw(self, ask: Ask) -> None:
        """A request waits no more; may be called twice."""
        if ask in self._asks:
            self._asks.remove(ask)

    def charge(self, model: str, cost_s: float) -> None:
        """A model was loaded for those who ask for it now: they share the cost."""
        users = {ask.user for ask in self._asks if ask.model == model}
        for user in users:
            self._charges[user] = self._charges.get(user, 0.0) + cost_s / len(users)
        if len(self._charges) > _MOST_USERS:
            waiting = {ask.user for ask in self._asks}
            idle = sorted(self._charges.keys() - waiting, key=lambda user: self._charges[user])
            for user in idle[: len(self._charges) - _MOST_USERS]:
                del self._charges[user]

    def next(self, now: float, house: House) -> Turn:
        """What to do now; says anew which models are closed."""
        closed, self._closed = self._closed, frozenset()
        resident = {resident.name for resident in house.residents}
        asked = {model: asks for model, asks in self.asked.items() if model in house.needs.keys() - resident}
        most = house.free_bytes + sum(other.size_bytes for other in house.residents if not other.pinned)
        impossible = tuple(model for model in asked if house.needs[model] > most)
        order = sorted(
            (model for model in asked if model not in impossible), key=lambda model: self._rank(asked[model])
        )
        if not order:
            return Turn(impossible=impossible)
        for model in order:
            if house.needs[model] <= house.free_bytes:
                return Turn(load=model, impossible=impossible)
        lacking = house.needs[order[0]] - house.free_bytes
        turn = self._make_way(asked[order[0]], lacking, now, house.residents, closed)
        return replace(turn, impossible=impossible)

    def _make_way(
        self, asks: Sequence[Ask], lacking: int, now: float, residents: Sequence[Resident], closed: frozenset[str]
    ) -> Turn:
        """Have those leave for the model asked for that may; or close them, rather those closed before; or wait."""
        stayed = [other for other in residents if now >= other.loaded_at + self._shortest_stay_s]
        idle = make_room((other for other in stayed if not other.busy), lacking, now)
        if idle is not None:
            self._closed = frozenset(other.name for other in idle)
            return Turn(load=asks[0].model, leave=tuple(other.name for other in idle))
        overdue_at = min(ask.since for ask in asks) + self._longest_wait_s
        if now >= overdue_at:
            still = [other for other in stayed if other.name in closed]
            leaving = make_room(still, lacking, now) or make_room(stayed, lacking, now) or ()
            self._closed = frozenset(other.name for other in leaving)
        changes = [other.loaded_at + self._shortest_stay_s for other in residents] + [overdue_at]
        return Turn(look_again_at=min((at for at in changes if at > now), default=None))

    def _rank(self, asks: Sequence[Ask]) -> tuple[float, float]:
        """The charge of its least charged user, then the oldest ask."""
        return min(self._charges[ask.user] for ask in asks), asks[0].since
