"""Continuations behind a prefix: what they score, in how few steps, and beside whom."""

from __future__ import annotations

import asyncio
import random

import pytest

from fairlead.engine.client import EngineClient
from fairlead.engine.engine import Engine
from fairlead.engine.kv_cache import KVCache
from fairlead.engine.messages import Cancel, Event, Failed, Finished, Generate, Sampling, Score, Scored, Token
from fairlead.engine.scheduler import Scheduler
from tests.engine.conftest import StartFake
from tests.fakes import FakeRunner, Options, expected_answer, expected_score

LABELS = [[500], [501, 1], [501, 2, 3], [502, *range(30)], [503, 4]]


def engine_over(runner: FakeRunner) -> tuple[Engine, Scheduler]:
    cache = KVCache(runner.page_count, runner.page_size)
    scheduler = Scheduler(cache, context_length=256, max_batch_tokens=runner.max_batch_tokens)
    return Engine(scheduler, runner), scheduler


def run(engine: Engine, scheduler: Scheduler) -> list[Event]:
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
        scheduler.check_integrity()
    return events


def assert_scored(event: Event, command: Score) -> None:
    assert isinstance(event, Scored)
    assert event.counts == [len(tokens) for tokens in command.continuations]
    assert event.logprobs == pytest.approx([expected_score(command.tokens, c) for c in command.continuations])
    assert event.usage.prompt_tokens == len(command.tokens) + sum(event.counts)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 40])
def test_continuations_are_computed_side_by_side_behind_one_prefix(length: int) -> None:
    runner = FakeRunner()
    engine, scheduler = engine_over(runner)
    command = Score(id=1, tokens=list(range(length)), continuations=LABELS, client=3)
    assert engine.add(command) == []
    (event,) = run(engine, scheduler)
    assert_scored(event, command)
    rows = sum(len(tokens) - 1 for tokens in LABELS)
    assert scheduler.prefill_tokens == length + rows
    assert [load.prefill_tokens for load in scheduler.loads()] == [length + rows]
    assert engine.stats().steps == 2
    assert not runner.samplers
    assert scheduler.cache.free_pages + scheduler.cache.cached_pages == runner.page_count


def test_single_tokens_need_no_step_of_their_own() -> None:
    engine, scheduler = engine_over(FakeRunner())
    command = Score(id=1, tokens=[1, 2, 3], continuations=[[number] for number in range(900)])
    engine.add(command)
    (event,) = run(engine, scheduler)
    assert_scored(event, command)
    assert engine.stats().steps == 1


def test_the_next_text_finds_the_prefix_computed_and_branches_have_not_spoilt_it() -> None:
    engine, scheduler = engine_over(FakeRunner())
    shared = list(range(50))
    for number in (1, 2):
        command = Score(id=number, tokens=[*shared, number], continuations=LABELS)
        engine.add(command)
        (event,) = run(engine, scheduler)
        assert_scored(event, command)
    assert isinstance(event, Scored)
    assert event.usage.cached_tokens == 48


@pytest.mark.parametrize("seed", range(8))
def test_beside_answers_in_too_few_pages_every_score_and_token_is_right(seed: int) -> None:
    """Requests of both kinds come while others run, and some are cancelled; there are pages for a few only."""
    draw = random.Random(seed)
    runner = FakeRunner(page_count=14, max_batch_tokens=24)
    engine, scheduler = engine_over(runner)
    asked: dict[int, Score | Generate] = {}
    events: list[Event] = []
    cancelled: set[int] = set()
    for number in range(24):
        tokens = draw.choices(range(900), k=draw.randrange(1, 60))
        client = number % 3
        if number % 2:
            continuations = [draw.choices(range(900), k=draw.randrange(1, 20)) for _ in range(draw.randrange(1, 9))]
            asked[number] = Score(id=number, tokens=tokens, continuations=continuations, client=client)
        else:
            asked[number] = Generate(
                id=number, tokens=tokens, sampling=Sampling(temperature=0), max_tokens=60, client=client
            )
        events += engine.add(asked[number])
        for _ in range(draw.randrange(5)):
            events += engine.step() if engine.has_work else []
            scheduler.check_integrity()
        if draw.random() < 0.2:
            cancelled.add(number)
            events += engine.cancel(Cancel(number))
    events += run(engine, scheduler)
    assert not runner.samplers
    assert scheduler.cache.free_pages + scheduler.cache.cached_pages == 14
    for number, command in asked.items():
        told = [event for event in events if isinstance(event, Token | Finished | Scored) and event.id == number]
        end = told.pop()
        if isinstance(end, Finished) and end.reason == "cancelled":
            assert number in cancelled
        elif isinstance(command, Score):
            assert told == []
            assert_scored(end, command)
        else:
            drawn = [event.token for event in told if isinstance(event, Token)]
            assert drawn == expected_answer(command.tokens, 60)
    assert scheduler.preemptions > 0


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (Score(id=1, tokens=[], continuations=[[1]]), "invalid_request"),
        (Score(id=1, tokens=[1], continuations=[]), "invalid_request"),
        (Score(id=1, tokens=[1], continuations=[[1], []]), "invalid_request"),
        (Score(id=1, tokens=[1], continuations=[[1], [1000]]), "invalid_request"),
        (Score(id=1, tokens=[1] * 250, continuations=[[1], [1] * 7]), "prompt_too_long"),
        # 4 pages of 16: the prefix fills them, and a branch would need a copy of the last.
        (Score(id=1, tokens=[1] * 50, continuations=[[1, 2]]), "prompt_too_long"),
    ],
)
def test_what_can_never_be_scored_is_refused(command: Score, code: str) -> None:
    engine, scheduler = engine_over(FakeRunner(page_count=4 if len(command.tokens) == 50 else 64))
    (refused,) = engine.add(command)
    assert isinstance(refused, Failed)
    assert refused.code == code
    assert not engine.has_work
    assert not scheduler.loads()


async def test_a_client_hears_the_scores_and_leaves_without_a_trace(start_fake: StartFake) -> None:
    client: EngineClient = await start_fake(Options(step_s=0.02))
    scored = await client.score([1, 2, 3], LABELS).result()
    assert scored.logprobs == pytest.approx([expected_score([1, 2, 3], tokens) for tokens in LABELS])
    left = asyncio.create_task(client.score(list(range(200)), [[number, *range(20)] for number in range(50)]).result())
    await asyncio.sleep(0.05)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    assert client.in_flight == 0
    await client.score([5], [[6]]).result()
    await asyncio.sleep(0.3)
    assert client.stats is not None
    assert (client.stats.running, client.stats.waiting) == (0, 0)
    assert client.stats.free_pages + client.stats.cached_pages == client.stats.total_pages
