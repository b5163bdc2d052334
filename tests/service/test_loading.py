"""Several models in too little memory: who leaves, who waits, and what is put back, with real worker processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fairlead.engine.client import EngineClient
from fairlead.engine.messages import Load
from fairlead.errors import Conflict, DoesNotFit, EngineFailed, FairleadError, ModelFileError, ModelNotReady
from fairlead.model_entry import ModelDefaults
from fairlead.service.registry import Registry
from tests.served import start_fake
from tests.service.conftest import MakeRegistry, live, nothing, shrink, until

# ---- making room ----------------------------------------------------------------------------------


async def test_an_idle_model_is_swapped_and_the_new_one_is_active_in_its_place(room_for_one: Registry) -> None:
    await room_for_one.load("hello")
    await room_for_one.load("other")
    assert live(room_for_one) == ["other"]
    assert room_for_one.active == "other"


async def test_a_model_that_answers_is_left_alone_and_the_refusal_has_the_figures(room_for_one: Registry) -> None:
    await room_for_one.load("hello")
    lease = await room_for_one.acquire("hello", nothing)
    with pytest.raises(DoesNotFit) as refused:
        await room_for_one.load("other")
    details = refused.value.details
    assert details["busy"] == ["hello"]
    assert "hello" in refused.value.message
    assert 0 < int(str(details["available_bytes"])) < int(str(details["required_bytes"]))
    assert live(room_for_one) == ["hello"]
    assert room_for_one.active == "hello"
    lease.release()
    await room_for_one.load("other")


async def test_a_pinned_model_is_never_given_up(room_for_one: Registry) -> None:
    await room_for_one.load("hello", pin=True)
    with pytest.raises(DoesNotFit):
        await room_for_one.load("other")
    with pytest.raises(DoesNotFit):
        await room_for_one.acquire("other", nothing)
    await room_for_one.load("hello", pin=False)
    (await room_for_one.acquire("other", nothing)).release()


async def test_a_load_that_fails_half_way_puts_back_what_left_for_it(room_for_one: Registry) -> None:
    await room_for_one.load("hello")
    with pytest.raises(EngineFailed) as failed:
        await room_for_one.load("crashing")
    assert failed.value.details["unloaded"] == ["hello"]
    assert failed.value.details["loaded_again"] == ["hello"]
    lease = await room_for_one.acquire(None, nothing)  # waits until it is back
    assert lease.model.name == "hello"
    assert room_for_one.active == "hello"
    assert room_for_one.states()["crashing"] == "failed"
    lease.release()


async def test_an_unload_amid_a_load_puts_back_what_left_for_it(room_for_one: Registry) -> None:
    await room_for_one.load("hello")
    load = asyncio.create_task(room_for_one.load("lingering"))
    await until(lambda: live(room_for_one) == [])
    await room_for_one.unload("lingering")
    with pytest.raises(Conflict):
        await load
    (await room_for_one.acquire("hello", nothing)).release()


async def test_a_model_that_is_removed_while_requests_wait_for_it_keeps_nobody_waiting(
    room_for_one: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room_for_one.load("hello")
    lease = await room_for_one.acquire("hello", nothing)
    waiting = asyncio.create_task(room_for_one.acquire("other", nothing))
    await asyncio.sleep(0.05)
    del room_for_one.library._models["other"]
    monkeypatch.setattr(room_for_one.library._catalogue, "_entries", {})
    lease.release()
    with pytest.raises(FairleadError):
        await waiting
    lease = await room_for_one.acquire("hello", nothing)  # the housekeeping goes on
    lease.release()


async def test_a_damaged_file_moves_nobody(room_for_one: Registry) -> None:
    status = await room_for_one.load("hello")
    with pytest.raises(ModelFileError):
        await room_for_one.load("damaged")
    assert live(room_for_one) == ["hello"]
    assert (await room_for_one.load("hello")).used_bytes == status.used_bytes


async def test_an_estimate_says_what_the_load_would_do(room_for_one: Registry) -> None:
    await room_for_one.load("hello")
    told = await room_for_one.estimate("other")
    assert (told.fits, told.unloads) == (True, ("hello",))
    lease = await room_for_one.acquire("hello", nothing)
    told = await room_for_one.estimate("other")
    assert (told.fits, told.unloads) == (False, ())
    assert told.available_bytes < told.plan.estimate.required_bytes
    assert (await room_for_one.estimate("hello")).fits, "its own memory is its own to have"
    lease.release()
    status = await room_for_one.load("other")
    assert status.estimated_bytes == told.plan.estimate.required_bytes
    assert status.measured_bytes == status.used_bytes


# ---- on demand, and in turn -----------------------------------------------------------------------


async def test_a_request_has_its_model_loaded(make: MakeRegistry) -> None:
    registry = make()
    await registry.load("hello")
    lease = await registry.acquire("other", nothing)
    assert lease.model.name == "other"
    assert registry.active == "hello"
    lease.release()


async def test_unless_that_is_switched_off_or_it_is_not_here_or_has_failed(make: MakeRegistry) -> None:
    registry = make(load_on_demand=False)
    with pytest.raises(ModelNotReady, match="load it with"):
        await registry.acquire("other", nothing)
    registry = make()
    with pytest.raises(ModelNotReady, match="available"):
        await registry.acquire("absent", nothing)
    with pytest.raises(FairleadError):
        await registry.acquire("crashing", nothing)
    with pytest.raises(ModelNotReady, match="failed"):
        await registry.acquire("crashing", nothing)


async def test_a_request_joins_a_load_that_is_under_way(make: MakeRegistry) -> None:
    registry = make(load_on_demand=False)
    load = asyncio.create_task(registry.load("lingering"))
    await until(lambda: registry.states()["lingering"] == "loading")
    (await registry.acquire("lingering", nothing)).release()
    await load


async def test_alternating_requests_cost_two_loads(make: MakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    async def start(load: Load, on_progress: Callable[[int, int], None] | None = None) -> EngineClient:
        loads.append(Path(load.path).stem)
        return await start_fake(load, on_progress)

    registry = make(start)
    shrink(registry, monkeypatch, (await registry.estimate("hello")).plan.estimate.required_bytes, models=1.5)

    async def ask(name: str) -> str:
        lease = await registry.acquire(name, nothing)
        await asyncio.sleep(0.05)
        lease.release()
        return lease.model.name

    names = ["hello", "other"] * 3
    assert await asyncio.gather(*map(ask, names)) == names
    assert loads == ["hello", "other"]


async def test_who_waits_too_long_closes_the_model_in_the_way(room_for_one: Registry) -> None:
    """Requests for "hello" overlap without end; one for "other" is served all the same, and cuts none of them off."""
    over = False
    cut: list[str] = []

    async def keep_busy() -> None:
        while not over:
            lease = await room_for_one.acquire("hello", lambda: cut.append("hello"), user="busy")
            await asyncio.sleep(0.1)
            lease.release()

    busy = [asyncio.create_task(keep_busy()) for _ in range(3)]
    await asyncio.sleep(0.5)
    began = time.monotonic()
    lease = await room_for_one.acquire("other", nothing, user="one")
    waited = time.monotonic() - began
    assert 0.4 < waited < 5
    lease.release()
    await until(lambda: live(room_for_one) == ["hello"])  # whose turn it is again
    over = True
    await asyncio.gather(*busy)
    assert not cut


async def test_switching_waits_for_running_answers_where_loading_does_not(room_for_one: Registry) -> None:
    await room_for_one.load("hello")
    lease = await room_for_one.acquire("hello", nothing)
    switch = asyncio.create_task(room_for_one.set_active("other"))
    await asyncio.sleep(0.8)
    assert not switch.done()
    assert room_for_one.active == "hello"
    lease.release()
    await switch
    assert room_for_one.active == "other"


async def test_a_request_that_leaves_while_it_waits_leaves_nothing_behind(room_for_one: Registry) -> None:
    await room_for_one.load("hello")
    lease = await room_for_one.acquire("hello", nothing)
    waiting = asyncio.create_task(room_for_one.acquire("other", nothing))
    await asyncio.sleep(0.7)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0.1)
    (await room_for_one.acquire("hello", nothing)).release()  # open again
    lease.release()
    assert live(room_for_one) == ["hello"]


# ---- keeping --------------------------------------------------------------------------------------


async def test_a_model_is_kept_for_as_long_as_was_asked(make: MakeRegistry) -> None:
    registry = make()
    await registry.load("hello", keep_alive=0.3)
    lease = await registry.acquire("hello", nothing)
    await asyncio.sleep(0.5)
    assert live(registry) == ["hello"]
    lease.release()
    await asyncio.sleep(0.1)
    assert live(registry) == ["hello"]
    await until(lambda: live(registry) == [])
    assert registry.active == "hello"
    (await registry.acquire(None, nothing, keep_alive=0)).release()
    await until(lambda: live(registry) == [], 2)


async def test_settings_say_how_long_and_who_is_pinned(make: MakeRegistry, tmp_path: Path) -> None:
    defaults = {"hello": ModelDefaults(keep_alive=0.2), "other": ModelDefaults(pin=True, keep_alive=0.1)}
    registry = make(model_defaults=defaults, keep_alive=60.0)
    assert (await registry.load("hello")).keep_alive_s == 0.2
    assert (await registry.load("other")).pinned
    assert (await registry.load("counting")).keep_alive_s == 60
    await until(lambda: live(registry) == ["other", "counting"])


# ---- all of it at once ----------------------------------------------------------------------------


async def test_a_storm_of_everything_ends_every_call(
    room_for_one: Registry, own_children: Callable[[], list[psutil.Process]]
) -> None:
    """Loads, switches, unloads, requests and deaths at once: every call ends, and one model at most has a worker."""
    dice = random.Random(5)
    most = 0

    async def call(number: int) -> str:
        await asyncio.sleep(dice.random() * 2)
        name = dice.choice(["hello", "other", "counting"])
        nonlocal most
        most = max(most, len(live(room_for_one)))
        try:
            match number % 6:
                case 0:
                    await room_for_one.load(name)
                case 1:
                    await room_for_one.set_active(name)
                case 2:
                    await room_for_one.unload(name, force=dice.random() < 0.5)
                case 3:
                    for loaded in room_for_one.loaded():
                        os.kill(loaded.engine.pid, signal.SIGKILL)
                case _:
                    lease = await room_for_one.acquire(name, nothing, user=str(number % 3))
                    await asyncio.sleep(0.02)
                    lease.release()
        except FairleadError as error:
            return error.code
        return "done"

    ends = await asyncio.wait_for(asyncio.gather(*map(call, range(60))), 60)
    assert set(ends) <= {"done", "conflict", "insufficient_memory", "engine_failed", "model_not_ready"}
    assert ends.count("done") > 20
    assert most <= 1
    for name in ("hello", "other", "counting"):
        assert (await room_for_one.load(name)).state == "loaded"
    assert len(own_children()) == 1
