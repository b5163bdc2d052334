"""Starting, watching and ending the worker processes of models.

Owns the tasks that watch workers; which model has one and when is the registry's to decide.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from fairlead.config import Settings
from fairlead.engine import messages
from fairlead.engine.client import EngineClient
from fairlead.errors import EngineFailed
from fairlead.service.facts import Reading
from fairlead.service.memory import Plan
from fairlead.service.model import LoadedModel, Model
from fairlead.service.progress import Pace

logger = logging.getLogger(__name__)

LOAD_STALLS_AFTER_S: Final = 120.0
"""A load that tells of no progress for so long has failed; a tensor from a slow disk takes its time."""
_WATCH_S: Final = 0.5
_FORCE_S: Final = 2.0
"""How long cancelled answers have to end before their worker is stopped under them."""


class StartEngine(Protocol):
    """`EngineClient.start`, or a stand-in for tests."""

    def __call__(
        self, load: messages.Load, on_progress: Callable[[int, int], None] | None = None, /
    ) -> Awaitable[EngineClient]:
        """A worker that has loaded the model."""


class Workers:
    """The workers of one server.

    Args:
        settings: of the server.
        start_engine: starts a worker.
        on_death: called with a model, and how its worker ended, where nobody had asked for that.
    """

    def __init__(self, settings: Settings, start_engine: StartEngine, on_death: Callable[[Model, str], None]) -> None:
        self._settings = settings
        self._start_engine = start_engine
        self._on_death = on_death
        self._watches: set[asyncio.Task[None]] = set()

    async def start(self, model: Model, path: Path, reading: Reading, plan: Plan) -> LoadedModel:
        """A worker that has loaded the model's file; its progress is told.

        Raises:
            FairleadError: as `EngineClient.start`.
            EngineFailed: also where the load did not get on for `LOAD_STALLS_AFTER_S`.
        """
        told = Pace()
        stirred_at = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal stirred_at
            stirred_at = time.monotonic()
            if step := told.progress("loading", done, total):
                model.tell(step)

        start = asyncio.ensure_future(self._start_engine(plan.command(path, self._settings), report))
        try:
            while not start.done():
                left = stirred_at + LOAD_STALLS_AFTER_S - time.monotonic()
                if left <= 0:
                    raise EngineFailed(f"{model.name}: the load did not get on for {LOAD_STALLS_AFTER_S:.0f} s.")
                await asyncio.wait({start}, timeout=left)
        finally:
            if not start.done():  # ends the worker
                start.cancel()
                await asyncio.wait({start})
        shared = model.entry.defaults.share_prefixes
        return LoadedModel(
            name=model.name,
            engine=start.result(),
            tokenizer=reading.tokenizer,
            template=reading.template,
            context_length=plan.context_length,
            defaults=model.entry.defaults,
            estimate=plan.estimate,
            opening=reading.opening,
            share_prefixes=self._settings.share_prefixes if shared is None else shared,
        )

    def watch(self, model: Model) -> None:
        """See from now on that the model's worker lives and gets on."""
        assert model.loaded is not None
        task = asyncio.create_task(self._watch(model, model.loaded.engine), name=f"watch {model.name}")
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)

    def begin_end(self, model: Model) -> None:
        """Take nothing new on a model from now on, and unload it once what runs on it has ended."""
        if model.unloading is None and model.loaded is not None:
            model.state = "unloading"
            model.force.clear()
            model.unloading = asyncio.create_task(self._unload(model, model.loaded.engine))

    async def end(self, model: Model, *, force: bool = False) -> None:
        """Unload once, however many ask for it; one who asks with `force` speeds it up for all."""
        self.begin_end(model)
        if force:
            model.force.set()
        if model.unloading is not None:
            await asyncio.wait({model.unloading})

    async def close(self) -> None:
        """Watch no more."""
        for task in self._watches:
            task.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    async def _watch(self, model: Model, engine: EngineClient) -> None:
        closed = asyncio.ensure_future(engine.wait_closed())
        stuck = ""
        try:
            while not closed.done():
                await asyncio.wait({closed}, timeout=min(_WATCH_S, self._settings.watchdog_s / 4))
                if closed.done() or model.loaded is None or model.loaded.engine is not engine:
                    continue
                if model.note_signs() > self._settings.watchdog_s and not stuck:
                    stuck = f"made no progress for {self._settings.watchdog_s:g} s and was ended"
                    logger.error("the worker of %s %s", model.name, stuck)
                    engine.kill()
        finally:
            closed.cancel()
        if model.loaded is not None and model.loaded.engine is engine and model.unloading is None:
            self._on_death(model, stuck or _how(closed.result()))

    async def _unload(self, model: Model, engine: EngineClient) -> None:
        idle = asyncio.create_task(model.idle.wait())
        forced = asyncio.create_task(model.force.wait())
        try:
            await asyncio.wait({idle, forced}, return_when=asyncio.FIRST_COMPLETED)
            if not idle.done():
                model.cancel_all()
                await asyncio.wait({idle}, timeout=_FORCE_S)
            await engine.close(force=not idle.done())
        finally:
            idle.cancel()
            forced.cancel()
            model.rest()
            model.unloading = None
            model.on_idle()
        logger.info("model %s unloaded", model.name)


def _how(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
