"""Between clients: the bound of the paper on virtual token counters, and what people would feel."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.engine.fairness import FORGET_AFTER_S, Clients
from fairlead.engine.messages import Policy, Priority, Scheduling
from tests.engine.simulated import Machine

POLICIES: tuple[Policy, ...] = ("fair", "fcfs")
PRIORITIES: tuple[Priority, ...] = ("low", "normal", "high")


def test_a_client_who_comes_is_lifted_to_the_least_of_those_who_are_there() -> None:
    clients = Clients()
    busy, other = clients.enter(1, 0.0), clients.enter(2, 0.0)
    busy.charge_prompt(100, weight=1.0)
    other.charge_answer(200, weight=1.0)
    assert (busy.counter, other.counter) == (100, 400)
    assert clients.enter(3, 0.0).counter == 100
    assert clients.enter(2, 0.0).counter == 400, "only one who had nothing is lifted"


def test_absence_earns_no_credit_and_wipes_out_no_debt() -> None:
    clients = Clients()
    first = clients.enter(1, 0.0)
    first.charge_prompt(100, weight=1.0)
    clients.leave(first, 1.0)
    second = clients.enter(2, 2.0)
    assert second.counter == 100, "nobody was there: as the last who left"
    second.charge_prompt(50, weight=1.0)
    third = clients.enter(3, 3.0)
    third.charge_prompt(500, weight=1.0)
    clients.leave(third, 3.0)
    assert clients.enter(3, 4.0).counter == 650
    assert clients.enter(1, 4.0).counter == 150


def test_weights_divide_what_is_charged() -> None:
    client = Clients().enter(1, 0.0)
    client.charge_prompt(100, weight=4.0)
    client.charge_answer(100, weight=0.5)
    assert client.counter == 25 + 400
    assert (client.prefill_tokens, client.decode_tokens) == (100, 100)


def test_the_idle_are_forgotten() -> None:
    clients = Clients()
    clients.leave(clients.enter(1, 0.0), 10.0)
    clients.enter(2, 10.0 + FORGET_AFTER_S)
    assert [client.id for client in clients.known()] == [1, 2]
    clients.enter(3, 10.1 + FORGET_AFTER_S)
    assert [client.id for client in clients.known()] == [2, 3]


@settings(max_examples=12)
@given(
    seed=st.integers(0, 1 << 30), slots=st.integers(2, 12), lengths=st.sampled_from([(20, 20), (200, 20), (20, 100)])
)
def test_two_who_always_wait_are_served_alike_within_the_bound(seed: int, slots: int, lengths: tuple[int, int]) -> None:
    """Between any two moments the services of two backlogged clients differ by at most 2 max(w_p L, w_q M).

    L is the longest prompt and M how many tokens fit in the cache (the paper's theorem 4.4). A third client
    comes and goes. All runs together replay some thousands of arrivals.
    """
    chance = random.Random(seed)
    pages, page_size, longest = 8 * slots, 32, 200
    machine = Machine(pages=pages, page_size=page_size, batch=128, scheduling=Scheduling(max_running=slots))
    bound = 2 * max(longest, 2 * pages * page_size)
    differences: list[float] = []
    sent = 0
    while sent < 300:
        for client in (1, 2):
            while sum(load.waiting for load in machine.scheduler.loads() if load.client == client) < 3:
                prompt, answer = lengths if client == 1 else (chance.randint(1, longest), chance.randint(1, 60))
                machine.send(prompt, answer, client=client)
                machine.take_arrivals()
                sent += 1
        if chance.random() < 0.02:
            machine.send(chance.randint(1, longest), chance.randint(1, 60), client=3)
        machine.step()
        if len(differences) % 10 == 0:
            machine.scheduler.check_integrity()
        differences.append(machine.service(1) - machine.service(2))
    assert machine.service(1) > 2 * bound or machine.service(1) > 5000, "too little was served to tell"
    assert max(differences) - min(differences) <= bound


def backlog(machine: Machine, client: int, count: int, weight: float = 1.0, prompt: int = 64, answer: int = 64) -> None:
    for _ in range(count):
        machine.send(prompt, answer, client=client, weight=weight)


def test_weights_are_shares() -> None:
    machine = Machine(scheduling=Scheduling(max_running=8))
    backlog(machine, 1, 200, weight=1.0)
    backlog(machine, 2, 600, weight=3.0)
    machine.run(until=10.0)
    assert machine.service(2) / machine.service(1) == pytest.approx(3.0, rel=0.15)


def test_what_one_leaves_the_others_take() -> None:
    """Work conservation: whoever asks, the machine does as much as it would for one client alone."""
    served = []
    for clients in (1, 4):
        machine = Machine(scheduling=Scheduling(max_running=16))
        for number in range(256):
            machine.send(64, 64, client=number % clients)
        machine.run(until=5.0)
        served.append(sum(machine.service(client) for client in range(clients)))
    assert served[1] >= 0.97 * served[0]


@pytest.mark.parametrize("flood", [16, 40])
def test_a_flood_slows_only_itself(flood: int) -> None:
    """One keeps sending; another asks now and then, and gets his first token and his pace nearly as if alone."""
    lonely = Machine()
    alone = lonely.send(60, 60)
    lonely.run()

    machine = Machine(scheduling=Scheduling(max_running=16))
    backlog(machine, 1, flood * 20, prompt=60, answer=200)
    light = [machine.send(60, 60, client=2, at=at) for at in (2.0, 4.0, 6.0, 8.0)]
    machine.run(until=11.0)
    for story in light:
        assert story.ended is not None
        assert story.first_s <= max(0.150, 2 * alone.first_s)
        assert story.rate >= 0.35 * alone.rate


def test_fairness_costs_little_throughput() -> None:
    served = []
    for policy in POLICIES:
        machine = Machine(scheduling=Scheduling(policy=policy, max_running=17))
        backlog(machine, 1, 400, prompt=60, answer=200)
        for number in range(20):
            machine.send(60, 60, client=2, at=0.4 * number)
        machine.run(until=8.0)
        served.append(machine.service(1) + machine.service(2))
    assert served[0] >= 0.97 * served[1]


def test_in_order_of_arrival_whoever_asks() -> None:
    machine = Machine(scheduling=Scheduling(policy="fcfs", max_running=2))
    stories = [machine.send(64, 8, client=number % 2, priority=PRIORITIES[number % 3]) for number in range(12)]
    machine.run()
    firsts = [story.first_s for story in stories]
    assert firsts == sorted(firsts)


def test_priorities_order_ones_own_requests() -> None:
    machine = Machine(scheduling=Scheduling(max_running=1))
    low, normal, high = (machine.send(64, 8, priority=priority) for priority in PRIORITIES)
    machine.run()
    assert high.first_s < normal.first_s < low.first_s


def test_low_priority_gives_way_to_others_but_not_for_ever() -> None:
    machine = Machine(scheduling=Scheduling(max_running=1))
    backlog(machine, 1, 800, answer=10)
    low = machine.send(64, 8, client=2, priority="low", at=1.0)
    machine.run(until=30.0)
    assert low.times == []
    machine.run(until=33.0)
    assert low.ended is not None


def test_a_high_priority_takes_nothing_from_another_client() -> None:
    machine = Machine(scheduling=Scheduling(max_running=4))
    backlog(machine, 1, 200)
    for _ in range(200):
        machine.send(64, 64, client=2, priority="high")
    machine.run(until=8.0)
    assert machine.service(2) == pytest.approx(machine.service(1), rel=0.1)


def test_one_who_finds_all_places_taken_gets_that_of_the_one_far_ahead() -> None:
    machine = Machine(scheduling=Scheduling(max_running=4))
    backlog(machine, 1, 4, answer=2000)
    machine.run(until=1.0)
    newcomer = machine.send(64, 8, client=2)
    machine.run(until=2.0)
    assert newcomer.ended is not None
    assert machine.scheduler.preemptions == 1
    machine.run()
    assert all(story.ended is not None and len(story.times) in {8, 2000} for story in machine.stories.values())


def test_the_one_far_ahead_keeps_his_last_place() -> None:
    machine = Machine(scheduling=Scheduling(max_running=1))
    backlog(machine, 1, 1, answer=400)
    machine.run(until=0.5)
    newcomer = machine.send(64, 8, client=2)
    machine.run()
    assert machine.scheduler.preemptions == 0
    assert newcomer.ended is not None
