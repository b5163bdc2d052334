"""The server that a command speaks to: the one that runs, or one of the command's own; and how a command is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.cli.options import address
from fairlead.cli.terminal import note, progress
from fairlead.config import Settings

if TYPE_CHECKING:
    from fairlead.client import FairleadClient
    from fairlead.model_info import LoadProgress, ModelInfo


def is_piped() -> bool:
    """Whether something is piped or redirected into this program."""
    try:
        kind = os.fstat(sys.stdin.fileno()).st_mode
    except OSError:  # closed, or no file at all
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISREG(kind)


def is_file(model: str) -> bool:
    """Whether this means a model file and not a model's name."""
    from fairlead.gguf.catalogue import looks_like_a_file

    return looks_like_a_file(model)


async def reached_server(
    stack: AsyncExitStack,
    model: str | None,
    url: str | None,
    key: str | None,
    settings: Settings,
    config: Path | None,
) -> FairleadClient:
    """A client of the running server, or of one that lives as long as `stack`; a file needs one of its own."""
    from fairlead.cli.temporary import temporary_server
    from fairlead.client import FairleadClient, Unreachable

    if model is None or not is_file(model):
        client = await stack.enter_async_context(FairleadClient(address(settings, url), key))
        try:
            await client.health()
        except Unreachable as error:
            if url is not None:
                raise
            note(f"{error.message} Starting one for this answer.")
        else:
            return client
    else:
        note(f"Starting a server for {model}.")
    started = await stack.enter_async_context(temporary_server(settings, config, model))
    return await stack.enter_async_context(FairleadClient(started))


async def see_loaded(client: FairleadClient, name: str | None) -> None:
    """Have the model loaded, with its progress in sight; `name` None is the active one, where there is one."""
    health = await client.health()
    name = name or health.active_model
    if name is None or health.models.get(name) == "loaded":
        return
    await load_in_sight(name, client.load_model(name))


async def load_in_sight(name: str, steps: AsyncIterable[LoadProgress | ModelInfo]) -> ModelInfo:
    """The model that a load comes to, with its progress in sight meanwhile."""
    from fairlead.model_info import LoadProgress, ModelInfo

    with progress(name) as update:
        async for step in steps:
            if isinstance(step, LoadProgress):
                update(step.phase, step.bytes, step.total)
    assert isinstance(step, ModelInfo)
    return step


async def until_told(answering: Coroutine[None, None, int]) -> int:
    """The exit status; a signal ends the answer properly, with the server that was started for it.

    A signal cancels `answering`, whose own status then counts no more; a second one cancels what it still does.
    """
    task = asyncio.ensure_future(answering)
    told: list[int] = []

    def stop(number: int) -> None:
        told.append(128 + number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        status = await task
    except asyncio.CancelledError:
        if not told:
            raise
    return told[0] if told else status
