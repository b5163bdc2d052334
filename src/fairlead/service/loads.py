"""Loads as transactions: room is made, the worker comes up, or what was there before is put back.

Owns the memory: at most one load at a time takes some, and of each model there is one load, whoever asks for it. Also
brings back models whose workers died. Who asks, and whose turn it is, is not known here.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from fairlead.config import Settings
from fairlead.errors import DoesNotFit, EngineFailed, FairleadError
from fairlead.service import capacity
from fairlead.service.facts import Reading
from fairlead.service.library import Library, without_folders
from fairlead.service.memory import Wish
from fairlead.service.model import LoadedModel, Model
from fairlead.service.placement import place
from fairlead.service.room import Resident
from fairlead.service.supervision import Restarts
from fairlead.service.workers import StartEngine, Workers

logger = logging.getLogger(__name__)

Ended = Callable[[Model, FairleadError | None], None]


class Loads:
    """The loads of one server.

    Args:
        settings: of the server.
        library: its models.
        start_engine: starts a worker.
        ended: called when a load has ended, with its error where it failed; not where the server ends it.
    """

    def __init__(self, settings: Settings, library: Library, start_engine: StartEngine, ended: Ended) -> None:
        self._settings = settings
        self._library = library
        self._report_end = ended
        self._memory = asyncio.Lock()
        self._closing = False
        self.workers = Workers(settings, start_engine, self._died)

    # ---- memory ---------------------------------------------------------------------------------------

    @property
    def in_flux(self) -> bool:
        """Whether figures are about to change, because a model is coming in or an idle one is leaving."""
        leaving = any(model.unloading is not None and model.idle.is_set() for model in self._library)
        return self._memory.locked() or leaving

    def residents(self) -> list[Resident]:
        """The models in memory."""
        return [resident for model in self._library if (resident := model.resident()) is not None]

    def available(self) -> int:
        """Free memory in bytes, less what loaded models were promised and have not touched yet."""
        promised = sum(model.untouched_bytes() for model in self._library)
        return max(0, capacity.available_bytes() - promised)

    def wish(self, model: Model, context_length: int | None = None) -> Wish:
        """What is wanted of a load of this model."""
        settings, defaults = self._settings, model.entry.defaults
        context = context_length or settings.context_length or defaults.context_length
        return Wish(context, settings.kv_tokens, defaults.parallel)

    def needs(self, model: Model) -> int:
        """The least memory that a load of this model takes, whose facts are known."""
        assert model.facts is not None
        return model.facts.footprint.least(self.wish(model)).estimate.required_bytes

    def find(self, name: str) -> Model:
        """A model by its name."""
        return self._library.find(name)

    def models(self) -> Sequence[Model]:
        """All models."""
        return list(self._library)

    # ---- loading --------------------------------------------------------------------------------------

    def begin(self, model: Model, context_length: int | None = None, *, on_demand: bool = False) -> asyncio.Task[None]:
        """Begin to load a model that is neither loaded nor being loaded.

        `on_demand`: for a request that named it, and not because somebody wants it to be loaded: the active model then
        stays the active one, though it may have to leave.
        """
        defaults = model.entry.defaults
        model.asked_context = context_length
        model.keep_alive = self._settings.keep_alive if defaults.keep_alive is None else defaults.keep_alive
        model.pinned = bool(defaults.pin)
        model.restarts = Restarts()
        return self._begin(model, self._load(model, on_demand=on_demand))

    async def close(self, *, force: bool) -> None:
        """End every load and every worker."""
        self._closing = True
        tasks = [task for model in self._library for task in (model.loading, model.fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        engines = []
        for model in self._library:
            if model.loaded is not None:
                engines.append(model.loaded.engine)
                model.rest()
        await asyncio.gather(*(engine.close(force=force) for engine in engines))
        await self.workers.close()

    def _begin(self, model: Model, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        model.loading = asyncio.create_task(work, name=f"load {model.name}")
        model.loading.add_done_callback(functools.partial(self._ended, model))
        return model.loading

    def _ended(self, model: Model, task: asyncio.Task[None]) -> None:
        """Also where the task was cancelled before it began. Who asked may be gone: the model tells of errors, too."""
        model.loading = None
        if task.cancelled():
            error: BaseException | None = model.not_ready()
        else:
            error = task.exception()
        if not self._closing:
            self._report_end(model, error if isinstance(error, FairleadError) else None)

    async def _load(self, model: Model, *, on_demand: bool) -> None:
        """The one task that loads a model; leaves it loaded, or in a state that says why not."""
        started = time.monotonic()
        model.error = None
        try:
            if model.unloading is not None:  # it left for another that was given up meanwhile
                await asyncio.wait({model.unloading})
            path = await self._library.file(model)
            model.state = "loading"
            reading = await asyncio.to_thread(Reading.of, path, self._settings, model.entry.defaults)
            model.facts = reading.facts
            async with self._memory:
                loaded = await self._bring_up(model, path, reading, on_demand=on_demand)
        except asyncio.CancelledError:
            model.rest()
            raise
        except DoesNotFit as error:
            model.rest(error.message)
            raise
        except FairleadError as error:
            error.message = without_folders(error.message, model.path)
            model.fail(error.message)
            raise
        except Exception as error:
            logger.exception("loading %s failed", model.name)
            model.fail("It could not be loaded for an unforeseen reason; the server's log has it.")
            raise EngineFailed(f"{model.name}: {model.error}") from error
        load_s = time.monotonic() - started
        model.came_up(loaded, load_s)
        self.workers.watch(model)
        logger.info("model %s loaded in %.1f s", model.name, load_s)

    async def _bring_up(self, model: Model, path: Path, reading: Reading, *, on_demand: bool) -> LoadedModel:
        """Make room and start the worker; where that fails, have those come back who left for it."""
        footprint, wish = reading.facts.footprint, self.wish(model, model.asked_context)
        placement = place(footprint, wish, self.available(), self.residents(), time.monotonic())
        moved = [self._library.find(name) for name in placement.leaving]
        for other in moved:
            self.workers.begin_end(other)  # before anybody else is let run
        try:
            await asyncio.gather(*(self.workers.end(other) for other in moved))
            plan = footprint.plan(wish, self.available())
            loaded = await self.workers.start(model, path, reading, plan)
        except BaseException as error:
            if isinstance(error, FairleadError) and moved:
                error.details["unloaded"] = error.details["loaded_again"] = [other.name for other in moved]
                error.message += f" {', '.join(placement.leaving)} had been unloaded for it and will be loaded again."
            self._put_back(moved)
            raise
        model.replaced = () if on_demand else placement.leaving
        return loaded

    def _put_back(self, moved: Sequence[Model]) -> None:
        for other in moved:
            left = other.loaded is None or other.unloading is not None
            if left and other.loading is None and not self._closing:
                self._begin(other, self._load(other, on_demand=True))

    # ---- workers that die -----------------------------------------------------------------------------

    def _died(self, model: Model, how: str) -> None:
        """Bring a model back whose worker ended, or say that it failed."""
        logger.error("the worker of %s %s", model.name, how)
        model.loaded = None
        model.restarting = how
        model.state = "loading"
        self._begin(model, self._bring_back(model, how))

    async def _bring_back(self, model: Model, how: str) -> None:
        """Try until a worker is up, or too many have died."""
        while (wait_s := model.restarts.wait_after_death(time.monotonic())) is not None:
            model.state, model.restarting = "loading", how
            model.error = f"Its worker {how}; try {model.restarts.deaths} to bring it back."
            try:
                await asyncio.sleep(wait_s)
                await self._load(model, on_demand=True)
            except asyncio.CancelledError:
                model.rest()
                raise
            except EngineFailed as error:
                how = f"could not be brought back: {error.message}"
            else:
                return
        reason = f"Its workers ended {model.restarts.deaths} times in a row, the last {how}; load it again."
        model.fail(reason)
        raise EngineFailed(f"The model {model.name} failed: {reason}", param="model")
