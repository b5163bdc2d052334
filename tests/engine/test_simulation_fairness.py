"""Shares of the service on simulated machines, over thousands of random arrivals.

The bound is that of Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024, theorem 4.4: while two users
are both backlogged, what they are served differs by at most twice the larger of a prompt and of the tokens that fit in
the KV cache, at their prices.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import pytest

from benchmarks.simulation.machine import Machine
from benchmarks.simulation.presets import MACHINES, MEMORY, SMALL
from benchmarks.simulation.simulation import History, Simulation
from benchmarks.simulation.traffic import Ask, Trace, heavy_tailed, poisson
from fairlead.engine.messages import Priority, Scheduling
from fairlead.engine.runner import Chunk, Sampled
from tests.engine.played import play, ttft

PROMPT_PRICE, ANSWER_PRICE = 1, 2
LONGEST = 1000
PAGES, PAGE_SIZE = 256, 32
BOUND = 2 * max(PROMPT_PRICE * LONGEST, ANSWER_PRICE * PAGES * PAGE_SIZE)
CLOSE = 4000
"""What the gap really keeps below, an eighth of the bound: some prompts that are read whole, and their answers."""
LOOK_EVERY = 8
"""Steps between two looks at who is backlogged."""


class Service:
    """What each user was served, step by step, by the prices of the paper.

    `widest` is the widest that the gap between two users has become within a time in which both were backlogged: had
    requests that waited for their turn.
    """

    def __init__(self, users: tuple[str, str]) -> None:
        self._users = users
        self._served = dict.fromkeys(users, 0.0)
        self._weights: dict[str, float] = {}
        self._began: float | None = None
        self._lowest = self._highest = 0.0
        self.widest = 0.0
        self.backlogged_steps = 0
        self._steps = 0

    def play(self, trace: Trace, machine: Machine, scheduling: Scheduling, seed: int) -> History:
        """Play a trace and keep account."""
        computed: dict[int, int] = defaultdict(int)

        def watch(chunks: Sequence[Chunk], sampled: Sequence[Sampled], _seconds: float) -> None:
            for chunk in chunks:
                record = simulation.records[chunk.request_id]
                assert record is not None
                # What is computed once more after a preemption is nobody's to pay.
                end = min(chunk.start + len(chunk.tokens), len(record.prompt))
                fresh = max(0, end - max(chunk.start, computed[chunk.request_id]))
                computed[chunk.request_id] = max(computed[chunk.request_id], end)
                self._serve(record.ask, PROMPT_PRICE * fresh)
            for draw in sampled:
                record = simulation.records[draw.request_id]
                assert record is not None
                self._serve(record.ask, ANSWER_PRICE)

        simulation = Simulation(
            trace, machine, scheduling, page_count=PAGES, page_size=PAGE_SIZE, seed=seed, watch=watch
        )
        return simulation.run(after_step=lambda: self._look(simulation))

    def _serve(self, ask: Ask, price: float) -> None:
        if ask.user in self._served:
            self._served[ask.user] += price / ask.weight

    def _look(self, simulation: Simulation) -> None:
        self._steps += 1
        if self._steps % LOOK_EVERY:
            return
        waiting = {load.client for load in simulation.engine.stats().clients if load.waiting}
        if not all(simulation.clients[user] in waiting for user in self._users):
            self._began = None
            return
        self.backlogged_steps += LOOK_EVERY
        gap = self._served[self._users[0]] - self._served[self._users[1]]
        if self._began is None:
            self._began = self._lowest = self._highest = gap
        self._lowest, self._highest = min(self._lowest, gap), max(self._highest, gap)
        self.widest = max(self.widest, self._highest - self._lowest)


def random_arrivals(draw: random.Random, rates: dict[str, float], seconds: float, **about: float) -> Trace:
    """Open arrivals of several users, each with lengths of a kind of their own."""
    kinds = [(60, 120), (400, 20), (150, 60)]
    trace = []
    for (user, rate), (prompt, answer) in zip(rates.items(), kinds, strict=False):
        trace += [
            Ask(
                user=user,
                at=at,
                prompt_tokens=heavy_tailed(draw, prompt, 0.8, LONGEST),
                answer_tokens=heavy_tailed(draw, answer, 0.8, 300),
                weight=about.get(user, 1.0),
            )
            for at in poisson(draw, rate, seconds)
        ]
    return trace


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("machine_name", ["small", "memory"])
def test_two_backlogged_users_are_served_alike(machine_name: str, seed: int) -> None:
    machine = MACHINES[machine_name]
    trace = random_arrivals(random.Random(seed), {"talker": 6.0, "reader": 9.0, "other": 0.5}, 25.0)
    service = Service(("talker", "reader"))
    service.play(trace, machine, Scheduling(max_running=12), seed)
    assert service.backlogged_steps > 500, "they were not backlogged long enough to tell"
    assert service.widest <= BOUND
    assert service.widest <= CLOSE, f"{service.widest:.0f}"


def test_first_come_first_served_is_not_alike() -> None:
    """That the measure can fail: without fairness the gap grows as long as the backlog lasts."""
    trace = random_arrivals(random.Random(0), {"talker": 6.0, "reader": 3.0}, 25.0)
    service = Service(("talker", "reader"))
    service.play(trace, SMALL, Scheduling(policy="fcfs", max_running=12), seed=0)
    assert service.widest > CLOSE


def test_weights_are_shares() -> None:
    """With weight 3 somebody is served three times as much: by weight, both are served alike."""
    trace = random_arrivals(random.Random(5), {"heavy": 8.0, "light": 12.0}, 25.0, heavy=3.0)
    service = Service(("heavy", "light"))
    service.play(trace, SMALL, Scheduling(max_running=12), seed=5)
    assert service.backlogged_steps > 500
    assert service.widest <= CLOSE


def test_many_requests_of_one_user_are_one_share() -> None:
    """Eight users who each always have one request get the same rate, beside one who always has sixteen."""
    chains: Trace = []
    for number in range(8):
        for turn in range(12):
            after = len(chains) - 1 if turn else None
            chains.append(Ask(user=f"user-{number}", after=after, prompt_tokens=50, answer_tokens=60))
    crowd = [Ask(user="crowd", prompt_tokens=50, answer_tokens=60) for _ in range(16)]
    crowd += [Ask(user="crowd", after=len(chains) + number, prompt_tokens=50, answer_tokens=60) for number in range(64)]
    history = play([*chains, *crowd], MEMORY, until=30.0)
    drawn = {user: sum(len(record.drawn) for record in history.of(user)) for user in ("user-0", "user-7", "crowd")}
    assert drawn["user-0"] == pytest.approx(drawn["user-7"], rel=0.1)
    # Rows are cheap here, so the crowd's ride along: but never more than each of its requests could have alone.
    assert drawn["crowd"] <= 16 * 1.1 * drawn["user-0"]


def test_idling_earns_nothing() -> None:
    """Who comes back after a long pause does not first catch up with those who worked all the time."""
    busy = [Ask(user="busy", prompt_tokens=50, answer_tokens=200) for _ in range(4)]
    busy += [Ask(user="busy", after=number, prompt_tokens=50, answer_tokens=200) for number in range(60)]
    late = [Ask(user="late", at=10.0, prompt_tokens=50, answer_tokens=200) for _ in range(8)]
    trace = [Ask(user="late", prompt_tokens=20, answer_tokens=5), *late, *_moved(busy, 9)]
    history = play(trace, SMALL, Scheduling(max_running=8), until=13.0)
    after = {user: sum(at > 10.0 for record in history.of(user) for at in record.drawn) for user in ("busy", "late")}
    assert after["late"] <= 1.6 * after["busy"]


def _moved(trace: Trace, places: int) -> Trace:
    """The same asks, as many places further down a trace."""
    return [
        Ask(
            user=ask.user,
            after=None if ask.after is None else ask.after + places,
            prompt_tokens=ask.prompt_tokens,
            answer_tokens=ask.answer_tokens,
        )
        for ask in trace
    ]


# ---- nobody starves -------------------------------------------------------------------------------


def overload(priority: Priority) -> Trace:
    """Two users who send more than the machine can do, and one request that has its priority."""
    draw = random.Random(1)
    trace = random_arrivals(draw, {"one": 12.0, "two": 12.0}, 45.0)
    return [*trace, Ask(user="patient", at=2.0, prompt_tokens=200, answer_tokens=50, priority=priority)]


@pytest.mark.parametrize(("priority", "within_s"), [("high", 2.0), ("normal", 2.0), ("low", 33.0)])
def test_nobody_waits_for_ever(priority: Priority, within_s: float) -> None:
    history = play(overload(priority), SMALL, Scheduling(max_running=12), until=45.0, page_count=256)
    (patient,) = history.of("patient")
    assert patient.reason == "length"
    assert ttft(patient) <= within_s


def test_low_gives_way() -> None:
    """Beside others' requests a low one waits, and ends later than the same as a normal one."""
    ended: dict[Priority, float] = {}
    for priority in ("normal", "low"):
        (patient,) = play(overload(priority), SMALL, Scheduling(max_running=12), until=45.0).of("patient")
        assert patient.ended is not None
        ended[priority] = patient.ended
    assert ended["low"] > ended["normal"] + 5.0


def test_high_comes_first_among_ones_own_only() -> None:
    asks = [Ask(user="ann", prompt_tokens=300, answer_tokens=30) for _ in range(6)]
    asks.append(Ask(user="ann", at=0.01, prompt_tokens=300, answer_tokens=30, priority="high"))
    history = play(asks, SMALL, Scheduling(max_running=2))
    assert ttft(history.records[-1]) < sorted(map(ttft, history.records[:-1]))[2]
