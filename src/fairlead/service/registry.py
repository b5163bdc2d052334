"""The models known to the server, the state of each, and which of them is the active one.

Owns the workers: it loads, watches and unloads them. At most one load per model is under way, whoever asks
and however often; loads of different models wait for each other once they take memory. Knows nothing of
HTTP, and of a request only that it holds a model (`Lease`).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from fairlead.config import Settings
from fairlead.engine import messages
from fairlead.engine.client import EngineClient
from fairlead.errors import (
    Conflict,
    DoesNotFit,
    DownloadError,
    Draining,
    EngineFailed,
    FairleadError,
    ModelNotReady,
)
from fairlead.gguf import download
from fairlead.gguf.catalogue import Catalogue
from fairlead.service import memory
from fairlead.service.model import Facts, Lease, LoadedModel, Model, ModelStatus, Pace, Reading, Watcher

logger = logging.getLogger(__name__)

_WATCH_S = 0.5
_FORCE_S = 2.0
"""How long cancelled answers have to end before their worker is stopped under them."""


class StartEngine(Protocol):
    """`EngineClient.start`, or a stand-in for tests."""

    def __call__(
        self, load: messages.Load, on_progress: Callable[[int, int], None] | None = None, /
    ) -> Awaitable[EngineClient]:
        """A worker that has loaded the model."""


class Registry:
    """The models of one server.

    Args:
        settings: of the server; they say what is in the catalogue.
        start_engine: starts a worker.
        stall_s: how long a worker with work may go without a step before the server counts as degraded.
    """

    def __init__(
        self,
        settings: Settings,
        start_engine: StartEngine = EngineClient.start,
        *,
        stall_s: float = 30.0,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue = Catalogue(settings)
        self._start_engine = start_engine
        self._stall_s = stall_s
        self._models = {entry.name: Model(entry, catalogue.path(entry)) for entry in catalogue}
        self._active: str | None = None
        self._memory = asyncio.Lock()
        self._watches: set[asyncio.Task[None]] = set()
        self._draining = False

    # ---- what there is --------------------------------------------------------------------------------

    @property
    def active(self) -> str | None:
        """The model that serves requests which name none."""
        return self._active

    def states(self) -> dict[str, str]:
        """Each model's state."""
        self._locate()
        return {name: model.state for name, model in self._models.items()}

    def loaded(self) -> list[LoadedModel]:
        """The models that can answer now."""
        return [model.loaded for model in self._models.values() if model.loaded and model.state == "loaded"]

    def engine_stats(self) -> list[tuple[str, messages.Stats]]:
        """The loaded models' names, each with what its engine told last."""
        return [(model.name, model.engine.stats) for model in self.loaded() if model.engine.stats is not None]

    def check_name(self, name: str) -> None:
        """ModelNotFound for a name that no model has."""
        self._find(name)

    async def statuses(self) -> list[ModelStatus]:
        """What people are told of each model."""
        self._locate()
        return [await self._status(model) for model in self._models.values()]

    def add(self, name_or_file: str) -> str:
        """Make sure that a model, or a model file on this machine, is known; returns the name it goes by.

        For the operator's words alone, never for a name out of a request. Errors as in `Catalogue.resolve`.
        """
        entry = self._catalogue.resolve(name_or_file)
        known = self._models.get(entry.name)
        if known is None or known.entry != entry:
            self._models[entry.name] = Model(entry, self._catalogue.path(entry))
        return entry.name

    def trouble(self) -> str | None:
        """Why the server is not healthy; None where it is."""
        if self._draining:
            return "The server is shutting down."
        active = self._models.get(self._active or "")
        if active is not None and active.state == "failed":
            return f"The active model {active.entry.name} failed: {active.error}"
        for name, model in self._models.items():
            if (stalled := model.stalled_s()) > self._stall_s:
                return f"The engine of {name} has work and made no step for {stalled:.0f} s."
        return None

    # ---- requests -------------------------------------------------------------------------------------

    def acquire(self, name: str | None, cancel: Callable[[], None]) -> Lease:
        """Hold a model for a request; None is the active one. `cancel` is called where the request must end.

        Raises:
            ModelNotFound, ModelNotReady, Draining
        """
        self._refuse_when_draining()
        if name is None:
            name = self._active
        if name is None:
            raise ModelNotReady("No model is active: load one with POST /set_model, or name one.")
        model = self._find(name)
        if model.loaded is None or model.state != "loaded":
            raise model.not_ready()
        return Lease(model, model.loaded, cancel)

    # ---- loading --------------------------------------------------------------------------------------

    async def load(
        self, name: str, context_length: int | None = None, on_progress: Watcher | None = None
    ) -> ModelStatus:
        """Load a model, downloading it first where needed; returns at once where it is loaded already.

        Whoever asks while a load is under way joins it. A caller who goes away does not end it. The first
        model that is loaded becomes the active one.

        Raises:
            ModelNotFound, DownloadError, ModelFileError, DoesNotFit, EngineFailed, Draining
            Conflict: it is loaded or being loaded with another context, or an unload ended the load.
        """
        self._refuse_when_draining()
        model = self._find(name)
        while model.unloading is not None:
            await asyncio.wait({model.unloading})
            self._refuse_when_draining()
        if model.loaded is None and model.loading is None:
            model.asked_context = context_length
            model.loading = asyncio.create_task(self._load(model), name=f"load {name}")
            model.loading.add_done_callback(functools.partial(_load_ended, model))
        else:
            model.refuse_other_context(context_length)
        if (task := model.loading) is not None:
            with model.watched_by(on_progress):
                await asyncio.wait({task})
            if task.cancelled():
                self._refuse_when_draining()
                raise Conflict(f"Loading {name} was ended by an unload.")
            task.result()
        return await self._status(model)

    async def set_active(self, name: str) -> None:
        """Make a model the active one; loads it first. Errors as in `load`."""
        self._active = (await self.load(name)).name

    async def start(self, name: str) -> None:
        """Load the model that the server starts with, active from the first. A failure shows in its state."""
        self._active = name
        try:
            await self.load(name)
        except FairleadError as error:
            logger.warning("the server starts without %s: %s", name, error.message)

    async def unload(self, name: str, *, force: bool = False) -> ModelStatus:
        """Unload a model: its running requests finish first, or with `force` are cancelled.

        A load that is under way is ended, and the reason of a failure forgotten.

        Raises:
            ModelNotFound
            Conflict: the model is not loaded.
        """
        model = self._find(name)
        name = model.entry.name
        load = model.loading
        if load is not None:
            load.cancel()
            await asyncio.wait({load})
        if model.unloading is not None or model.loaded is not None:
            await self._end_worker(model, force=force)
        elif model.state == "failed":
            model.rest()
        elif load is None:
            raise Conflict(f"The model {name} is not loaded.", param="name", details={"state": model.state})
        if self._active == name and model.loaded is None:
            self._active = None
        return await self._status(model)

    def drain(self) -> None:
        """Take nothing new from now on."""
        self._draining = True

    async def close(self, *, force: bool = False) -> None:
        """End every load and every worker; `force` does not wait for what a worker is doing."""
        self._draining = True
        loads = {model.loading for model in self._models.values() if model.loading is not None}
        for task in loads:
            task.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        engines = []
        for model in self._models.values():
            if model.loaded is not None:
                engines.append(model.loaded.engine)
                model.rest()
        await asyncio.gather(*(engine.close(force=force) for engine in engines))
        for task in self._watches:
            task.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    # ---- one model ------------------------------------------------------------------------------------

    def _refuse_when_draining(self) -> None:
        if self._draining:
            raise Draining("The server is shutting down and takes nothing new.")

    def _find(self, name: str) -> Model:
        """The record of a model; the catalogue says what is wrong with a name that is not known."""
        return self._models.get(name) or self._models[self._catalogue.find(name).name]

    def _locate(self) -> None:
        """Notice files that others have put in place or taken away."""
        for model in self._models.values():
            model.locate(self._catalogue.path(model.entry))

    async def _status(self, model: Model) -> ModelStatus:
        if model.path is not None and model.facts is None and model.error is None:
            try:
                model.facts = await asyncio.to_thread(Facts.read, model.path, self._settings)
            except FairleadError as error:
                model.error = _without_folders(error.message, model.path)
        return model.status(active=model.entry.name == self._active)

    async def _load(self, model: Model) -> None:
        """The one task that loads a model; leaves it loaded, or in a state that says why not."""
        name = model.entry.name
        started = time.monotonic()
        model.error = None
        try:
            path = model.path = self._catalogue.path(model.entry) or await self._fetch(model)
            model.loaded = await self._bring_up(model, path)
            model.state = "loaded"
        except asyncio.CancelledError:
            model.rest()
            raise
        except DoesNotFit as error:
            model.rest(error.message)
            raise
        except FairleadError as error:
            error.message = _without_folders(error.message, model.path)
            model.fail(error.message)
            raise
        except Exception as error:
            logger.exception("loading %s failed", name)
            model.fail("It could not be loaded for an unforeseen reason; the server's log has it.")
            raise EngineFailed(f"{name}: {model.error}") from error
        if self._active is None:
            self._active = name
        watch = asyncio.create_task(self._watch(model, model.loaded.engine), name=f"watch {name}")
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        logger.info("model %s loaded in %.1f s", name, time.monotonic() - started)

    async def _fetch(self, model: Model) -> Path:
        """Download a model in a thread. Cancelling this stops the thread at its next report of progress."""
        model.state = "downloading"
        loop = asyncio.get_running_loop()
        stopped = threading.Event()
        told = Pace()

        def report(progress: download.Progress) -> None:
            if stopped.is_set():
                raise DownloadError("The download was ended.")
            if step := told.progress(progress.phase, progress.done, progress.total):
                loop.call_soon_threadsafe(model.tell, step)

        try:
            return await asyncio.to_thread(download.fetch, model.entry, self._settings.models_dir, report)
        finally:
            stopped.set()

    async def _bring_up(self, model: Model, path: Path) -> LoadedModel:
        """Read the file, see that it fits, and start its worker; one model at a time."""
        model.state = "loading"
        entry, settings = model.entry, self._settings
        reading = await asyncio.to_thread(Reading.of, path, settings, entry.defaults)
        model.facts = reading.facts
        context = model.asked_context or settings.context_length or entry.defaults.context_length
        async with self._memory:
            plan = reading.facts.footprint.plan(context, settings.kv_tokens, self._available())
            told = Pace()

            def report(done: int, total: int) -> None:
                if step := told.progress("loading", done, total):
                    model.tell(step)

            engine = await self._start_engine(plan.command(path, settings), report)
        shared = entry.defaults.share_prefixes
        return LoadedModel(
            name=entry.name,
            engine=engine,
            tokenizer=reading.tokenizer,
            template=reading.template,
            context_length=plan.context_length,
            defaults=entry.defaults,
            estimate=plan.estimate,
            opening=reading.opening,
            share_prefixes=settings.share_prefixes if shared is None else shared,
        )

    def _available(self) -> int:
        """Free memory, less what loaded models were promised and have not touched yet."""
        promised = 0
        for model in self._models.values():
            if model.loaded is not None:
                promised += max(0, model.loaded.estimate.required_bytes - model.loaded.engine.rss_bytes())
        return max(0, memory.available_bytes() - promised)

    async def _watch(self, model: Model, engine: EngineClient) -> None:
        """Notice that a worker has ended on its own, and when it last got on."""
        closed = asyncio.ensure_future(engine.wait_closed())
        try:
            while not closed.done():
                await asyncio.wait({closed}, timeout=_WATCH_S)
                model.note_steps()
        finally:
            closed.cancel()
        if model.loaded is not None and model.loaded.engine is engine and model.unloading is None:
            model.fail("Its worker ended unexpectedly; load the model again.")
            logger.error("the worker of %s ended unexpectedly", model.entry.name)

    async def _end_worker(self, model: Model, *, force: bool) -> None:
        """Unload once, however many ask for it; one who asks with `force` speeds it up for all."""
        if model.unloading is None and model.loaded is not None:
            model.state = "unloading"
            model.force.clear()
            model.unloading = asyncio.create_task(self._unload(model, model.loaded.engine))
        if force:
            model.force.set()
        if model.unloading is not None:
            await asyncio.wait({model.unloading})

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
        logger.info("model %s unloaded", model.entry.name)


def _without_folders(message: str, path: Path | None) -> str:
    """A message for clients, who are told of no path of the server."""
    return message if path is None else message.replace(str(path), path.name)


def _load_ended(model: Model, task: asyncio.Task[None]) -> None:
    """Also where the task was cancelled before it began. Everybody who asked may be gone: the model tells of errors."""
    model.loading = None
    if not task.cancelled():
        task.exception()  # or asyncio complains that nobody looked
