"""The client with real worker processes, which serve the fake model."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import aclosing

import psutil
import pytest

from fairlead.engine.client import EngineClient, Generation
from fairlead.engine.messages import Finished, FinishReason, Load, Sampling, Token
from fairlead.errors import DoesNotFit, EngineFailed, InvalidRequest, ModelNotReady, PromptTooLong
from tests.engine.conftest import StartFake
from tests.fakes import FAKE_RUNNER, Options, expected_answer

GREEDY = Sampling(temperature=0)
SLOW = Options(step_s=0.01)


async def hear(generation: Generation) -> tuple[list[int], Finished]:
    """The whole answer."""
    *tokens, finished = [event async for event in generation]
    assert isinstance(finished, Finished)
    return [event.token for event in tokens if isinstance(event, Token)], finished


async def begin(client: EngineClient, max_tokens: int = 200) -> Generation:
    """An answer of which the first token has come."""
    generation = client.generate([1, 2, 3], GREEDY, max_tokens=max_tokens)
    assert isinstance(await anext(generation), Token)
    return generation


async def until(condition: Callable[[], bool], within_s: float = 2.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - of another process, which sends no event
            await asyncio.sleep(0.01)


@pytest.fixture
def new_workers() -> Callable[[], int]:
    """How many children this process has that it did not have before: servers of other tests may have theirs."""
    before = set(psutil.Process().children())
    return lambda: len(set(psutil.Process().children()) - before)


def idle(client: EngineClient) -> bool:
    """Whether the worker has told that nothing runs and nobody holds a page."""
    stats = client.stats
    if stats is None or stats.steps == 0 or stats.running > 0:
        return False
    return stats.free_pages + stats.cached_pages == stats.total_pages


async def test_answers_stream_beside_each_other(start_fake: StartFake) -> None:
    progress: list[tuple[int, int]] = []
    client = await start_fake(on_progress=lambda done, total: progress.append((done, total)))
    assert client.loaded.instruction_set == "fake"
    assert progress[-1] == (10, 10)
    prompts = [list(range(count, 2 * count)) for count in range(1, 40)]
    answers = await asyncio.gather(*(hear(client.generate(prompt, GREEDY, max_tokens=30)) for prompt in prompts))
    for prompt, (tokens, finished) in zip(prompts, answers, strict=True):
        assert tokens == expected_answer(prompt, 30)
        assert finished.reason == "length"
        assert finished.usage.prompt_tokens == len(prompt)
    await until(lambda: idle(client))
    assert client.in_flight == 0
    assert client.rss_bytes() > 1 << 20


async def test_whoever_waits_has_a_place_and_may_wait_for_so_long(start_fake: StartFake) -> None:
    client = await start_fake(Options(step_s=0.01), kv_tokens=256)
    running = client.generate([1] * 140, GREEDY, max_tokens=100)
    assert await running.ready(5)
    waiting = client.generate([2] * 140, GREEDY, max_tokens=1, client=2)
    assert not await waiting.ready(0)
    await until(lambda: waiting.waiting is not None)
    assert waiting.waiting is not None
    assert (waiting.waiting.client, waiting.waiting.position) == (2, 0)
    assert running.waiting is None
    await running.aclose()
    assert await waiting.ready(5)
    tokens, finished = await hear(waiting)
    assert (tokens, finished.reason) == (expected_answer([2] * 140, 1), "length")
    assert await waiting.ready(5)  # its end stays
    await until(lambda: waiting.waiting is None)


async def test_a_fixed_reply_ends_with_its_stop_token(start_fake: StartFake) -> None:
    client = await start_fake(Options(reply=[10, 11, 12]))
    tokens, finished = await hear(client.generate([1], GREEDY, max_tokens=50, stop_tokens=[2]))
    assert (tokens, finished.reason) == ([10, 11, 12], "stop")


async def test_refusals_are_errors_of_ours(start_fake: StartFake) -> None:
    client = await start_fake(context_length=64)
    with pytest.raises(PromptTooLong, match="64"):
        await hear(client.generate([1] * 64, GREEDY, max_tokens=1))
    with pytest.raises(InvalidRequest, match="999"):
        await hear(client.generate([1000], GREEDY, max_tokens=1))
    with pytest.raises(InvalidRequest, match="too long"):
        client.generate([2**40] * 2_000_000, GREEDY, max_tokens=1)
    assert await hear(client.generate([1], GREEDY, max_tokens=1))


@pytest.mark.parametrize("reason", ["cancelled", "stop"])
async def test_cancelled_answers_finish_with_the_reason(start_fake: StartFake, reason: FinishReason) -> None:
    client = await start_fake(SLOW)
    generation = await begin(client)
    generation.cancel(reason)
    tokens, finished = await hear(generation)
    assert finished.reason == reason
    assert finished.usage.completion_tokens == len(tokens) + 1
    assert len(tokens) <= 8
    generation.cancel()


async def test_time_limits_are_the_workers_to_keep(start_fake: StartFake) -> None:
    client = await start_fake(SLOW)
    _, finished = await hear(client.generate([1], GREEDY, max_tokens=250, timeout_s=0.1))
    assert finished.reason == "timeout"


async def test_leaving_an_answer_stops_it(start_fake: StartFake) -> None:
    client = await start_fake(SLOW)
    async with await begin(client) as generation:
        pass
    with pytest.raises(StopAsyncIteration):
        await anext(generation)
    async with aclosing(await begin(client)) as other:
        async for _ in other:
            break
    await until(lambda: idle(client))
    assert client.stats is not None
    assert client.stats.decode_tokens <= 2 * 10


async def test_a_cancelled_task_stops_its_answer(start_fake: StartFake) -> None:
    client = await start_fake(SLOW)
    task = asyncio.create_task(hear(client.generate([1], GREEDY, max_tokens=250)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: idle(client))
    assert client.in_flight == 0


async def test_a_killed_worker_ends_its_answers_within_a_second(start_fake: StartFake) -> None:
    client = await start_fake(SLOW)
    other = await start_fake(SLOW)
    generations = [await begin(client) for _ in range(3)]
    queued = client.generate([1], GREEDY, max_tokens=3)
    undisturbed = await begin(other, max_tokens=20)
    os.kill(client.pid, signal.SIGKILL)
    killed = time.monotonic()
    for generation in [*generations, queued]:
        with pytest.raises(EngineFailed, match="ended unexpectedly"):
            await hear(generation)
    assert time.monotonic() - killed < 1
    assert await client.wait_closed() == -signal.SIGKILL
    assert not psutil.pid_exists(client.pid), "a zombie is left"
    assert (client.alive, client.rss_bytes()) == (False, 0)
    with pytest.raises(EngineFailed):
        client.generate([1], GREEDY, max_tokens=1)
    tokens, _ = await hear(undisturbed)
    assert tokens == expected_answer([1, 2, 3], 20)[1:]


async def test_a_worker_that_dies_in_a_step_is_an_engine_that_failed(start_fake: StartFake) -> None:
    client = await start_fake(Options(dies_on=666))
    with pytest.raises(EngineFailed):
        await hear(client.generate([666], GREEDY, max_tokens=1))
    assert await client.wait_closed() == -signal.SIGKILL


async def test_an_error_in_a_step_leaves_the_worker_alive(start_fake: StartFake) -> None:
    client = await start_fake(Options(fails_on=666))
    with pytest.raises(EngineFailed, match="log"):
        await hear(client.generate([666], GREEDY, max_tokens=1))
    tokens, _ = await hear(client.generate([1], GREEDY, max_tokens=4))
    assert tokens == expected_answer([1], 4)


async def test_a_model_that_cannot_be_loaded_is_the_loaders_error(
    start_fake: StartFake, new_workers: Callable[[], int]
) -> None:
    with pytest.raises(DoesNotFit, match="2 kB") as caught:
        await start_fake(Options(load_fails="does not fit"))
    assert caught.value.details == {"required_bytes": 2000, "available_bytes": 1000}
    with pytest.raises(EngineFailed) as failed:
        await start_fake(Options(load_fails="crash"))
    assert "secret" not in failed.value.message
    with pytest.raises(EngineFailed, match="SIGKILL while it loaded"):
        await start_fake(Options(load_fails="kill"))
    assert new_workers() == 0


async def test_a_load_can_be_cancelled(start_fake: StartFake, new_workers: Callable[[], int]) -> None:
    task = asyncio.ensure_future(start_fake(Options(load_s=60)))
    await until(lambda: new_workers() == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert new_workers() == 0


@pytest.mark.parametrize("force", [False, True])
async def test_closing_ends_answers_and_process(start_fake: StartFake, force: bool) -> None:
    client = await start_fake(SLOW)
    generation = await begin(client)
    await client.close(force=force)
    assert not psutil.pid_exists(client.pid)
    with pytest.raises(ModelNotReady):
        await hear(generation)
    with pytest.raises(ModelNotReady):
        client.generate([1], GREEDY, max_tokens=1)
    await client.close()


async def test_closing_does_not_wait_for_a_worker_that_is_stopped(
    start_fake: StartFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead.engine.client.END_WITHIN_S", 0.2)
    client = await start_fake(SLOW)
    os.kill(client.pid, signal.SIGSTOP)
    await until(lambda: psutil.Process(client.pid).status() == psutil.STATUS_STOPPED)
    await asyncio.wait_for(client.close(), timeout=2)
    assert await client.wait_closed() == -signal.SIGKILL


async def test_a_reader_that_lags_holds_nobody_up(start_fake: StartFake) -> None:
    client = await start_fake()
    lagging = client.generate([1, 2], GREEDY, max_tokens=200)
    for _ in range(3):
        tokens, _ = await hear(client.generate([5], GREEDY, max_tokens=200))
        assert len(tokens) == 200
    tokens, _ = await hear(lagging)
    assert tokens == expected_answer([1, 2], 200)


async def test_a_runner_that_does_not_exist(fake_environment: Callable[[Options], None]) -> None:
    load = Load(path="fake", context_length=16, kv_tokens=16)
    with pytest.raises(EngineFailed, match="log"):
        await EngineClient.start(load, runner=FAKE_RUNNER + "ing")
