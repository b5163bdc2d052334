"""What those who wait are told, and what those who watch."""

from __future__ import annotations

import pytest

from fairlead.engine.fairness import Client
from fairlead.engine.forecast import Forecast
from fairlead.engine.messages import STEP_BUCKETS_S, Generate, Priority, Sampling
from fairlead.engine.meter import Meter
from fairlead.engine.request import Request
from fairlead.engine.waiting import WaitingQueue


def request(number: int, prompt: int = 100, client: Client | None = None, priority: Priority = "normal") -> Request:
    command = Generate(id=number, tokens=[0] * prompt, sampling=Sampling(), max_tokens=1, priority=priority)
    return Request.accept(command, number, client or Client(1), 1000, now=0.0)


def answering(number: int, since: float, drawn: int, limit: int) -> Request:
    """One that was admitted then, drew its first token at once, and has so many."""
    running = request(number)
    running.tokens += [0] * drawn
    running.computed = len(running.tokens)
    running.length_limit = running.prompt_length + limit
    running.admitted = running.answered = since
    return running


def waits(
    forecast: Forecast, openings: int, running: list[Request], now: float, rate: float | None = 1000.0
) -> list[float | None]:
    told = forecast.waits(
        [request(number) for number in range(3)], openings=openings, running=running, prefill_rate=rate, now=now
    )
    assert [waiting.position for waiting in told] == [0, 1, 2]
    return [waiting.wait_s for waiting in told]


def test_where_there_is_room_one_waits_for_the_prompts_before() -> None:
    reading = request(9, prompt=500)
    assert waits(Forecast(), 3, [reading], now=0.0) == pytest.approx([0.5, 0.6, 0.7])
    assert waits(Forecast(stay_s=8.0), 3, [reading], now=0.0, rate=None) == [None, None, None]


def test_where_there_is_none_one_waits_for_others_to_leave() -> None:
    running = [answering(8, since=0.0, drawn=10, limit=1000), answering(9, since=3.0, drawn=10, limit=1000)]
    for now in (4.0, 5.0):
        left = [8.0 - now, 11.0 - now]
        assert waits(Forecast(stay_s=8.0), 0, running, now) == pytest.approx([*left, left[0] + 8.0])
    assert waits(Forecast(stay_s=8.0), 1, running, now=4.0) == pytest.approx([0.0, 4.0, 7.0])
    overstayed = waits(Forecast(stay_s=8.0), 0, running, now=30.0)[0]
    assert overstayed == pytest.approx(0.8), "it will not go on for ever"


def test_nobody_runs_longer_than_his_answer_may() -> None:
    running = [answering(9, since=0.0, drawn=101, limit=151)]
    assert waits(Forecast(), 0, running, now=2.0) == [pytest.approx(1.0), None, None], "nobody has left yet"
    assert waits(Forecast(stay_s=0.5), 0, running, now=0.1)[0] == pytest.approx(0.05)


def test_the_mean_stay_follows_those_who_leave() -> None:
    forecast = Forecast()
    for _ in range(100):
        forecast.left(4.0)
    assert forecast.stay_s == pytest.approx(4.0)
    for _ in range(50):
        forecast.left(8.0)
    assert forecast.stay_s == pytest.approx(8.0, rel=0.01)


def test_steps_are_counted_by_how_long_they_took() -> None:
    meter = Meter()
    assert meter.decode_rate() is None
    for seconds in (0.0005, 0.001, 0.03, 9.0):
        meter.count(seconds, budget_s=0.02, drawn=1)
    assert meter.counts[0] == 2
    assert meter.counts[STEP_BUCKETS_S.index(0.05)] == 1
    assert meter.counts[-1] == 1
    assert (meter.steps, meter.over_budget) == (4, 2)
    assert meter.seconds == pytest.approx(9.0315)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = Meter()
    for rate in (1, 5):
        for _ in range(1000):
            meter.count(0.01, 0.05, drawn=rate)
    assert meter.decode_rate() == pytest.approx(500)


def test_a_queue_serves_clients_by_turns_and_each_by_its_own_order() -> None:
    ann, bob = Client(1, requests=2), Client(2, requests=2)
    queue = WaitingQueue("fair")
    for number, (client, priority) in enumerate(
        [(ann, "low"), (ann, "normal"), (ann, "normal"), (ann, "high"), (bob, "normal"), (bob, "low")]
    ):
        queue.push(request(number, client=client, priority=priority))  # type: ignore[arg-type]
    assert [waiting.number for waiting in queue.expected(now=1.0)] == [3, 4, 1, 2, 0, 5]
    bob.counter = 1000.0
    assert [waiting.number for waiting in queue.expected(now=1.0)] == [3, 1, 2, 4, 0, 5]
    assert [waiting.number for waiting in queue.expected(now=31.0)] == [3, 0, 1, 2, 4, 5], "low no more"
    with pytest.raises(KeyError):
        queue.remove(request(9, client=ann))
    for waiting in list(queue):
        queue.remove(waiting)
    assert (len(queue), queue.heads()) == (0, [])
