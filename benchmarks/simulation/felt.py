"""What people would have felt: a history in figures."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from benchmarks.simulation.simulation import History, Record

PROMPT_PRICE, ANSWER_PRICE = 1, 2
"""What a token counts in a user's share of the service, as in the scheduler's own counters."""


class Spread(msgspec.Struct, frozen=True):
    """Percentiles by nearest rank, in seconds."""

    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread | None:
        """None where nothing was measured."""
        ordered = sorted(seconds)
        if not ordered:
            return None
        return cls(*(ordered[round(share * (len(ordered) - 1))] for share in (0.5, 0.9, 0.99, 1.0)))


class Felt(msgspec.Struct, frozen=True, kw_only=True):
    """One user's side of it, or all users'."""

    requests: int
    ends: dict[str, int]
    """How many ended for which reason; those that had not are "unfinished"."""
    ttft_s: Spread | None
    gap_s: Spread | None
    queue_s: Spread | None
    """From arrival to the first step that computed some of it."""
    tokens_per_s: float | None
    """Of an answer while it streams: the median."""
    tokens: int
    """Drawn in all."""
    cached: float
    """The share of the prompts' tokens that was found computed, among requests that finished."""
    service: float
    """The share of the machine's work: prompt tokens computed, and twice the tokens drawn."""


class Overall(msgspec.Struct, frozen=True, kw_only=True):
    """The machine's side of it."""

    seconds: float
    busy: float
    """The share of the time in which it computed."""
    answer_tokens_per_s: float
    work_per_s: float
    """Prompt tokens that arrived in requests that finished, and twice the tokens drawn: what it got done."""
    steps: int
    step_s: Spread | None
    rows: float
    """Of a step, on average."""
    over_budget: float
    """The share of steps that took more than 1.2 times their budget."""
    computed_tokens: int
    prompt_tokens: int
    """That arrived."""
    cached_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    preemptions: int


class Report(msgspec.Struct, frozen=True):
    """A whole history in figures."""

    overall: Overall
    everyone: Felt
    users: dict[str, Felt]


def report(history: History) -> Report:
    """What a history comes to."""
    records = history.asked
    total = _work(records)
    users = sorted({record.ask.user for record in records})
    return Report(
        overall=_overall(history),
        everyone=_felt(records, total),
        users={user: _felt(history.of(user), total) for user in users},
    )


def _felt(records: Sequence[Record], total: float) -> Felt:
    finished = [record for record in records if record.usage is not None]
    prompts = sum(record.usage.prompt_tokens for record in finished if record.usage)
    cached = sum(record.usage.cached_tokens for record in finished if record.usage)
    rates = [
        (len(record.drawn) - 1) / (record.drawn[-1] - record.drawn[0])
        for record in records
        if len(record.drawn) > 1 and record.drawn[-1] > record.drawn[0]
    ]
    return Felt(
        requests=len(records),
        ends=dict(sorted(Counter(record.reason or "unfinished" for record in records).items())),
        ttft_s=Spread.of(record.ttft for record in records if record.ttft is not None),
        gap_s=Spread.of(gap for record in records for gap in record.gaps),
        queue_s=Spread.of(record.timing.queue_s for record in records if record.timing),
        tokens_per_s=statistics.median(rates) if rates else None,
        tokens=sum(len(record.drawn) for record in records),
        cached=cached / prompts if prompts else 0.0,
        service=_work(records) / total if total else 0.0,
    )


def _work(records: Sequence[Record]) -> float:
    """Work done for some requests; a decode row is one of the tokens computed and counts with its draw."""
    drawn = sum(len(record.drawn) for record in records)
    computed = sum(record.computed for record in records)
    return PROMPT_PRICE * max(0, computed - drawn) + ANSWER_PRICE * drawn


def _overall(history: History) -> Overall:
    records, stats = history.asked, history.stats
    seconds = history.seconds or 1.0
    drawn = sum(len(record.drawn) for record in records)
    done = sum(len(record.prompt) for record in records if record.usage is not None)
    return Overall(
        seconds=history.seconds,
        busy=sum(taken for taken, _ in history.steps) / seconds,
        answer_tokens_per_s=drawn / seconds,
        work_per_s=(PROMPT_PRICE * done + ANSWER_PRICE * drawn) / seconds,
        steps=len(history.steps),
        step_s=Spread.of(taken for taken, _ in history.steps),
        rows=statistics.fmean(rows for _, rows in history.steps) if history.steps else 0.0,
        over_budget=stats.over_budget / max(1, stats.steps),
        computed_tokens=sum(record.computed for record in records),
        prompt_tokens=sum(len(record.prompt) for record in records),
        cached_tokens=stats.cached_tokens,
        drafted_tokens=stats.drafted_tokens,
        accepted_tokens=stats.accepted_tokens,
        preemptions=stats.preemptions,
    )
