"""The benchmark's client against a real server with the fake model, and the verdicts on what it finds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from benchmarks.serving.client import Stream
from benchmarks.serving.findings import Finding, Outcome, table
from benchmarks.serving.servers import Server
from benchmarks.serving.turns import Comparison
from tests.served import Served, serving, settings_with_models


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(settings_with_models(tmp_path_factory.mktemp("home")), "counting") as running:
        yield running


def body(count: int = 8, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": count, **more}


async def test_a_stream_is_read_to_its_end_and_its_pieces_are_timed(served: Served) -> None:
    answer = await Stream(served.url + "/v1", "ann", body()).end()
    with served.http() as client:
        whole = client.post("/v1/chat/completions", json=body()).json()
    assert answer.error is None
    assert answer.text == whole["choices"][0]["message"]["content"]
    assert answer.tokens == whole["usage"]["completion_tokens"]
    assert answer.times == sorted(answer.times)
    assert answer.sent < answer.times[0] <= answer.times[-1] <= answer.ended


async def test_one_who_leaves_keeps_what_had_come(served: Served) -> None:
    stream = Stream(served.url + "/v1", "ann", body(200))
    await stream.until(3)
    answer = await stream.leave()
    assert answer.left or answer.tokens == 200
    assert answer.error is None
    assert answer.pieces


async def test_a_waiter_who_is_cancelled_leaves_the_stream_alone(served: Served) -> None:
    stream = Stream(served.url + "/v1", "ann", body(100))
    waiting = asyncio.create_task(stream.end())
    await stream.until(2)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    answer = await stream.end()
    assert answer.error is None
    assert not answer.left


async def test_a_refusal_is_an_error(served: Served) -> None:
    answer = await Stream(served.url + "/v1", "ann", body(model="nobody")).end()
    assert answer.error is not None
    assert "404" in answer.error
    with pytest.raises(ValueError, match="not answered"):
        _ = answer.ttft


async def test_no_server_is_an_error() -> None:
    answer = await Stream("http://127.0.0.1:1/v1", "ann", body()).end()
    assert answer.error is not None


async def test_metrics_are_read_without_the_models_name(served: Served) -> None:
    metrics = await Server("fairlead", served.url).metrics()
    assert 'fairlead_engine_pages{state="held"}' in metrics
    assert "fairlead_engine_decode_tokens_total" in metrics


def test_verdicts() -> None:
    assert Finding("gap", 60.0, limit=60.0).met
    assert Finding("gap", 61.0, limit=60.0).met is False
    assert Finding("rate", 0.4, limit=0.35, at_least=True).met
    assert Finding("rate", 0.3, limit=0.35, at_least=True).met is False
    assert Finding("rate", 0.3).met is None


def test_the_table_sets_servers_side_by_side() -> None:
    ours = Outcome("prompts", "fairlead", [Finding("gap", 70.0, "ms", limit=60.0)], 3.0)
    theirs = Outcome("prompts", "other", [Finding("gap", 4000.0, "ms", limit=60.0)], 9.0)
    failed = Outcome("flood", "fairlead", error="not done within 60 s")
    lines = table([ours, theirs, failed], "fairlead").splitlines()
    (gap,) = [line for line in lines if "gap" in line]
    assert gap.split() == ["gap", "70", "ms", "≤", "60", "MISSED", "4000", "ms"]
    assert any("not done within 60 s" in line for line in lines)


def test_ratios_are_taken_pair_by_pair() -> None:
    found = Comparison([(10.0, 5.0), (20.0, 10.0), (300.0, 100.0)])
    assert (found.one, found.other, found.ratio) == (20.0, 10.0, 2.0)
    assert found.uncertainty > 0
