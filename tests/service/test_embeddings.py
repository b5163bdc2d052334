"""Embeddings over a registry with a real worker: loads on demand, portions, cutting, limits, and ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fairlead.errors import (
    DownloadError,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    QueueFull,
    TokensUsedUp,
)
from fairlead.service.embedding import Embedder
from fairlead.service.embeddings import Embeddings
from fairlead.service.metrics import Metrics
from fairlead.service.registry import Registry
from fairlead.service.users import Users
from tests.served import ENCODER
from tests.service.conftest import MakeRegistry, nothing, until


def embeddings_of(registry: Registry, model: str = ENCODER, max_waiting: int = 8) -> Embeddings:
    users = Users({}, max_waiting=2, count=lambda name, prompt, _: COUNTED.update({name: prompt}))
    return Embeddings(registry, users, Metrics(), model, max_waiting=max_waiting, admit=admit)


COUNTED: Counter[str] = Counter()


async def admit(name: str) -> None:
    if name == "spent":
        raise TokensUsedUp("All used up.", details={"retry_after_s": 1.0})


async def test_a_persons_tokens_are_counted_and_limited_and_the_servers_own_are_not(make: MakeRegistry) -> None:
    embeddings = embeddings_of(make())
    COUNTED.clear()
    await embeddings.embed(["the rope"])
    await embeddings.answer(["the rope"], None, "anna")
    assert COUNTED == {"anna": 4}
    with pytest.raises(TokensUsedUp):
        await embeddings.answer(["the rope"], None, "spent")


async def test_the_model_is_loaded_when_it_is_needed(make: MakeRegistry) -> None:
    registry = make()
    embedder: Embedder = embeddings_of(registry)
    vectors = await embedder.embed(["the rope", "a ship"])
    assert vectors.shape == (2, 256)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (embedder.name, registry.states()[ENCODER], registry.active) == (ENCODER, "loaded", None)


async def test_it_is_loaded_though_requests_load_nothing(make: MakeRegistry) -> None:
    registry = make(load_on_demand=False)
    embeddings = embeddings_of(registry)
    with pytest.raises(ModelNotReady):
        await embeddings.answer(["rope"], None, "anna")
    assert len(await embeddings.embed(["rope"])) == 1
    assert (await embeddings.answer(["rope"], None, "anna")).tokens == 3


async def test_any_number_of_texts_goes_in_portions_and_long_ones_are_cut(make: MakeRegistry) -> None:
    embeddings = embeddings_of(make())
    texts = [f"rope {number} line" * (1 + number % 3) for number in range(300)]
    vectors = await embeddings.embed(texts)
    assert len(vectors) == 300
    np.testing.assert_array_equal((await embeddings.embed([texts[271]]))[0], vectors[271])
    assert (await embeddings.embed([])).size == 0
    fits, longer, much_longer = await embeddings.embed(["rope " * 62, "rope " * 63, "rope " * 5000])
    np.testing.assert_array_equal(longer, fits)
    np.testing.assert_array_equal(much_longer, fits)
    assert len(await embeddings.embed([""])) == 1, "the marks around it are a text"


async def test_a_model_that_cannot_is_said_so(make: MakeRegistry) -> None:
    registry = make()
    with pytest.raises(InvalidRequest, match="only chats"):
        await embeddings_of(registry).answer(["rope"], "hello", "anna")
    with pytest.raises(InvalidRequest, match="only makes vectors"):
        await registry.acquire(ENCODER, nothing)
    with pytest.raises(InvalidRequest, match="only makes vectors"):
        await registry.set_active(ENCODER)
    assert set(registry.states().values()) == {"downloaded", "available"}, "nothing was loaded for that"
    with pytest.raises(ModelNotFound):
        await embeddings_of(registry, "nothing").embed(["rope"])
    with pytest.raises(DownloadError):
        await embeddings_of(registry, "absent").embed(["rope"])


async def test_a_server_that_starts_with_it_has_no_active_model(make: MakeRegistry) -> None:
    registry = make()
    await registry.start(ENCODER)
    assert (registry.states()[ENCODER], registry.active) == ("loaded", None)
    await registry.load("hello")
    assert registry.active == "hello"


async def test_who_asks_for_too_much_at_once_is_told_to_come_back(make: MakeRegistry) -> None:
    embeddings = embeddings_of(make(), max_waiting=3)
    texts = ["rope line " * 20] * 200
    asked = [
        asyncio.create_task(embeddings.answer(texts, None, user)) for user in ("anna", "anna", "anna", "ben", "eve")
    ]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(one, QueueFull) for one in found] == [False, False, True, False, True]
    assert (await embeddings.answer(texts[:1], None, "anna")).vectors.shape == (1, 256)


async def test_the_end_of_what_runs_can_be_waited_for(make: MakeRegistry) -> None:
    embeddings = embeddings_of(make())
    await embeddings.embed(["rope"])
    await embeddings.drain(0.0)
    task = asyncio.create_task(embeddings.answer(["rope line " * 20] * 300, None, "anna"))
    await asyncio.sleep(0)
    await embeddings.drain(0.0)
    assert not task.done()
    await embeddings.drain(30.0)
    assert len((await asyncio.wait_for(task, 1)).vectors) == 300


async def test_who_goes_away_leaves_nothing_behind(make: MakeRegistry) -> None:
    registry = make()
    embeddings = embeddings_of(registry)
    await embeddings.embed(["rope"])
    (loaded,) = registry.loaded()
    task = asyncio.create_task(embeddings.answer(["rope line " * 30] * 2000, None, "anna"))
    await until(lambda: loaded.engine.in_flight > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert loaded.engine.in_flight == 0
    before = loaded.engine.stats
    await embeddings.embed(["rope"])
    await until(lambda: (stats := loaded.engine.stats) is not before and stats is not None and stats.running == 0)
    await registry.unload(ENCODER)


async def test_a_worker_that_dies_ends_its_requests_and_comes_back(make: MakeRegistry) -> None:
    registry = make()
    embeddings = embeddings_of(registry)
    await embeddings.embed(["rope"])
    (loaded,) = registry.loaded()
    task = asyncio.create_task(embeddings.embed(["rope line " * 30] * 2000))
    await until(lambda: loaded.engine.in_flight > 0)
    loaded.engine.kill()
    with pytest.raises(EngineFailed):
        await task
    await until(lambda: registry.states()[ENCODER] == "loaded")
    assert len(await embeddings.embed(["rope"])) == 1


async def test_an_unload_by_force_ends_what_runs(make: MakeRegistry) -> None:
    registry = make()
    embeddings = embeddings_of(registry)
    await embeddings.embed(["rope"])
    (loaded,) = registry.loaded()
    task = asyncio.create_task(embeddings.embed(["rope line " * 30] * 2000))
    await until(lambda: loaded.engine.in_flight > 0)
    await registry.unload(ENCODER, force=True)
    with pytest.raises(ModelNotReady):
        await task


async def test_the_estimate_holds_what_the_worker_takes(make: MakeRegistry, embedding_model: Path) -> None:
    registry = make()
    name = registry.add(str(embedding_model))
    estimate = (await registry.estimate(name)).plan.estimate
    status = await registry.load(name)
    assert status.context_length == 256, "as the settings have it"
    embeddings = embeddings_of(registry, name)
    await embeddings.embed(["a line that is led fairly " * 100] * 20)
    (loaded,) = registry.loaded()
    told = loaded.engine.loaded
    assert abs(told.weight_bytes / estimate.weight_bytes - 1) < 0.01
    assert told.work_bytes <= estimate.work_bytes
    assert loaded.engine.rss_bytes() <= estimate.required_bytes
