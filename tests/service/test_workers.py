"""Workers that die, hang or never come up: what is brought back, and what is said of the rest."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fairlead.config import Settings
from fairlead.engine.client import EngineClient
from fairlead.engine.messages import Load
from fairlead.errors import EngineFailed, ModelFileError
from fairlead.gguf.shelf import Shelf
from fairlead.service.registry import Registry
from tests.served import start_fake
from tests.service.conftest import MakeRegistry, live, nothing, until


async def test_a_killed_worker_is_back_soon_and_leaves_no_zombie(make: MakeRegistry) -> None:
    registry = make()
    await registry.load("hello")
    pid = registry.loaded()[0].engine.pid
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: bool(registry.loaded()) and registry.loaded()[0].engine.pid != pid)
    assert time.monotonic() - began < 3
    assert not psutil.pid_exists(pid)
    assert registry.trouble() is None


async def test_one_that_cannot_be_brought_back_has_failed_and_says_why(
    make: MakeRegistry, monkeypatch: pytest.MonkeyPatch, own_children: Callable[[], list[psutil.Process]]
) -> None:
    monkeypatch.setattr("fairlead.service.supervision.RESTART_AFTER_S", (0.01, 0.02, 0.03))
    tries: list[str] = []

    async def start(load: Load, on_progress: Callable[[int, int], None] | None = None) -> EngineClient:
        tries.append(load.path)
        if len(tries) > 1:
            load = Load(path=load.path.replace("hello", "crashing"), context_length=1, kv_tokens=1)
        return await start_fake(load, on_progress)

    registry = make(start)
    await registry.load("hello")
    os.kill(registry.loaded()[0].engine.pid, signal.SIGKILL)
    await until(lambda: registry.trouble() is not None)
    waiting = asyncio.create_task(registry.acquire("hello", nothing))
    with pytest.raises(EngineFailed, match="4 times in a row"):
        await waiting
    assert len(tries) == 4
    assert registry.states()["hello"] == "failed"
    assert not own_children()


async def test_an_unload_ends_the_tries(make: MakeRegistry) -> None:
    registry = make()
    await registry.load("hello")
    os.kill(registry.loaded()[0].engine.pid, signal.SIGKILL)
    await until(lambda: registry.trouble() is not None)
    assert (await registry.unload("hello")).state == "downloaded"
    await asyncio.sleep(0.5)
    assert live(registry) == []


async def test_a_file_that_was_cut_short_meanwhile_is_not_loaded_again(make: MakeRegistry) -> None:
    registry = make()
    await registry.load("hello")
    model = registry.library.find("hello")
    assert model.path is not None
    data = model.path.read_bytes()
    model.path.unlink()
    model.path.write_bytes(data[: len(data) // 2])
    os.kill(registry.loaded()[0].engine.pid, signal.SIGKILL)
    await until(lambda: registry.states()["hello"] == "failed")
    assert "cut short" in str(model.error)


async def test_a_corrupt_file_is_never_loaded(make: MakeRegistry, tmp_path: Path) -> None:
    settings: Settings = make()._settings
    entry = next(entry for entry in settings.models if entry.name == "hello")
    path = settings.home / "hello.gguf"
    sha256 = Shelf(settings.models_dir).prove(entry, path)
    pinned = tuple(replace(entry, sha256=sha256) if entry.name == "hello" else entry for entry in settings.models)
    registry = Registry(replace(settings, models=pinned), start_fake)
    await registry.load("hello")
    await registry.unload("hello")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="corrupt"):
        await registry.load("hello")
    assert registry.states()["hello"] == "failed"
    await registry.close()


async def test_a_load_that_does_not_get_on_is_ended(make: MakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.service.workers.LOAD_STALLS_AFTER_S", 0.2)

    async def start(load: Load, on_progress: Callable[[int, int], None] | None = None) -> EngineClient:
        await asyncio.sleep(60)
        raise AssertionError

    registry = make(start)
    with pytest.raises(EngineFailed, match="did not get on"):
        await registry.load("hello")
