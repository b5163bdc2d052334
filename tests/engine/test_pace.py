"""Learning how long steps take, on invented machines."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from fairlead.engine.pace import Pace

Seconds = Callable[[int, float], float]


def straight(rows: int, attended: float) -> float:
    return 0.004 + 0.0002 * rows + 1e-7 * attended


def by_kernels(rows: int, attended: float) -> float:
    """Few rows cost one pass over the weights; others take over at 9 and at 33."""
    return (0.02 if rows <= 8 else 0.03 + 0.001 * rows if rows <= 32 else 0.06 + 0.0008 * rows) + 1e-6 * attended


MACHINES = [straight, by_kernels]


def taught(machine: Seconds, steps: int = 400, noise: float = 0.0, seed: int = 1) -> Pace:
    """A pace that has seen steps of all kinds."""
    chance = random.Random(seed)
    pace = Pace()
    for _ in range(steps):
        rows = min(512, int(2 ** chance.uniform(0, 9.1)))
        attended = rows * chance.uniform(0, 500)
        pace.learn(rows, attended, machine(rows, attended) * (1 + noise * chance.uniform(-1, 1)))
    return pace


def test_nothing_is_known_at_first() -> None:
    pace = Pace()
    assert pace.predict(10, 100) == 0
    assert pace.prefill_rate() is None


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("rows", [1, 3, 8, 16, 30, 64, 200, 512])
def test_it_predicts_what_it_has_seen(machine: Seconds, rows: int) -> None:
    pace = taught(machine, steps=1000, noise=0.05)
    attended = rows * 250
    assert pace.predict(rows, attended) == pytest.approx(machine(rows, attended), rel=0.35)


@pytest.mark.parametrize("machine", MACHINES)
def test_two_classes_are_enough_for_the_first_guess(machine: Seconds) -> None:
    pace = Pace()
    for _ in range(5):
        pace.learn(1, 100, machine(1, 100))
        pace.learn(512, 512 * 256, machine(512, 512 * 256))
    for rows in (8, 64, 200):
        assert pace.predict(rows, rows * 100) == pytest.approx(machine(rows, rows * 100), rel=0.5)


@pytest.mark.parametrize("machine", MACHINES)
def test_more_rows_than_were_seen_are_thought_dearer_than_they_are(machine: Seconds) -> None:
    pace = Pace()
    for _ in range(20):
        pace.learn(32, 32 * 100, machine(32, 32 * 100))
    assert machine(64, 6400) <= pace.predict(64, 6400) <= 2 * machine(32, 3200) + 1e-9
    assert machine(512, 51200) <= pace.predict(512, 51200)


@pytest.mark.parametrize("machine", MACHINES)
def test_more_rows_are_never_thought_cheaper(machine: Seconds) -> None:
    pace = taught(machine, noise=0.3)
    times = [pace.predict(rows, 1000) for rows in range(1, 600)]
    assert min(times) > 0
    assert all(more >= 0.8 * fewer for fewer, more in itertools.pairwise(times))


def test_context_is_told_from_rows() -> None:
    """An answer grows from 100 tokens of context to 2,000; then one of 100 runs again."""
    pace = Pace()
    for context in range(100, 2000):
        pace.learn(1, context, straight(1, 20 * context))
    assert pace.predict(1, 2000) == pytest.approx(straight(1, 40000), rel=0.05)
    assert pace.predict(1, 100) == pytest.approx(straight(1, 2000), rel=0.3)


def test_one_step_that_was_held_up_changes_little() -> None:
    pace = taught(straight)
    before = pace.predict(4, 400)
    pace.learn(4, 400, 1.0)
    assert pace.predict(4, 400) < 1.5 * before
    for _ in range(10):
        pace.learn(4, 400, straight(4, 400))
    assert pace.predict(4, 400) == pytest.approx(before, rel=0.1)


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_it_follows_a_machine_that_changes(factor: float) -> None:
    pace = taught(straight)
    for _ in range(20):
        pace.learn(4, 400, factor * straight(4, 400))
        pace.learn(128, 12800, factor * straight(128, 12800))
    assert pace.predict(4, 400) == pytest.approx(factor * straight(4, 400), rel=0.15)
    assert pace.predict(128, 12800) == pytest.approx(factor * straight(128, 12800), rel=0.15)


def test_the_rate_of_reading_is_that_of_large_steps() -> None:
    pace = taught(straight)
    assert pace.prefill_rate() == pytest.approx(5000, rel=0.3)
    small = Pace()
    small.learn(4, 10, 0.01)
    assert small.prefill_rate() is None


def test_a_step_of_no_time_teaches_nothing() -> None:
    pace = Pace()
    pace.learn(4, 10, 0.0)
    assert pace.predict(4, 10) == 0
