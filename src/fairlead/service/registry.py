"""The models known to the server, the state of each, and which of them is the active one.

What the rest of the server asks of models goes through here. The parts are elsewhere: files in `library.py`, loads in
`loads.py`, requests that wait for a model in `reception.py`. Knows nothing of HTTP, and of a request only that it
holds a model (`Lease`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from fairlead.config import Settings
from fairlead.engine import messages
from fairlead.engine.client import EngineClient
from fairlead.errors import Conflict, DoesNotFit, Draining, FairleadError, ModelNotReady
from fairlead.service import capacity
from fairlead.service.facts import Capability
from fairlead.service.library import Library, without_folders
from fairlead.service.loads import Loads
from fairlead.service.model import Lease, LoadedModel, Model, ModelStatus, State
from fairlead.service.placement import Estimated, estimated
from fairlead.service.progress import Watcher
from fairlead.service.reception import Reception
from fairlead.service.request import NOBODY
from fairlead.service.workers import StartEngine

logger = logging.getLogger(__name__)


class Registry:
    """The models of one server.

    Args:
        settings: of the server; they say what is in the catalogue.
        start_engine: starts a worker.
    """

    def __init__(self, settings: Settings, start_engine: StartEngine = EngineClient.start) -> None:
        self._settings = settings
        self.library = Library(settings, self._look_again)
        self._loads = Loads(settings, self.library, start_engine, self._load_ended)
        self._reception = Reception(settings, self._loads)
        self._active: str | None = None
        self._draining = False

    # ---- what there is --------------------------------------------------------------------------------

    @property
    def active(self) -> str | None:
        """The model that serves requests which name none."""
        return self._active

    def states(self) -> dict[str, State]:
        """Each model's state."""
        self.library.locate()
        return {model.name: model.state for model in self.library}

    def loaded(self) -> list[LoadedModel]:
        """The models that can answer now."""
        return [model.loaded for model in self.library if model.loaded and model.can_answer]

    def engine_stats(self) -> list[tuple[str, messages.Stats]]:
        """The loaded models' names, each with what its engine told last."""
        return [(model.name, model.engine.stats) for model in self.loaded() if model.engine.stats is not None]

    def check_name(self, name: str) -> None:
        """ModelNotFound for a name that no model has."""
        self.library.find(name)

    async def statuses(self, words: str = "") -> list[ModelStatus]:
        """What people are told of each model, or of those that have all these words in what is known of them."""
        self.library.locate()
        wanted = self.library.matching(words) if words else None
        return [await self.status(model) for model in list(self.library) if wanted is None or model.name in wanted]

    async def status(self, model: Model) -> ModelStatus:
        """What people are told of one model."""
        if model.path is not None and model.facts is None and model.error is None:
            try:
                await self.library.facts(model)
            except FairleadError as error:
                model.error = without_folders(error.message, model.path)
        return model.status(active=model.name == self._active)

    def add(self, name_or_file: str) -> str:
        """Make sure that a model, or a model file on this machine, is known; returns the name it goes by.

        For the operator's words alone, never for a name out of a request. Errors as in `Catalogue.resolve`.
        """
        return self.library.take_in(name_or_file)

    def trouble(self) -> str | None:
        """Why the server is not healthy; None where it is."""
        if self._draining:
            return "The server is shutting down."
        for model in self.library:
            if model.restarting is not None:
                return f"The worker of {model.name} {model.restarting}; it is brought back."
            if model.name == self._active and model.state == "failed":
                return f"The active model {model.name} failed: {model.error}"
            if (stalled := model.stalled_s()) > self._settings.watchdog_s / 2:
                return f"The worker of {model.name} has work and has made no step for {stalled:.0f} s."
        return None

    async def estimate(self, name: str, context_length: int | None = None) -> Estimated:
        """What loading a model would take, beside what there is.

        Raises:
            ModelNotFound, DownloadError, ModelFileError
        """
        model = self.library.find(name)
        facts = await self.library.facts(model)
        residents = self._loads.residents()
        own = sum(resident.size_bytes for resident in residents if resident.name == model.name)
        others = [resident for resident in residents if resident.name != model.name]
        wish = self._loads.wish(model, context_length)
        gpus = await asyncio.to_thread(capacity.gpus)
        return estimated(
            model.name, facts.footprint, wish, self._loads.available() + own, others, time.monotonic(), gpus
        )

    # ---- requests -------------------------------------------------------------------------------------

    async def require(self, name: str, capability: Capability) -> Model:
        """The model of this name. ModelNotFound, or InvalidRequest where it cannot be asked for that."""
        model = self.library.find(name)
        if model.facts is None and model.path is not None:
            await self.library.facts(model)
        model.require(capability)
        return model

    async def acquire(
        self,
        name: str | None,
        cancel: Callable[[], None],
        *,
        user: str = NOBODY,
        keep_alive: float | None = None,
        capability: Capability = "chat",
    ) -> Lease:
        """Hold a model for a request, waiting for it where it is being loaded or has to be first.

        Args:
            name: None is the active model.
            cancel: called where the request must end.
            user: whose request it is; turns are shared out between users.
            keep_alive: seconds without a request that the model is kept from now on; None leaves that as it is.
            capability: what the request is for.

        Raises:
            ModelNotFound, ModelNotReady, Draining
            InvalidRequest: the model cannot be asked for that.
            DoesNotFit: it had to be loaded first, and would not fit.
            FairleadError: of a load that it waited for.
        """
        self._refuse_when_draining()
        name = name or self._active
        if name is None:
            raise ModelNotReady("No model is active: load one with POST /set_model, or name one.")
        model = await self.require(name, capability)
        if model.loaded is not None and model.can_answer and not self._reception.is_closed(model):
            lease = Lease(model, model.loaded, cancel)
        else:
            lease = await self._wait_for(model, user)
            lease.cancel = cancel
        if keep_alive is not None:
            model.keep_alive = keep_alive
        return lease

    async def _wait_for(self, model: Model, user: str) -> Lease:
        """Wait until it is the model's turn."""
        on_disk = model.path is not None and model.state != "failed"
        if model.loading is None and not (self._settings.load_on_demand and on_disk):
            raise model.not_ready()
        if model.loading is None:
            await self.library.facts(model)
        return await self._reception.wait_for(model, user)

    # ---- loading --------------------------------------------------------------------------------------

    async def load(
        self,
        name: str,
        context_length: int | None = None,
        on_progress: Watcher | None = None,
        *,
        keep_alive: float | None = None,
        pin: bool | None = None,
    ) -> ModelStatus:
        """Load a model, downloading it first where needed; returns at once where it is loaded already.

        Idle models make room where that is needed, and are loaded again should the load fail then. Whoever asks
        while a load is under way joins it. A caller who goes away does not end it. The first model that is loaded
        becomes the active one; so does one that took the active one's place. One that only makes vectors never does.

        Raises:
            ModelNotFound, DownloadError, ModelFileError, DoesNotFit, EngineFailed, Draining
            Conflict: it is loaded or being loaded with another context, or an unload ended the load.
        """
        self._refuse_when_draining()
        model = self.library.find(name)
        while model.unloading is not None:
            await asyncio.wait({model.unloading})
            self._refuse_when_draining()
        if model.loaded is None and model.loading is None:
            self._loads.begin(model, context_length)
        else:
            model.refuse_other_context(context_length)
        if (task := model.loading) is not None:
            with model.watched_by(on_progress):
                await asyncio.wait({task})
            if task.cancelled():
                self._refuse_when_draining()
                raise Conflict(f"Loading {model.name} was ended by an unload.")
            task.result()
        model.keep_alive = model.keep_alive if keep_alive is None else keep_alive
        model.pinned = model.pinned if pin is None else pin
        self._reception.look_again()
        return await self.status(model)

    async def set_active(self, name: str, *, user: str = NOBODY) -> None:
        """Make a model the active one; loads it first, and waits for its turn where others are answering in its place.

        Errors as in `load`.
        """
        model = self.library.find(name)
        if model.path is not None:
            await self.library.facts(model)
        model.require("chat")
        try:
            await self.load(name)
            model.require("chat")  # of a file that was not here before, this is known only now
            self._active = model.name
        except DoesNotFit as error:
            if not error.details.get("busy") or not self._settings.load_on_demand:
                raise
            (await self._wait_for(model, user)).release()
            self._active = model.name

    async def start(self, name: str) -> None:
        """Load the model that the server starts with, active from the first. A failure shows in its state."""
        self._active = name
        try:
            await self.load(name)
        except FairleadError as error:
            logger.warning("the server starts without %s: %s", name, error.message)
        if "chat" not in self.library.find(name).capabilities:
            self._active = None

    async def provide(self, name: str) -> None:
        """See that a model which the server itself needs can be acquired: fetched, and loaded where nobody else will.

        Errors as in `load`.
        """
        model = self.library.find(name)
        if model.can_answer or model.loading is not None:
            return
        if not self._settings.load_on_demand or model.state == "failed":
            await self.load(name)
        elif model.path is None:
            await self.fetch(name)

    async def fetch(self, name: str, on_progress: Watcher | None = None) -> ModelStatus:
        """Download a model without loading it.

        Raises:
            ModelNotFound, DownloadError, ModelFileError, Draining
            Conflict: an unload ended it.
        """
        self._refuse_when_draining()
        model = self.library.find(name)
        with model.watched_by(on_progress):
            fetch = asyncio.ensure_future(self.library.file(model))
            try:
                await asyncio.wait({fetch})
            finally:
                fetch.cancel()  # this wait for it alone: the download goes on
        if fetch.cancelled():
            self._refuse_when_draining()
            raise Conflict(f"Fetching {model.name} was ended by an unload.")
        fetch.result()
        return await self.status(model)

    async def unload(self, name: str, *, force: bool = False) -> ModelStatus:
        """Unload a model: its running requests finish first, or with `force` are cancelled.

        A load or a download that is under way is ended, and the reason of a failure forgotten.

        Raises:
            ModelNotFound
            Conflict: the model is not loaded.
        """
        model = self.library.find(name)
        name = model.name
        tasks = {task for task in (model.loading, model.fetching) if task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if model.unloading is not None or model.loaded is not None:
            await self._loads.workers.end(model, force=force)
        elif model.state == "failed":
            model.rest()
        elif not tasks:
            raise Conflict(f"The model {name} is not loaded.", param="name", details={"state": model.state})
        if self._active == name and model.loaded is None and model.loading is None:
            self._active = None
        return await self.status(model)

    def drain(self) -> None:
        """Take nothing new from now on; those who wait for a model are told."""
        self._draining = True
        self._reception.refuse_all(Draining("The server is shutting down and takes nothing new."))

    async def close(self, *, force: bool = False) -> None:
        """End every load and every worker; `force` does not wait for what a worker is doing."""
        self.drain()
        await self._reception.close()
        await self._loads.close(force=force)

    def _refuse_when_draining(self) -> None:
        if self._draining:
            raise Draining("The server is shutting down and takes nothing new.")

    def _look_again(self) -> None:
        self._reception.look_again()

    def _load_ended(self, model: Model, error: FairleadError | None) -> None:
        """Tell those who wait for a model; the first that was loaded becomes the active one."""
        if error is not None:
            self._reception.load_failed(model, error)
            return
        if "chat" in model.capabilities and (self._active is None or self._active in model.replaced):
            self._active = model.name
        self._reception.admit(model)
        self._reception.look_again()
