"""Which texts a step of an encoder has: full steps, every text once, nobody starved, one end for each request."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.engine.messages import Embed, Embedded, Event, Failed, Finished
from fairlead.engine.texts import Piece, TextScheduler

ROOM = 64


def embed(request_id: int, *lengths: int, client: int = 0, weight: float = 1.0) -> Embed:
    texts = [[request_id * 1000 + place] * length for place, length in enumerate(lengths)]
    return Embed(id=request_id, texts=texts, client=client, weight=weight)


def vectors(batch: Sequence[Piece]) -> list[bytes]:
    """What stands for a text's vector."""
    return [b"%d;" % piece.tokens[0] for piece in batch]


def step(scheduler: TextScheduler, now: float = 0.0) -> tuple[list[int], list[Event]]:
    """One step: the lengths of its texts, and its events."""
    batch = scheduler.schedule(now)
    return [len(piece.tokens) for piece in batch], scheduler.update(batch, vectors(batch), now)


def test_short_and_long_texts_fill_a_step_together() -> None:
    scheduler = TextScheduler(ROOM)
    scheduler.add(embed(1, 5, 40, 5, 60, 19), 0.0)
    assert step(scheduler)[0] == [60]
    assert step(scheduler)[0] == [40, 19, 5]
    lengths, (event,) = step(scheduler)
    assert lengths == [5]
    assert isinstance(event, Embedded)
    assert event.vectors == b"1000;1001;1002;1003;1004;", "in the order of the texts"
    assert event.usage.prompt_tokens == 129
    assert not scheduler.has_work
    assert scheduler.schedule(0.0) == []


def test_a_short_text_of_another_does_not_wait_behind_a_pile() -> None:
    scheduler = TextScheduler(ROOM)
    scheduler.add(embed(1, *[16] * 100, client=1), 0.0)
    step(scheduler)
    scheduler.add(embed(2, 8, client=2), 0.0)
    lengths, events = step(scheduler)
    assert [event.id for event in events if isinstance(event, Embedded)] == [2]
    assert sum(lengths) <= ROOM


def test_a_long_text_does_not_wait_for_ever_behind_short_ones() -> None:
    scheduler = TextScheduler(ROOM)
    scheduler.add(embed(1, *[4] * 1000, client=1), 0.0)
    scheduler.add(embed(2, ROOM, ROOM, client=2), 0.0)
    ended: list[int] = []
    for _ in range(10):
        ended += [event.id for event in step(scheduler)[1] if isinstance(event, Embedded)]
    assert ended == [2]


def test_clients_share_by_weight() -> None:
    scheduler = TextScheduler(ROOM)
    for client in (1, 2):
        for number in range(2):  # nobody who has two requests is lifted for having one
            scheduler.add(embed(10 * client + number, *[8] * 400, client=client, weight=client), 0.0)
    for _ in range(60):
        step(scheduler)
    had = {load.client: load.prefill_tokens for load in scheduler.loads()}
    assert abs(had[2] / had[1] - 2) < 0.1


def test_a_request_that_is_cancelled_ends_once_and_leaves_the_others() -> None:
    scheduler = TextScheduler(ROOM)
    scheduler.add(embed(1, *[30] * 5), 1.0)
    scheduler.add(embed(2, 10), 1.0)
    batch = scheduler.schedule(2.0)
    (finished,) = scheduler.cancel(1, "cancelled", 3.0)
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.timing.queue_s) == ("cancelled", 1.0)
    assert scheduler.cancel(1, "cancelled", 3.0) == []
    assert scheduler.update(batch, vectors(batch), 4.0) == []
    lengths, events = step(scheduler, 5.0)
    assert (lengths, [event.id for event in events if isinstance(event, Embedded)]) == ([10], [2])


def test_a_step_that_fails_ends_its_own_requests_alone() -> None:
    scheduler = TextScheduler(ROOM)
    scheduler.add(embed(1, 60, 5), 0.0)
    scheduler.add(embed(2, 50), 0.0)
    batch = scheduler.schedule(0.0)
    (failed,) = scheduler.fail(batch, "engine_failed", "Broken.", 0.0)
    assert failed == Failed(1, "engine_failed", "Broken.")
    assert step(scheduler)[0] == [50]


def test_who_waits_is_told_his_place() -> None:
    scheduler = TextScheduler(ROOM)
    scheduler.add(embed(1, 60, 60, client=1), 0.0)
    step(scheduler)
    scheduler.add(embed(2, 40, client=2), 0.0)
    scheduler.add(embed(3, 10, client=3), 0.0)
    told = scheduler.queue(rate=100.0)
    assert [(one.id, one.client, one.position, one.wait_s) for one in told] == [(2, 2, 0, 0.6), (3, 3, 1, 1.0)]
    assert [one.wait_s for one in scheduler.queue(rate=None)] == [None, None]
    assert (scheduler.running, scheduler.waiting) == (1, 2)


@settings(max_examples=100)
@given(data=st.data())
def test_every_request_ends_once_and_every_text_is_computed_once(data: st.DataObject) -> None:
    scheduler = TextScheduler(ROOM)
    texts = st.lists(st.integers(1, ROOM), min_size=1, max_size=12)
    asked: dict[int, list[int]] = {}
    ends: list[int] = []
    for request_id in range(data.draw(st.integers(1, 8))):
        asked[request_id] = data.draw(texts)
        scheduler.add(embed(request_id, *asked[request_id], client=data.draw(st.integers(0, 2))), 0.0)
        if data.draw(st.booleans()):
            ends += [event.id for event in step(scheduler)[1]]  # type: ignore[union-attr]  # all of these have one
        if data.draw(st.integers(0, 4)) == 0:
            ends += [event.id for event in scheduler.cancel(data.draw(st.integers(0, request_id)), "cancelled", 0.0)]  # type: ignore[union-attr]
    before = scheduler.tokens
    left = sum(sum(asked[request_id]) for request_id in asked if request_id not in ends)
    while scheduler.has_work:
        lengths, events = step(scheduler)
        assert 0 < sum(lengths) <= ROOM
        for event in events:
            assert isinstance(event, Embedded)
            expected = b"".join(b"%d;" % (event.id * 1000 + place) for place in range(len(asked[event.id])))
            assert event.vectors == expected
            ends.append(event.id)
    assert sorted(ends) == sorted(asked)
    assert scheduler.tokens - before <= left
