"""The registry without HTTP: downloads, memory, names, and loads that come together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fairlead.config import Settings
from fairlead.errors import Conflict, DoesNotFit, DownloadError, Draining, ModelNotFound, ModelNotReady
from fairlead.gguf.staging import Progress as Fetched
from fairlead.model_entry import ModelEntry
from fairlead.service import capacity
from fairlead.service.progress import Progress
from fairlead.service.registry import Registry
from tests.served import CONTEXT, settings_with_models, start_fake


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with_models(tmp_path / "home")


@pytest.fixture
async def registry(settings: Settings) -> AsyncIterator[Registry]:
    registry = Registry(settings, start_fake)
    yield registry
    await registry.close(force=True)


async def test_the_first_model_loaded_is_the_active_one(registry: Registry) -> None:
    with pytest.raises(ModelNotReady, match="No model is active"):
        await registry.acquire(None, lambda: None)
    await registry.load("hello")
    await registry.load("other")
    assert registry.active == "hello"
    await registry.set_active("OTHER")  # in whatever case
    assert registry.active == "other"
    assert [model.name for model in registry.loaded()] == ["hello", "other"]


async def test_names_and_files(registry: Registry, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        await registry.load("nobody")
    with pytest.raises(ModelNotFound):
        await registry.load(str(settings.home / "hello.gguf"))  # a path is for the operator alone
    with pytest.raises(ModelNotFound):
        registry.add(str(tmp_path / "nothing.gguf"))
    assert registry.add("hello") == "hello"
    (settings.home / "hello.gguf").rename(settings.home / "lingering.gguf")
    assert registry.add(str(settings.home / "lingering.gguf")) == "lingering"
    assert (await registry.load("lingering")).state == "loaded"


async def test_files_that_come_and_go_are_noticed(registry: Registry, settings: Settings) -> None:
    (settings.home / "other.gguf").rename(settings.home / "absent.gguf")
    states = registry.states()
    assert (states["other"], states["absent"]) == ("available", "downloaded")
    statuses = {status.name: status for status in await registry.statuses()}
    assert statuses["absent"].size_bytes
    assert statuses["other"].size_bytes is None


async def test_a_lease_keeps_a_model(registry: Registry) -> None:
    await registry.load("hello")
    cancelled: list[str] = []
    lease = await registry.acquire("hello", lambda: cancelled.append("it"))
    unload = asyncio.create_task(registry.unload("hello"))
    await asyncio.sleep(0.05)
    assert not unload.done()
    late = asyncio.create_task(registry.acquire("hello", lambda: None))
    await asyncio.sleep(0.05)
    assert not late.done()
    lease.release()
    lease.release()
    assert (await unload).state == "downloaded"
    assert not cancelled
    (await late).release()  # it had the model loaded again
    assert registry.states()["hello"] == "loaded"


async def test_force_cancels_and_does_not_wait_for_ever(registry: Registry) -> None:
    await registry.load("hello")
    cancelled: list[str] = []
    await registry.acquire("hello", lambda: cancelled.append("it"))
    patient = asyncio.create_task(registry.unload("hello"))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    assert (await registry.unload("hello", force=True)).state == "downloaded"
    assert (await patient).state == "downloaded"
    assert cancelled == ["it"]
    assert time.monotonic() - began < 5


async def test_a_load_that_follows_an_unload_waits_for_it(registry: Registry) -> None:
    await registry.load("hello")
    unload = asyncio.create_task(registry.unload("hello"))
    await asyncio.sleep(0)
    assert (await registry.load("hello", 128)).context_length == 128
    await unload


async def test_a_storm_ends_every_call(registry: Registry) -> None:
    async def call(number: int) -> str:
        try:
            match number % 4:
                case 0 | 1:
                    await registry.load("hello")
                case 2:
                    await registry.set_active("other")
                case _:
                    await registry.unload(("hello", "other")[number % 8 // 4], force=number % 3 == 0)
        except Conflict:
            return "conflict"
        return "done"

    ends = await asyncio.wait_for(asyncio.gather(*(call(number) for number in range(24))), 30)
    assert set(ends) <= {"done", "conflict"}
    for name in ("hello", "other"):
        assert (await registry.load(name)).state == "loaded"


async def test_memory_that_was_promised_is_not_promised_twice(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = await registry.load("hello", pin=True)
    assert status.estimated_bytes is not None
    engine = registry.loaded()[0].engine
    monkeypatch.setattr(type(engine), "rss_bytes", lambda _: 10 << 20)
    monkeypatch.setattr(capacity, "available_bytes", lambda: 2 * status.estimated_bytes - (20 << 20))
    with pytest.raises(DoesNotFit) as refused:
        await registry.load("other")
    assert refused.value.details["pinned"] == ["hello"]
    assert registry.states()["other"] == "downloaded"
    monkeypatch.setattr(capacity, "available_bytes", lambda: 2 * status.estimated_bytes)
    await registry.load("other")


async def test_closing_ends_loads_and_workers(registry: Registry) -> None:
    await registry.load("hello")
    engine = registry.loaded()[0].engine
    load = asyncio.create_task(registry.load("lingering"))
    await asyncio.sleep(0.3)
    await registry.close()
    await engine.wait_closed()
    with pytest.raises(Draining):
        await load
    with pytest.raises(Draining):
        await registry.load("hello")
    with pytest.raises(Draining):
        await registry.acquire("hello", lambda: None)


async def test_a_start_that_fails_is_told_by_the_state(registry: Registry) -> None:
    await registry.start("damaged")
    assert registry.states()["damaged"] == "failed"
    assert registry.active == "damaged"
    trouble = registry.trouble()
    assert trouble is not None
    assert "damaged" in trouble


# ---- downloads ------------------------------------------------------------------------------------

Report = Callable[[Fetched], None]


async def test_a_model_is_downloaded_first(
    registry: Registry, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def fetch(entry: ModelEntry, models_dir: Path, report: Report) -> Path:
        calls.append(entry.name)
        assert models_dir == settings.models_dir
        for done in range(0, 101, 20):
            report(Fetched("downloading", done, 100))
        report(Fetched("verifying", 100, 100))
        time.sleep(0.2)
        return settings.home / "hello.gguf"

    monkeypatch.setattr("fairlead.gguf.download.fetch", fetch)
    told: list[Progress] = []
    loads = [asyncio.create_task(registry.load("absent", None, told.append)) for _ in range(2)]
    await asyncio.sleep(0.1)
    assert registry.states()["absent"] == "downloading"
    statuses = await asyncio.gather(*loads)
    assert calls == ["absent"]
    assert [status.state for status in statuses] == ["loaded", "loaded"]
    assert statuses[0].context_length == CONTEXT
    assert {step.phase for step in told} >= {"downloading", "verifying", "loading"}


async def test_an_unload_ends_a_download(
    registry: Registry, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = False

    def fetch(entry: ModelEntry, models_dir: Path, report: Report) -> Path:
        nonlocal ended
        try:
            while True:
                report(Fetched("downloading", 0, None))
                time.sleep(0.01)
        finally:
            ended = True

    monkeypatch.setattr("fairlead.gguf.download.fetch", fetch)
    load = asyncio.create_task(registry.load("absent"))
    await asyncio.sleep(0.1)
    assert (await registry.unload("absent")).state == "available"
    with pytest.raises(Conflict, match="unload"):
        await load
    await asyncio.sleep(0.1)
    assert ended


async def test_a_download_that_fails(registry: Registry) -> None:
    with pytest.raises(DownloadError):
        await registry.load("absent")
    assert registry.states()["absent"] == "failed"
    assert (await registry.unload("absent")).state == "available"
    with pytest.raises(Conflict):
        await registry.unload("absent")
