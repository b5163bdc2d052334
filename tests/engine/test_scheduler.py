"""The scheduler alone, fed with invented tokens."""

from __future__ import annotations

import math
import statistics

import msgspec
import pytest

from fairlead.engine.kv_cache import KVCache
from fairlead.engine.messages import (
    Event,
    Failed,
    Finished,
    FinishReason,
    Generate,
    Sampling,
    Scheduling,
    Timing,
    Token,
    Usage,
)
from fairlead.engine.runner import Sampled
from fairlead.engine.scheduler import Batch, Scheduler
from tests.engine.simulated import Cost, Machine, large_model, small_model

DRAWN = 7
STOP = 9


def scheduler(
    pages: int = 8, page_size: int = 4, context: int = 100, batch: int = 16, scheduling: Scheduling | None = None
) -> Scheduler:
    return Scheduler(
        KVCache(pages, page_size),
        context_length=context,
        max_batch_tokens=batch,
        scheduling=scheduling or Scheduling(),
    )


def request(
    request_id: int,
    prompt: int,
    max_tokens: int = 50,
    stop_tokens: tuple[int, ...] = (),
    timeout_s: float | None = None,
) -> Generate:
    return Generate(
        id=request_id,
        tokens=[100 * request_id + place for place in range(prompt)],
        sampling=Sampling(),
        max_tokens=max_tokens,
        stop_tokens=list(stop_tokens),
        timeout_s=timeout_s,
    )


def draw(batch: Batch, token: int = DRAWN) -> list[Sampled]:
    return [Sampled(chunk.request_id, token) for chunk in batch if chunk.samples]


def step(state: Scheduler, now: float = 0.0, token: int = DRAWN) -> tuple[Batch, list[Event]]:
    events = state.expire(now)
    batch = state.schedule(now)
    events += state.update(batch, draw(batch, token), now)
    state.check_integrity()
    return batch, events


def shape(batch: Batch) -> list[tuple[int, int, int]]:
    """Whose, from where, how many."""
    return [(chunk.request_id, chunk.start, len(chunk.tokens)) for chunk in batch]


def available(state: Scheduler) -> int:
    """Pages that can be had without taking them from anybody."""
    return state.cache.free_pages + state.cache.cached_pages


def only(events: list[Event]) -> Event:
    (event,) = events
    return event


def test_a_prompt_is_read_and_then_answered_token_by_token() -> None:
    state = scheduler()
    state.add(request(1, prompt=5, max_tokens=3), now=0.0)
    seen = [step(state) for _ in range(3)]
    assert [shape(batch) for batch, _ in seen] == [[(1, 0, 5)], [(1, 5, 1)], [(1, 6, 1)]]
    assert seen[0][0][0].samples
    assert list(seen[1][0][0].tokens) == [DRAWN]
    events = [event for _, events in seen for event in events]
    assert events[:3] == [Token(1, DRAWN)] * 3
    assert events[3] == Finished(1, "length", Usage(5, 3), Timing(0.0, 0.0, 0.0))
    assert len(events) == 4
    assert not state.has_work
    assert available(state) == 8
    assert (state.prefill_tokens, state.decode_tokens) == (5, 3)


def test_a_long_prompt_is_cut_into_chunks_and_samples_once() -> None:
    state = scheduler(pages=16, batch=16)
    state.add(request(1, prompt=40), now=0.0)
    batches = [step(state)[0] for _ in range(4)]
    assert [shape(batch) for batch in batches] == [[(1, 0, 16)], [(1, 16, 16)], [(1, 32, 8)], [(1, 40, 1)]]
    assert [chunk.samples for batch in batches for chunk in batch] == [False, False, True, True]


def test_running_answers_come_before_prompts_and_prompts_in_order() -> None:
    state = scheduler(pages=32, batch=16)
    state.add(request(1, prompt=4), now=0.0)
    state.add(request(2, prompt=4), now=0.0)
    step(state)
    state.add(request(3, prompt=20), now=1.0)
    state.add(request(4, prompt=6), now=1.0)
    assert shape(step(state)[0]) == [(1, 4, 1), (2, 4, 1), (3, 0, 14)]
    assert shape(step(state)[0]) == [(1, 5, 1), (2, 5, 1), (3, 14, 6), (4, 0, 6)]


def test_as_many_run_as_a_batch_has_rows() -> None:
    state = scheduler(pages=32, batch=2)
    for request_id in (1, 2, 3):
        state.add(request(request_id, prompt=1, max_tokens=2), now=0.0)
    assert shape(step(state)[0]) == [(1, 0, 1), (2, 0, 1)]
    assert (state.running, state.waiting) == (2, 1)
    step(state)
    assert shape(step(state)[0]) == [(3, 0, 1)]


