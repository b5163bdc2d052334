"""Short ways to play traces on simulated machines, with what must hold of every history."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec

from benchmarks.simulation.machine import Machine, Watch
from benchmarks.simulation.simulation import History, Record, Simulation
from benchmarks.simulation.traffic import Ask, Trace
from fairlead.engine.messages import Scheduling

CHECK_EVERY = 16
"""Steps between two looks at the scheduler's integrity: each look takes longer than a step."""


def play(
    trace: Trace,
    machine: Machine,
    scheduling: Scheduling | None = None,
    *,
    until: float = float("inf"),
    page_count: int = 1024,
    context_length: int = 8192,
    seed: int = 0,
    watch: Watch | None = None,
) -> History:
    """Play a trace; AssertionError where the scheduler contradicts itself, loses a request or keeps a page."""
    simulation = Simulation(
        trace,
        machine,
        scheduling,
        page_count=page_count,
        context_length=context_length,
        seed=seed,
        watch=watch,
    )
    steps = itertools.count()

    def check() -> None:
        if next(steps) % CHECK_EVERY == 0:
            simulation.scheduler.check_integrity()

    history = simulation.run(until, check)
    simulation.scheduler.check_integrity()
    if until == float("inf"):
        assert all(record is not None and record.reason is not None for record in history.records), "one never ended"
        stats = history.stats
        assert (stats.running, stats.waiting) == (0, 0)
        assert stats.free_pages + stats.cached_pages == stats.total_pages == page_count, "pages are missing"
    return history


def steady(machine: Machine, noise: float = 0.01) -> Machine:
    """The machine with nothing else on it: no hiccups, little noise."""
    return msgspec.structs.replace(machine, hiccup_rate=0.0, noise=noise)


def lesson(machine: Machine) -> Trace:
    """What teaches a scheduler this machine: a long prompt, a short one, then many short ones.

    It has ended at `LEARNT_S`.
    """
    prompt = 512 if machine.layers_s(512) > 5 else 2000
    short = Ask(user="tutor", after=0, prompt_tokens=20, answer_tokens=12)
    tutors = [msgspec.structs.replace(short, after=1) for _ in range(8)]
    return [Ask(user="tutor", prompt_tokens=prompt, answer_tokens=12), short, *tutors]


LEARNT_S = 60.0
"""When a `lesson` has ended, in virtual seconds, on the slowest of the machines."""


def alone(ask: Ask, machine: Machine) -> Record:
    """What an ask comes to on an idle machine that has been learnt."""
    record = play([*lesson(machine), msgspec.structs.replace(ask, at=LEARNT_S)], machine).records[-1]
    assert record is not None
    return record


def ttft(record: Record | None) -> float:
    """Seconds to the first token of a request that had one."""
    assert record is not None
    assert record.ttft is not None
    return record.ttft


def rate(records: Sequence[Record]) -> float:
    """Tokens a second while these answers stream, on average over their tokens."""
    spans = [(len(record.drawn) - 1, record.drawn[-1] - record.drawn[0]) for record in records if len(record.drawn) > 1]
    return sum(count for count, _ in spans) / sum(seconds for _, seconds in spans)
