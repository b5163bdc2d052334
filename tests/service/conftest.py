"""Registries whose models have real worker processes, on machines with as much memory as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from fairlead.engine.client import EngineClient
from fairlead.service import capacity
from fairlead.service.registry import Registry
from tests.served import settings_with_models, start_fake

MakeRegistry = Callable[..., Registry]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeRegistry]:
    """Makes a registry with changes to the usual settings."""
    made: list[Registry] = []

    def registry(start: Callable[..., Awaitable[EngineClient]] = start_fake, **changes: object) -> Registry:
        settings = settings_with_models(tmp_path / f"home{len(made)}", **{"shortest_stay_s": 0.1, **changes})
        made.append(Registry(settings, start))
        return made[-1]

    yield registry
    for one in made:
        await one.close(force=True)


@pytest.fixture
async def room_for_one(make: MakeRegistry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry on a machine that holds one of the models at a time."""
    registry = make(longest_wait_s=0.5)
    shrink(registry, monkeypatch, (await registry.estimate("hello")).plan.estimate.required_bytes, models=1.5)
    return registry


def shrink(registry: Registry, monkeypatch: pytest.MonkeyPatch, model_bytes: int, *, models: float) -> None:
    """Let the machine have memory for so many models, of which each worker takes what was estimated."""
    monkeypatch.setattr(EngineClient, "rss_bytes", lambda _: model_bytes)
    total = int(models * model_bytes)
    monkeypatch.setattr(capacity, "available_bytes", lambda: total - model_bytes * len(live(registry)))


def live(registry: Registry) -> list[str]:
    """The models with a worker, whatever it is doing."""
    return [model.name for model in registry.library if model.loaded is not None]


@pytest.fixture
def own_children() -> Callable[[], list[psutil.Process]]:
    """Says which child processes are this test's."""
    others = psutil.Process().children()
    return lambda: [child for child in psutil.Process().children() if child not in others]


def nothing() -> None:
    """Cancel nothing."""


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  (what tests wait for has no event)
            await asyncio.sleep(0.01)