def test_nobody_overtakes_a_prompt_that_waits_for_pages() -> None:
    state = scheduler(pages=4, page_size=4)
    state.add(request(1, prompt=8, max_tokens=2), now=0.0)
    state.add(request(2, prompt=12, max_tokens=1), now=0.0)
    state.add(request(3, prompt=1, max_tokens=1), now=0.0)
    assert shape(step(state)[0]) == [(1, 0, 8)]
    assert shape(step(state)[0]) == [(1, 8, 1)]
    assert shape(step(state)[0]) == [(2, 0, 12), (3, 0, 1)]
    assert not state.has_work


def test_the_request_admitted_last_gives_its_pages_to_an_older_one() -> None:
    state = scheduler(pages=4, page_size=4)
    state.add(request(1, prompt=8, max_tokens=6), now=0.0)
    state.add(request(2, prompt=7, max_tokens=4), now=0.0)
    step(state)
    batch, events = step(state)
    # The first needs a third page, and the only ones are the second's.
    assert shape(batch) == [(1, 8, 1)]
    assert events == [Token(1, DRAWN)]
    assert (state.running, state.waiting) == (1, 1)
    while state.running and state.waiting:
        step(state)
    batch, events = step(state)
    # It computes its eight tokens again and goes on with the next, as if nothing had been.
    assert shape(batch) == [(2, 0, 8)]
    assert events == [Token(2, DRAWN)]
    assert state.prefill_tokens == 8 + 7 + 7


def test_the_preempted_come_back_in_order_of_arrival_before_the_others() -> None:
    state = scheduler(pages=3, page_size=4)
    for request_id in (1, 2, 3):
        state.add(request(request_id, prompt=3, max_tokens=8), now=0.0)
    state.add(request(4, prompt=1, max_tokens=1), now=0.0)
    begun: list[int] = []
    while state.has_work:
        begun += [chunk.request_id for chunk in step(state)[0] if chunk.start == 0]
    assert begun == [1, 2, 3, 2, 3, 4]


def test_one_alone_that_runs_out_of_pages_preempts_itself_and_goes_on_later() -> None:
    state = scheduler(pages=3, page_size=4)
    state.add(request(1, prompt=6, max_tokens=3), now=0.0)
    state.add(request(2, prompt=4, max_tokens=2), now=0.0)
    step(state)
    batch, _ = step(state)
    assert shape(batch) == [(1, 6, 1)]
    assert (state.running, state.waiting) == (1, 1)
    batch, events = step(state)
    assert shape(batch) == [(1, 7, 1)]
    assert events[-1] == Finished(1, "length", Usage(6, 3), Timing(0.0, 0.0, 0.0))
    batch, events = step(state)
    # The page that it had filled is still there.
    assert shape(batch) == [(2, 4, 1)]
    assert events[-1] == Finished(2, "length", Usage(4, 2), Timing(0.0, 0.0, 0.0))


def test_a_stop_token_ends_the_answer_and_is_not_reported() -> None:
    state = scheduler()
    state.add(request(1, prompt=2, stop_tokens=(STOP, 11)), now=0.0)
    step(state)
    assert step(state, token=STOP)[1] == [Finished(1, "stop", Usage(2, 1), Timing(0.0, 0.0, 0.0))]


def test_a_full_context_ends_the_answer() -> None:
    state = scheduler(context=6)
    state.add(request(1, prompt=4), now=0.0)
    step(state)
    assert step(state)[1] == [Token(1, DRAWN), Finished(1, "length", Usage(4, 2), Timing(0.0, 0.0, 0.0))]


def test_a_full_cache_ends_the_answer_of_one_that_has_it_alone() -> None:
    state = scheduler(pages=2, page_size=4)
    state.add(request(1, prompt=4), now=0.0)
    events = [event for _ in range(4) for event in step(state)[1]]
    assert events[-1] == Finished(1, "length", Usage(4, 4), Timing(0.0, 0.0, 0.0))


@pytest.mark.parametrize(("prompt", "context", "pages"), [(6, 6, 8), (7, 6, 8), (8, 100, 2)])
def test_a_prompt_that_leaves_no_room_for_a_token_is_refused(prompt: int, context: int, pages: int) -> None:
    state = scheduler(pages=pages, context=context)
    refusal = only(state.add(request(1, prompt), now=0.0))
    assert isinstance(refusal, Failed)
    assert refusal.code == "prompt_too_long"
    assert str(prompt) in refusal.message
    assert str(min(context, 4 * pages)) in refusal.message
    assert not state.has_work
    assert state.add(request(2, prompt=min(context, 4 * pages) - 1), now=0.0) == []


