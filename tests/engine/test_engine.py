"""The engine in one process, over a fake model whose tokens depend on the whole sequence, read from its pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from fairlead.engine.engine import Engine
from fairlead.engine.kv_cache import KVCache
from fairlead.engine.messages import (
    STEP_BUCKETS_S,
    Cancel,
    Event,
    Failed,
    Finished,
    Generate,
    Policy,
    Priority,
    Sampling,
    Scheduling,
    Token,
)
from fairlead.engine.runner import Chunk, Result
from fairlead.engine.scheduler import Scheduler
from fairlead.errors import DoesNotFit, InvalidRequest
from tests.fakes import FakeRunner, Options, expected_answer


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TimedRunner(FakeRunner):
    """A fake whose steps take time: 10 ms, and 0.1 ms for each token."""

    def __init__(self, clock: Clock, page_count: int = 64, max_batch_tokens: int = 64, options: Options | None = None):
        super().__init__(page_count, max_batch_tokens, options)
        self._clock = clock

    def forward(self, chunks: Sequence[Chunk]) -> list[Result]:
        self._clock.now += 0.01 + 0.0001 * sum(len(chunk.tokens) for chunk in chunks)
        return super().forward(chunks)


def engine_over(
    runner: FakeRunner, context_length: int = 256, clock: Clock | None = None, scheduling: Scheduling | None = None
) -> tuple[Engine, Scheduler]:
    scheduler = Scheduler(
        KVCache(runner.page_count, runner.page_size),
        context_length=context_length,
        max_batch_tokens=runner.max_batch_tokens,
        scheduling=scheduling or Scheduling(),
    )
    return Engine(scheduler, runner, clock or Clock()), scheduler


def request(request_id: int, tokens: Sequence[int], max_tokens: int = 20, sampling: Sampling | None = None) -> Generate:
    return Generate(
        id=request_id, tokens=list(tokens), sampling=sampling or Sampling(temperature=0), max_tokens=max_tokens
    )


def run(engine: Engine) -> list[Event]:
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
    return events


def answer(events: list[Event], request_id: int) -> list[int]:
    return [event.token for event in events if isinstance(event, Token) and event.id == request_id]


def ends(events: list[Event], request_id: int) -> list[Event]:
    return [event for event in events if isinstance(event, Finished | Failed) and event.id == request_id]


@pytest.mark.parametrize("max_batch_tokens", [1, 3, 16, 64])
def test_chunked_equals_whole(max_batch_tokens: int) -> None:
    runner = FakeRunner(max_batch_tokens=max_batch_tokens)
    engine, _ = engine_over(runner)
    engine.add(request(1, range(50)))
    assert answer(run(engine), 1) == expected_answer(range(50), 20)
    assert runner.samplers == {}


def test_batched_equals_alone_and_preempted_equals_undisturbed() -> None:
    """Eight answers of 60 tokens over a cache that holds three of them."""
    runner = FakeRunner(page_count=12, max_batch_tokens=32)
    engine, scheduler = engine_over(runner)
    for request_id in range(8):
        engine.add(request(request_id, range(request_id, request_id + 20), max_tokens=40))
    events: list[Event] = []
    most_waiting_after_start = 0
    while engine.has_work:
        events += engine.step()
        scheduler.check_integrity()
        most_waiting_after_start = max(most_waiting_after_start, scheduler.waiting)
    for request_id in range(8):
        assert answer(events, request_id) == expected_answer(range(request_id, request_id + 20), 40)
        assert len(ends(events, request_id)) == 1
    assert scheduler.prefill_tokens > 8 * 20, "nothing was preempted"
    assert scheduler.cache.free_pages + scheduler.cache.cached_pages == 12


def test_logprobs_are_passed_on() -> None:
    engine, _ = engine_over(FakeRunner())
    engine.add(request(1, [1, 2], max_tokens=1, sampling=Sampling(logprobs=2)))
    token = run(engine)[0]
    assert isinstance(token, Token)
    assert token.logprob is not None
    assert token.top is not None
    assert len(token.top) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        request(1, [1000]),
        request(1, [5, -1]),
        request(1, [5], sampling=Sampling(logit_bias={1000: 1.0})),
        Generate(id=1, tokens=[5], sampling=Sampling(), max_tokens=1, stop_tokens=[1 << 40]),
    ],
)
def test_tokens_outside_the_vocabulary_never_reach_the_runner(wrong: Generate) -> None:
    runner = FakeRunner()
    engine, _ = engine_over(runner)
    (refusal,) = engine.add(wrong)
    assert isinstance(refusal, Failed)
    assert refusal.code == "invalid_request"
    assert "999" in refusal.message
    assert not engine.has_work
    assert runner.samplers == {}


def test_a_failing_step_ends_its_requests_and_the_engine_goes_on() -> None:
    runner = FakeRunner(max_batch_tokens=8, options=Options(fails_on=666))
    engine, scheduler = engine_over(runner)
    engine.add(request(1, [1] * 8, max_tokens=3))
    engine.add(request(2, [666], max_tokens=3))
    events = run(engine)
    engine.add(request(3, [1] * 8, max_tokens=3))
    events += run(engine)
    kinds = [type(end) for request_id in (1, 2, 3) for end in ends(events, request_id)]
    assert kinds == [Failed, Failed, Finished]
    (end,) = ends(events, 2)
    assert isinstance(end, Failed)
    assert end.code == "engine_failed"
    assert "token" not in end.message, "the error's own words may name paths"
    assert answer(events, 3) == expected_answer([1] * 8, 3)
    assert runner.samplers == {}
    scheduler.check_integrity()


def test_a_sampler_that_cannot_be_made_ends_its_request() -> None:
    class Picky(FakeRunner):
        def open(self, request_id: int, *arguments: object) -> None:
            raise InvalidRequest("temperature is out of range") if request_id == 1 else DoesNotFit("no room")

    engine, _ = engine_over(Picky())
    assert engine.add(request(1, [1])) == [Failed(1, "invalid_request", "temperature is out of range")]
    assert engine.add(request(2, [1])) == [Failed(2, "insufficient_memory", "no room")]
    assert not engine.has_work


def test_answers_for_other_requests_are_not_believed() -> None:
    class Confused(FakeRunner):
        def forward(self, chunks: Sequence[Chunk]) -> list[Result]:
            return [replace(draw, request_id=draw.request_id + 1) for draw in super().forward(chunks)]

    engine, _ = engine_over(Confused())
    engine.add(request(1, [1]))
    (end,) = run(engine)
    assert isinstance(end, Failed)
    assert end.code == "engine_failed"


def test_time_limits_end_requests_between_steps() -> None:
    clock = Clock()
    engine, _ = engine_over(FakeRunner(), clock=clock)
    engine.add(Generate(id=1, tokens=[1], sampling=Sampling(), max_tokens=100, timeout_s=2.5))
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
        clock.now += 1
    assert len(answer(events, 1)) == 3
    (end,) = ends(events, 1)
    assert isinstance(end, Finished)
    assert end.reason == "timeout"


@pytest.mark.parametrize("together", [True, False])
def test_a_common_beginning_is_computed_once_and_answers_are_the_same(together: bool) -> None:
    """Eight questions behind one text of 100 tokens, which fill 6 pages of 16 and a quarter of one."""
    runner = FakeRunner(max_batch_tokens=64)
    engine, scheduler = engine_over(runner)
    prompts = [[*range(100), 500 + number, 501 + number] for number in range(8)]
    events: list[Event] = []
    for number, prompt in enumerate(prompts):
        engine.add(request(number, prompt))
        events += [] if together else run(engine)
    events += run(engine)
    for number, prompt in enumerate(prompts):
        assert answer(events, number) == expected_answer(prompt, 20)
    assert scheduler.prefill_tokens == 96 + 8 * 6
    assert scheduler.cached_tokens == 7 * 96
    found = [
        end.usage.cached_tokens for number in range(8) for end in ends(events, number) if isinstance(end, Finished)
    ]
    assert found[0] == 0
    assert sum(found) == scheduler.cached_tokens


def test_a_chat_goes_on_where_it_was() -> None:
    engine, scheduler = engine_over(FakeRunner())
    first = request(1, range(40))
    engine.add(first)
    told = answer(run(engine), 1)
    engine.add(request(2, [*range(40), *told, 7, 8, 9]))
    end = run(engine)[-1]
    assert isinstance(end, Finished)
    assert end.usage.cached_tokens == 48
    assert scheduler.prefill_tokens == 40 + 63 - 48


def test_guesses_come_true_and_change_nothing() -> None:
    """An answer that repeats itself is verified several tokens at a time; each is told once, and none too many."""
    clock = Clock()
    options = Options(reply=[1, 2, 3, 4])
    engine, scheduler = engine_over(TimedRunner(clock, options=options), clock=clock)
    engine.add(request(1, range(20), max_tokens=101))
    events = run(engine)
    assert answer(events, 1) == ([1, 2, 3, 4] * 26)[:101]
    assert len(ends(events, 1)) == 1
    stats = engine.stats()
    assert stats.steps < 50
    assert 60 < stats.accepted_tokens <= stats.drafted_tokens
    assert stats.decode_tokens == 101
    scheduler.check_integrity()


def test_a_stop_token_among_guesses_ends_the_answer_there() -> None:
    clock = Clock()
    engine, _ = engine_over(TimedRunner(clock, options=Options(reply=[1, 2, 3, 4] * 10)), clock=clock)
    command = Generate(id=1, tokens=[1, 2, 3, 4] * 5, sampling=Sampling(), max_tokens=100, stop_tokens=[9])
    engine.add(command)
    events = run(engine)
    assert answer(events, 1) == [1, 2, 3, 4] * 10
    (end,) = ends(events, 1)
    assert isinstance(end, Finished)
    assert end.reason == "stop"
    assert engine.stats().accepted_tokens > 0


def test_nothing_is_guessed_for_one_who_made_room_in_vain() -> None:
    clock = Clock()
    options = Options(vocab_size=8, page_size=4, reply=[1, 2, 3, 4] * 25)
    runner = TimedRunner(clock, page_count=60, options=options)
    engine, scheduler = engine_over(runner, clock=clock, scheduling=Scheduling(max_running=2))
    for number in range(2):
        engine.add(Generate(id=number, tokens=[1, 2, 3, 4] * 5, sampling=Sampling(), max_tokens=100, client=1))
    events = engine.step()
    # All the pages: more than the one who stays leaves, and so the other gave up his own for nothing yet.
    engine.add(Generate(id=2, tokens=[5] * 230, sampling=Sampling(), max_tokens=4, client=2))
    events += run(engine)
    assert scheduler.preemptions >= 1
    assert [len(ends(events, number)) for number in range(3)] == [1, 1, 1]
    assert answer(events, 0) == answer(events, 1) == [1, 2, 3, 4] * 25


@pytest.mark.parametrize("drawn", [0, 2])
def test_draws_that_nobody_asked_for_are_not_believed(drawn: int) -> None:
    class Talkative(FakeRunner):
        def forward(self, chunks: Sequence[Chunk]) -> list[Result]:
            return super().forward(chunks) * drawn

    engine, _ = engine_over(Talkative())
    engine.add(request(1, [1]))
    (end,) = run(engine)
    assert isinstance(end, Failed)
    assert end.code == "engine_failed"


def test_stats_tell_the_state() -> None:
    clock = Clock()
    engine, _ = engine_over(TimedRunner(clock, page_count=10), clock=clock, scheduling=Scheduling(max_running=1))
    engine.add(Generate(id=1, tokens=list(range(40)), sampling=Sampling(), max_tokens=20, client=5))
    engine.add(Generate(id=2, tokens=list(range(40)), sampling=Sampling(), max_tokens=20, client=6))
    engine.add(Generate(id=3, tokens=list(range(30)), sampling=Sampling(), max_tokens=20, client=6))
    engine.step()
    stats = engine.stats()
    assert (stats.running, stats.waiting) == (1, 2)
    assert (stats.free_pages, stats.cached_pages, stats.total_pages) == (7, 0, 10)
    assert (stats.steps, stats.prefill_tokens, stats.decode_tokens, stats.cached_tokens) == (1, 40, 1, 0)
    assert stats.step_s == stats.step_seconds == pytest.approx(0.014)
    assert sum(stats.step_counts) == 1
    assert stats.step_counts[STEP_BUCKETS_S.index(0.02)] == 1
    assert stats.prefill_rate == pytest.approx(40 / 0.014)
    assert stats.decode_rate == pytest.approx(1 / 0.014)
    assert [(load.client, load.running, load.waiting) for load in stats.clients] == [(5, 1, 0), (6, 0, 2)]
    assert (stats.clients[0].prefill_tokens, stats.clients[0].decode_tokens) == (40, 1)
    assert [(waiting.id, waiting.client, waiting.position) for waiting in stats.queue] == [(2, 6, 0), (3, 6, 1)]
    assert [waiting.wait_s for waiting in stats.queue] == [None, None], "nobody has left yet: nothing is known"
    run(engine)
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.queue) == (0, 0, [])
    assert stats.free_pages + stats.cached_pages == 10
    assert stats.cached_tokens == 32 + 16


STEMS: tuple[list[int], ...] = ([], [1, 2, 3, 1, 2, 3, 1, 2, 3, 1], [1, 2, 3, 1, 2, 0, 0])


class Histories(RuleBasedStateMachine):
    """Whatever happens, in whatever order: integrity after each step, and each request ends as it must."""

    ids = Bundle("ids")

    @initialize(
        policy=st.sampled_from(["fair", "fcfs"]),
        prefix_cache=st.booleans(),
        max_running=st.sampled_from([2, 64]),
        budget_s=st.none() | st.just(0.001),
    )
    def start(self, policy: Policy, prefix_cache: bool, max_running: int, budget_s: float | None) -> None:
        self.clock = Clock()
        self.options = Options(vocab_size=4, page_size=3)
        self.runner = TimedRunner(self.clock, page_count=8, max_batch_tokens=7, options=self.options)
        scheduling = Scheduling(
            policy=policy, prefix_cache=prefix_cache, max_running=max_running, step_budget_s=budget_s
        )
        self.engine, self.scheduler = engine_over(self.runner, 21, self.clock, scheduling)
        self.requests: dict[int, Generate] = {}
        self.cancelled: set[int] = set()
        self.events: list[Event] = []

    @rule(
        target=ids,
        stem=st.sampled_from(STEMS),
        tail=st.lists(st.integers(0, 3), min_size=1, max_size=14),
        max_tokens=st.integers(1, 25),
        min_tokens=st.integers(0, 5),
        stop_tokens=st.lists(st.integers(0, 3), max_size=1),
        timeout_s=st.none() | st.floats(0.1, 20),
        seed=st.integers(0, 3),
        client=st.integers(0, 2),
        priority=st.sampled_from(["low", "normal", "high"]),
        public_tokens=st.sampled_from([0, 10]),
    )
    def add(
        self,
        stem: list[int],
        tail: list[int],
        max_tokens: int,
        min_tokens: int,
        stop_tokens: list[int],
        timeout_s: float | None,
        seed: int,
        client: int,
        priority: Priority,
        public_tokens: int,
    ) -> int:
        command = Generate(
            id=len(self.requests),
            tokens=[*stem, *tail],
            sampling=Sampling(seed=seed),
            max_tokens=max_tokens,
            min_tokens=min_tokens,
            stop_tokens=stop_tokens,
            timeout_s=timeout_s,
            client=client,
            weight=1.0 + client,
            priority=priority,
            salt=client // 2,
            public_tokens=public_tokens,
        )
        self.requests[command.id] = command
        self.events += self.engine.add(command)
        return command.id

    @rule(request_id=consumes(ids))
    def cancel(self, request_id: int) -> None:
        self.cancelled.add(request_id)
        self.events += self.engine.cancel(Cancel(request_id))

    @rule(count=st.integers(1, 6))
    def steps(self, count: int) -> None:
        for _ in range(count):
            had_work = self.engine.has_work
            before = self.engine.stats()
            moved = self.engine.step()
            self.events += moved
            after = self.engine.stats()
            assert not had_work or moved or after.steps > before.steps, "work was left lying"
            self.check_stats()

    def check_stats(self) -> None:
        stats = self.engine.stats()
        assert [waiting.position for waiting in stats.queue] == list(range(stats.waiting))
        assert sum(load.running for load in stats.clients) == stats.running
        assert sum(load.waiting for load in stats.clients) == stats.waiting
        assert 0 <= stats.accepted_tokens <= stats.drafted_tokens
        assert sum(stats.step_counts) == stats.steps
        assert all(waiting.wait_s is None or waiting.wait_s >= 0 for waiting in stats.queue)

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def integrity(self) -> None:
        self.scheduler.check_integrity()
        ended = {event.id for event in self.events if isinstance(event, Finished | Failed)}
        assert self.runner.samplers.keys() == self.requests.keys() - ended

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        for _ in range(2000):
            if not self.engine.has_work:
                break
            self.events += self.engine.step()
            self.scheduler.check_integrity()
        assert not self.engine.has_work, "requests starve"
        cache = self.scheduler.cache
        assert cache.free_pages + cache.cached_pages == self.runner.page_count
        assert self.runner.samplers == {}
        for command in self.requests.values():
            self._check(command)

    def _check(self, command: Generate) -> None:
        mine = [
            event for event in self.events if isinstance(event, Token | Finished | Failed) and event.id == command.id
        ]
        *tokens, end = mine
        assert all(isinstance(event, Token) for event in tokens), "something after the end"
        drawn = answer(self.events, command.id)
        if isinstance(end, Failed):
            assert end.code == "prompt_too_long"
            assert len(command.tokens) >= 21
            return
        assert isinstance(end, Finished)
        assert end.usage.completion_tokens == len(drawn)
        assert 0 <= end.usage.cached_tokens < len(command.tokens)
        room = min(command.max_tokens, 21 - len(command.tokens))
        whole = expected_answer(
            command.tokens,
            room,
            sampling=command.sampling,
            stop_tokens=command.stop_tokens,
            min_tokens=command.min_tokens,
            options=self.options,
        )
        assert drawn == whole[: len(drawn)]
        match end.reason:
            case "length":
                assert len(drawn) == room
            case "stop":
                assert drawn == whole
                assert len(drawn) < room
            case "cancelled":
                assert command.id in self.cancelled
            case "timeout":
                assert command.timeout_s is not None


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=30)
