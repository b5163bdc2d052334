"""Workers that serve the fake model."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from fairlead.engine.client import EngineClient
from fairlead.engine.messages import Load
from tests.fakes import FAKE_RUNNER, OPTIONS_VARIABLE, Options

StartFake = Callable[..., Awaitable[EngineClient]]


@pytest.fixture
def fake_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[Options], None]:
    """Says how the fakes behave that are spawned from here on."""
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]))
    return lambda options: monkeypatch.setenv(OPTIONS_VARIABLE, options.to_environment())


@pytest.fixture
async def start_fake(fake_environment: Callable[[Options], None]) -> AsyncIterator[StartFake]:
    """Starts a worker with the fake model, and closes it after the test."""
    clients: list[EngineClient] = []

    async def start(
        options: Options | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        context_length: int = 256,
        kv_tokens: int = 1024,
    ) -> EngineClient:
        fake_environment(options or Options())
        load = Load(path="fake", context_length=context_length, kv_tokens=kv_tokens, max_batch_tokens=64)
        clients.append(await EngineClient.start(load, on_progress, runner=FAKE_RUNNER))
        return clients[-1]

    yield start
    for client in clients:
        await client.close(force=True)