@pytest.mark.parametrize(
    "wrong",
    [
        request(1, prompt=0),
        request(1, prompt=1, max_tokens=0),
        request(1, prompt=1, timeout_s=0.0),
        request(1, prompt=1, timeout_s=math.nan),
    ],
)
def test_a_request_that_cannot_be_right_is_refused(wrong: Generate) -> None:
    state = scheduler()
    refusal = only(state.add(wrong, now=0.0))
    assert isinstance(refusal, Failed)
    assert refusal.code == "invalid_request"
    assert not state.has_work


def test_an_id_cannot_be_used_twice_at_once() -> None:
    state = scheduler()
    state.add(request(1, prompt=1), now=0.0)
    with pytest.raises(ValueError, match="1"):
        state.add(request(1, prompt=1), now=0.0)


@pytest.mark.parametrize("steps", [0, 1, 3, 5])
@pytest.mark.parametrize("reason", ["cancelled", "stop"])
def test_cancelled_in_any_state(steps: int, reason: FinishReason) -> None:
    """Queued, in prefill (two chunks), decoding."""
    state = scheduler(pages=16, batch=16)
    state.add(request(1, prompt=32), now=0.0)
    for _ in range(steps):
        step(state)
    event = only(state.cancel(1, reason, now=1.0))
    assert isinstance(event, Finished)
    assert (event.reason, event.usage.completion_tokens) == (reason, max(0, steps - 1))
    assert state.cancel(1, reason, now=1.0) == []
    assert available(state) == 16
    assert not state.has_work
    state.check_integrity()


def test_cancelled_while_its_batch_runs() -> None:
    state = scheduler()
    state.add(request(1, prompt=2), now=0.0)
    state.add(request(2, prompt=2), now=0.0)
    batch = state.schedule(0.0)
    state.cancel(1, "cancelled", 0.0)
    assert state.update(batch, draw(batch), 0.0) == [Token(2, DRAWN)]
    state.check_integrity()


def test_cancelled_while_preempted() -> None:
    state = scheduler(pages=4, page_size=4)
    state.add(request(1, prompt=8), now=0.0)
    state.add(request(2, prompt=7), now=0.0)
    step(state)
    step(state)
    assert state.waiting == 1
    event = only(state.cancel(2, "cancelled", now=0.0))
    assert isinstance(event, Finished)
    assert event.usage == Usage(7, 1)
    state.check_integrity()


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_time_is_up_in_any_state(steps: int) -> None:
    state = scheduler(pages=16, batch=16)
    state.add(request(1, prompt=32, timeout_s=5.0), now=10.0)
    for _ in range(steps):
        step(state, now=11.0)
    assert state.expire(14.9) == []
    event = only(state.expire(15.0))
    assert isinstance(event, Finished)
    assert event.reason == "timeout"
    assert not state.has_work
    assert available(state) == 16


def test_a_deadline_is_forgotten_with_its_request() -> None:
    state = scheduler()
    state.add(request(1, prompt=1, timeout_s=5.0), now=0.0)
    state.cancel(1, "cancelled", 1.0)
    state.add(request(1, prompt=1, timeout_s=50.0), now=2.0)
    assert state.expire(10.0) == []
    assert state.has_work


def test_times_are_told_by_stage() -> None:
    state = scheduler(batch=16)
    state.add(request(1, prompt=20, max_tokens=2), now=1.0)
    batch = state.schedule(3.0)
    state.update(batch, draw(batch), 4.0)
    batch = state.schedule(4.0)
    state.update(batch, draw(batch), 7.0)
    batch = state.schedule(7.0)
    finished = state.update(batch, draw(batch), 12.0)[-1]
    assert isinstance(finished, Finished)
    assert finished.timing == Timing(queue_s=2.0, prefill_s=4.0, decode_s=5.0)


def test_times_of_one_that_never_began() -> None:
    state = scheduler()
    state.add(request(1, prompt=2), now=1.0)
    event = only(state.cancel(1, "cancelled", now=4.0))
    assert isinstance(event, Finished)
    assert event.timing == Timing(3.0, 0.0, 0.0)


def test_what_could_not_be_computed_fails_and_nothing_else() -> None:
    state = scheduler()
    state.add(request(1, prompt=2), now=0.0)
    state.add(request(2, prompt=2), now=0.0)
    step(state)
    assert state.fail([1, 5], "engine_failed", "broken", 0.0) == [Failed(1, "engine_failed", "broken")]
    assert shape(step(state)[0]) == [(2, 2, 1)]


def test_a_weight_that_is_none_is_refused() -> None:
    state = scheduler()
    for weight in (0.0, -1.0, math.inf, math.nan):
        refusal = only(state.add(msgspec.structs.replace(request(1, prompt=2), weight=weight), now=0.0))
        assert isinstance(refusal, Failed)
        assert refusal.code == "invalid_request"
    assert not state.has_work


def test_as_many_run_as_may() -> None:
    state = scheduler(pages=32, scheduling=Scheduling(max_running=2))
    for request_id in (1, 2, 3):
        state.add(request(request_id, prompt=2, max_tokens=2), now=0.0)
    assert len(step(state)[0]) == 2
    assert (state.running, state.waiting) == (2, 1)


