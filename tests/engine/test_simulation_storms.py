"""Histories of every kind, on simulated machines: each request ends once, and the pages come back.

The simulation itself asserts that each answer is the one that belongs to its prompt, that nothing follows an end, and
that the scheduler never stands still; `play` that everything has ended and no page is missing.
"""

from __future__ import annotations

import random

import pytest

from benchmarks.simulation.felt import report
from benchmarks.simulation.presets import MACHINES, SMALL
from benchmarks.simulation.simulation import History
from benchmarks.simulation.traffic import TRAFFIC, Ask, Trace
from fairlead.engine.messages import Priority, Scheduling
from tests.engine.played import play

PRIORITIES: tuple[Priority, ...] = ("low", "normal", "high")


def storm(seed: int, requests: int = 120) -> Trace:
    """Asks of every kind: some too long, some given up, some that time out, chats, quotes and shared prefixes."""
    draw = random.Random(seed)
    trace: Trace = []
    for number in range(requests):
        after = draw.randrange(number) if number and draw.random() < 0.4 else None
        prefix_tokens = draw.choice((0, 0, 64, 100, 300))
        trace.append(
            Ask(
                user=f"user-{draw.randrange(6)}",
                at=draw.uniform(0, 8),
                after=after,
                think_s=draw.expovariate(2),
                continues=after is not None and draw.random() < 0.5,
                prompt_tokens=prefix_tokens + draw.choice((1, 3, 40, 150, 700, 1400)),
                answer_tokens=draw.choice((1, 2, 30, 120)),
                prefix=draw.choice("ab") if prefix_tokens else None,
                prefix_tokens=prefix_tokens,
                quoted=draw.choice((0.0, 0.0, 0.9)),
                priority=draw.choice(PRIORITIES),
                weight=draw.choice((0.5, 1.0, 3.0)),
                timeout_s=draw.choice((None, None, None, 2.0)),
                patience_s=draw.choice((None, None, 0.0, 0.3, 3.0)),
            )
        )
    return trace


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("page_count", [48, 400])
def test_every_request_ends_once_and_all_pages_come_back(seed: int, page_count: int) -> None:
    machine = list(MACHINES.values())[seed % len(MACHINES)]
    scheduling = Scheduling(policy="fcfs" if seed == 0 else "fair", max_running=(4, 16, 64)[seed % 3])
    history = play(storm(seed), machine, scheduling, page_count=page_count, context_length=2000, seed=seed)
    ends = {record.reason for record in history.asked}
    assert {"length", "cancelled", "timeout", "prompt_too_long"} <= ends
    for record in history.asked:
        if record.reason == "length":
            assert len(record.drawn) == min(len(record.answer), min(2000, page_count * 32) - len(record.prompt))


def test_when_pages_run_out_streams_pause_and_none_fails() -> None:
    """Twelve answers that come to need three times the pages there are."""
    trace = [Ask(user=f"user-{number % 3}", prompt_tokens=60, answer_tokens=600) for number in range(12)]
    history = play(trace, SMALL, page_count=80, context_length=1024)
    assert history.stats.preemptions > 0
    assert [record.reason for record in history.asked] == ["length"] * 12
    assert sum(record.computed for record in history.asked) <= 2.5 * 12 * 660, "most of the work is done over and over"


def test_one_who_asks_little_is_not_preempted_for_one_who_asks_much() -> None:
    trace = [Ask(user="flood", prompt_tokens=300, answer_tokens=500) for _ in range(10)]
    trace.append(Ask(user="light", at=1.0, prompt_tokens=50, answer_tokens=200))
    history = play(trace, SMALL, page_count=90, context_length=1024)
    (light,) = history.of("light")
    assert history.stats.preemptions > 0
    assert light.ttft is not None
    assert light.ttft < 0.5
    assert max(light.gaps) < 0.2


@pytest.mark.parametrize("patience_s", [0.0, 0.05, 0.5])
def test_a_storm_of_cancellations_gives_all_pages_back(patience_s: float) -> None:
    """In the queue, in prefill and in decoding; what is left in the tree is only what was computed."""
    trace = [
        Ask(
            user=f"user-{number % 5}",
            at=number * 0.002,
            prompt_tokens=500,
            answer_tokens=200,
            prefix="common",
            prefix_tokens=320,
            patience_s=patience_s + number % 7 * 0.01,
        )
        for number in range(200)
    ]
    history = play(trace, SMALL, page_count=200)
    assert all(record.reason == "cancelled" for record in history.asked)
    for record in history.asked:
        assert record.ended is not None
        assert all(at <= record.ended for at in record.drawn), "a token behind the end"


@pytest.mark.parametrize("kind", TRAFFIC)
def test_invented_traffic_is_served_and_told(kind: str) -> None:
    machine = SMALL
    trace = TRAFFIC[kind](random.Random(3), 30.0)
    found = report(play(trace, machine, page_count=2048))
    assert found.everyone.requests == len(trace) == sum(found.everyone.ends.values())
    assert sum(felt.service for felt in found.users.values()) == pytest.approx(1.0)
    assert found.overall.busy <= 1.0


def test_the_same_seed_plays_the_same() -> None:
    def times(history: History) -> list[list[float]]:
        return [record.drawn for record in history.asked]

    first, second, other = (times(play(storm(9, 40), SMALL, seed=seed)) for seed in (1, 1, 2))
    assert first == second != other
