"""Turns with a clock and a memory of the tests' own: what loads come, in what order, and who waits how long."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.service.room import Resident
from fairlead.service.turns import Ask, House, Turn, Turns

LOAD_S = 3.0


@dataclass
class Computer:
    """Memory for `room` models at once, on which each request takes its time and loads take `LOAD_S`."""

    turns: Turns
    room: int = 1
    now: float = 0.0
    models: dict[str, Resident] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    waits: dict[Ask, float] = field(default_factory=dict)

    def play(self, requests: Iterable[tuple[float, str, str, float]]) -> None:
        """Requests of (arrival, model, user, seconds) to their end."""
        counter = itertools.count()
        events: list[tuple[float, int, str, tuple[str, str, float]]] = []
        lengths: dict[Ask, float] = {}
        for at, model, user, takes in requests:
            heapq.heappush(events, (at, next(counter), "arrives", (model, user, takes)))

        def start(model: str, takes: float) -> None:
            self.running[model] = self.running.get(model, 0) + 1
            heapq.heappush(events, (self.now + takes, next(counter), "ends", (model, "", 0)))

        def admit() -> None:
            for model, asks in self.turns.asked.items():
                if model in self.models and not self.turns.is_closed(model):
                    for ask in asks:
                        self.turns.withdraw(ask)
                        self.waits[ask] = self.now - ask.since
                        start(model, lengths[ask])

        for step in itertools.count():
            assert step < 10_000, "it never ends"
            turn = self.look()
            admit()
            if turn.load is not None:
                self.load(turn)
                admit()
                continue
            if not events:
                if turn.look_again_at is None:
                    break
                self.now = turn.look_again_at
                continue
            if turn.look_again_at is not None and turn.look_again_at < events[0][0]:
                self.now = turn.look_again_at
                continue
            at, _, kind, (model, user, takes) = heapq.heappop(events)
            self.now = max(self.now, at)
            if kind == "ends":
                self.running[model] -= 1
                self.models[model] = replace(self.models[model], used_at=self.now)
            elif model in self.models and not self.turns.is_closed(model):
                start(model, takes)
            else:
                lengths[self.turns.ask(model, user, at)] = takes
        assert not self.turns.asked, "somebody still waits"

    def look(self) -> Turn:
        residents = [replace(model, busy=self.running.get(model.name, 0) > 0) for model in self.models.values()]
        needs = dict.fromkeys(self.turns.asked, 1)
        return self.turns.next(self.now, House(self.room - len(self.models), residents, needs))

    def load(self, turn: Turn) -> None:
        assert turn.load is not None
        for name in turn.leave:
            assert not self.running.get(name), "an answer was cut off"
            stayed = self.now - self.models.pop(name).loaded_at
            assert stayed >= 2.0 - 1e-9  # a difference of sums
        self.turns.charge(turn.load, LOAD_S)
        self.now += LOAD_S
        self.loads.append(turn.load)
        self.models[turn.load] = Resident(turn.load, 1, LOAD_S, loaded_at=self.now, used_at=self.now)
        assert len(self.models) <= self.room


@pytest.fixture
def turns() -> Turns:
    return Turns(longest_wait_s=15.0, shortest_stay_s=2.0)


def test_requests_that_alternate_cost_two_loads(turns: Turns) -> None:
    computer = Computer(turns)
    computer.play((0.1 * number, "AB"[number % 2], "u", 0.5) for number in range(6))
    assert computer.loads == ["A", "B"]


def test_both_stay_where_there_is_room_for_both(turns: Turns) -> None:
    computer = Computer(turns, room=2)
    computer.play((4.0 * number, "AB"[number % 2], "u", 0.5) for number in range(20))
    assert computer.loads == ["A", "B"]


def test_who_waits_long_enough_gets_a_turn_beside_a_model_that_is_never_idle(turns: Turns) -> None:
    computer = Computer(turns)
    busy = [(0.5 * number, "A", "many", 1.0) for number in range(200)]
    computer.play([*busy, (5.0, "B", "one", 1.0)])
    assert computer.loads == ["A", "B", "A"]
    waited = next(wait for ask, wait in computer.waits.items() if ask.model == "B")
    assert 15.0 <= waited <= 15.0 + 1.0 + LOAD_S
    assert max(computer.waits.values()) <= 15.0 + 2.0 + 2 * LOAD_S


def test_a_model_that_was_just_loaded_stays_although_others_wait(turns: Turns) -> None:
    turns.ask("B", "u", 0.0)
    house = House(0, [Resident("A", 1, LOAD_S, loaded_at=0.0, used_at=0.0)], {"B": 1})
    assert turns.next(1.0, house) == Turn(look_again_at=2.0)
    assert turns.next(2.0, house) == Turn(load="B", leave=("A",))


def test_one_user_with_many_wishes_does_not_hold_up_another(turns: Turns) -> None:
    computer = Computer(turns)
    greedy = [(0.01 * number, f"model{number}", "greedy", 0.1) for number in range(10)]
    computer.play([*greedy, (0.5, "modest", "modest", 0.1)])
    assert computer.loads.index("modest") <= 2  # behind what was being loaded when it came, and one more


def test_a_model_that_is_already_coming_is_left_alone(turns: Turns) -> None:
    turns.ask("A", "u", 0.0)
    assert turns.next(0.0, House(10, [], {})) == Turn()


def test_what_can_never_fit_is_said_and_does_not_hold_up_others(turns: Turns) -> None:
    for model in ("huge", "small"):
        turns.ask(model, "u", 0.0)
    pinned = Resident("pinned", 5, LOAD_S, loaded_at=-9, used_at=-9, pinned=True)
    house = House(2, [pinned], {"huge": 6, "small": 2})
    assert turns.next(0.0, house) == Turn(load="small", impossible=("huge",))


def test_one_that_is_closed_opens_again_when_nobody_waits_any_more(turns: Turns) -> None:
    ask = turns.ask("B", "u", 0.0)
    house = House(0, [Resident("A", 1, LOAD_S, loaded_at=0.0, used_at=0.0, busy=True)], {"B": 1})
    turns.next(15.0, house)
    assert turns.is_closed("A")
    turns.withdraw(ask)
    turns.next(15.5, house)
    assert not turns.is_closed("A")


def test_charges_do_not_grow_without_bound(turns: Turns) -> None:
    for number in range(5000):
        ask = turns.ask("A", f"user{number}", 0.0)
        turns.charge("A", 1.0)
        turns.withdraw(ask)
    assert len(turns._charges) <= 4097


@settings(max_examples=60)
@given(
    room=st.integers(1, 3),
    requests=st.lists(
        st.tuples(
            st.floats(0, 60), st.sampled_from("ABCD"), st.sampled_from(["ann", "bob", "cat"]), st.floats(0.01, 5)
        ),
        max_size=40,
    ),
)
def test_everybody_is_served_and_nobody_is_cut_off(room: int, requests: list[tuple[float, str, str, float]]) -> None:
    computer = Computer(Turns(longest_wait_s=15.0, shortest_stay_s=2.0), room)
    computer.play(requests)
    # Each wait is bounded by the turns of the other models: their longest wait, what runs, and their loads.
    assert max(computer.waits.values(), default=0.0) <= 4 * (15.0 + 5.0 + 2.0 + LOAD_S)