def test_a_common_beginning_is_computed_by_whoever_comes_first() -> None:
    state = scheduler(pages=32, batch=16)
    together = [msgspec.structs.replace(request(number, 0), tokens=[*range(20), 90 + number]) for number in (1, 2, 3)]
    for command in together:
        state.add(command, now=0.0)
    assert shape(step(state)[0]) == [(1, 0, 16)]
    # The first now leaves; another goes on where it was, and the rest go on behind that.
    state.cancel(1, "cancelled", 0.0)
    assert shape(step(state)[0]) == [(2, 16, 5)]
    assert shape(step(state)[0]) == [(2, 21, 1), (3, 20, 1)]
    assert state.prefill_tokens == 16 + 5 + 1
    assert state.cached_tokens == 16 + 20


def test_what_is_found_is_not_charged_and_what_is_computed_again_is_not_either() -> None:
    state = scheduler(pages=32, batch=64)
    state.add(request(1, prompt=17, max_tokens=1), now=0.0)
    step(state)
    again = msgspec.structs.replace(request(2, 0, max_tokens=1), tokens=request(1, 17).tokens, client=5)
    state.add(again, now=0.0)
    events = step(state)[1]
    assert events[-1] == Finished(2, "length", Usage(17, 1, cached_tokens=16), Timing(0.0, 0.0, 0.0))
    first, second = state.loads()
    assert (first.prefill_tokens, second.prefill_tokens) == (17, 1)

    crowded = scheduler(pages=4, page_size=4, scheduling=Scheduling(prefix_cache=False))
    crowded.add(request(1, prompt=8, max_tokens=6), now=0.0)
    crowded.add(request(2, prompt=7, max_tokens=4), now=0.0)
    while crowded.has_work:
        step(crowded)
    assert crowded.preemptions == 1
    assert crowded.prefill_tokens == 8 + 7 + 7
    assert [(load.prefill_tokens, load.decode_tokens) for load in crowded.loads()] == [(8 + 7, 6 + 4)]


@pytest.mark.parametrize(
    ("cost", "answers", "longer"),
    [
        (small_model, 1, 1.6),
        (small_model, 4, 1.6),
        (small_model, 16, 1.6),
        # Three times its usual gap leaves a single stream's step so little room that reading takes longer.
        (large_model, 1, 2.2),
        (large_model, 4, 2.1),
        (large_model, 16, 1.6),
    ],
)
def test_a_long_prompt_freezes_no_stream(cost: Cost, answers: int, longer: float) -> None:
    """Once the machine is known, which takes one such prompt."""
    lonely = Machine(cost=cost)
    alone = lonely.send(2000, 20)
    lonely.run()

    machine = Machine(cost=cost)
    streams = [machine.send(50, 800, client=number) for number in range(answers)]
    first = machine.send(2000, 20)
    while first.ended is None:
        machine.step()
    begun = streams[0].times[-1]
    machine.run(until=begun + 1.0)
    usual = statistics.median(streams[0].gaps(begun))
    since = machine.now
    newcomers = [machine.send(2000, 20, client=100 + number) for number in range(2)]
    machine.run()
    assert max(max(stream.gaps(since)) for stream in streams) <= max(0.060, 3 * usual)
    assert max(newcomer.first_s for newcomer in newcomers) <= 2 * longer * alone.first_s


def test_the_budget_can_be_set() -> None:
    machine = Machine(scheduling=Scheduling(step_budget_s=0.02))
    stream = machine.send(50, 400)
    machine.run(until=0.5)
    machine.send(2000, 20)
    machine.run()
    assert 0.016 < max(stream.gaps(0.5)) <= 0.021
    assert machine.scheduler.budget_s == 0.02


def test_a_step_that_nobody_waits_for_ends_soon_enough_to_hear_others() -> None:
    machine = Machine(cost=lambda chunks: 20 * small_model(chunks))
    machine.send(512, 1)
    machine.run()
    begun = machine.now
    machine.send(2000, 1)
    machine.step()
    assert 0.7 < machine.now - begun <= 1.0


def test_many_behind_one_prompt_cost_little_more_than_one() -> None:
    """Eight at once behind 800 tokens: what is computed, and when the slowest has its first token."""
    lonely = Machine()
    cold = lonely.send(830, 8)
    lonely.run()
    machine = Machine()
    system = list(range(800))
    stories = [machine.send([*system, *range(1000 * number, 1000 * number + 30)], 8) for number in range(1, 9)]
    machine.run()
    assert machine.scheduler.prefill_tokens <= 1.05 * (800 + 8 * 30)
    assert max(story.first_s for story in stories) <= 1.5 * cold.first_s
