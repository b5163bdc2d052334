"""Requests that wait for a model, and the housekeeping that brings models in and out for them.

Keeps the futures of those who wait and carries out what `turns.py` decides; also unloads models that were idle for as
long as they are to be kept.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time

from fairlead.config import Settings
from fairlead.errors import DoesNotFit, EngineFailed, FairleadError
from fairlead.service.loads import Loads
from fairlead.service.model import Lease, Model
from fairlead.service.placement import place
from fairlead.service.turns import Ask, House, Turn, Turns

logger = logging.getLogger(__name__)

_OVERTAKEN_S = 0.2
"""Between two tries to give a model its turn, where somebody came in between."""


class Reception:
    """Those who wait for models of one server."""

    def __init__(self, settings: Settings, loads: Loads) -> None:
        self._loads = loads
        self._turns = Turns(longest_wait_s=settings.longest_wait_s, shortest_stay_s=settings.shortest_stay_s)
        self._waiting: dict[Ask, asyncio.Future[Lease]] = {}
        self._changed = asyncio.Event()
        self._housekeeper: asyncio.Task[None] | None = None

    def is_closed(self, model: Model) -> bool:
        """Whether requests for a loaded model have to wait, because others' turn has come."""
        return self._turns.is_closed(model.name)

    async def wait_for(self, model: Model, user: str) -> Lease:
        """Wait until the model is there, and hold it; the error of its load is raised.

        The model is being loaded, or can be: its facts are known.
        """
        ask = self._turns.ask(model.name, user, time.monotonic())
        future: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._waiting[ask] = future
        self.look_again()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().release()
            raise
        finally:
            self._forget(ask)
            self.look_again()

    def admit(self, model: Model) -> None:
        """All who wait for this model hold it from now on."""
        if model.loaded is None or not model.can_answer:
            return
        for ask in self._turns.asked.get(model.name, ()):
            future = self._waiting[ask]
            self._forget(ask)
            if not future.done():
                future.set_result(Lease(model, model.loaded, lambda: None))

    def load_failed(self, model: Model, error: FairleadError) -> None:
        """Tell those who wait for this model; where only answers stand in its way they go on waiting."""
        if not (isinstance(error, DoesNotFit) and error.details.get("busy")):
            self._refuse(model.name, error)
        self.look_again()

    def refuse_all(self, error: FairleadError) -> None:
        """Tell everybody who waits."""
        for name in list(self._turns.asked):
            self._refuse(name, error)

    def look_again(self) -> None:
        """Something has changed: see whether somebody's turn has come."""
        self._changed.set()
        if self._housekeeper is None:
            self._housekeeper = asyncio.get_running_loop().create_task(self._keep_house(), name="housekeeper")

    async def close(self) -> None:
        """End the housekeeping."""
        if self._housekeeper is not None:
            self._housekeeper.cancel()
            await asyncio.gather(self._housekeeper, return_exceptions=True)

    def _refuse(self, name: str, error: FairleadError) -> None:
        for ask in self._turns.asked.get(name, ()):
            future = self._waiting[ask]
            self._forget(ask)
            if not future.done():
                future.set_exception(error)

    def _forget(self, ask: Ask) -> None:
        self._turns.withdraw(ask)
        self._waiting.pop(ask, None)

    async def _keep_house(self) -> None:
        while True:
            self._changed.clear()
            again_at = self._let_expire()
            if self._waiting and not self._loads.in_flux:
                try:
                    turn = self._next_turn()
                    if turn.load is not None:
                        await self._give(turn.load)
                        continue
                except Exception as error:  # or everybody would wait for ever
                    logger.exception("giving a model its turn failed")
                    told = error if isinstance(error, FairleadError) else EngineFailed("The model could not be loaded.")
                    self.refuse_all(told)
                    continue
                again_at = min(again_at, turn.look_again_at or math.inf)
            wait_s = max(0.0, again_at - time.monotonic())
            wake = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait({wake}, timeout=wait_s if math.isfinite(wait_s) else None)
            wake.cancel()

    def _let_expire(self) -> float:
        """Unload what was kept long enough; when the next model will have been."""
        now = time.monotonic()
        for model in self._loads.models():
            if model.expires_at() <= now:
                logger.info("model %s was idle for as long as it is kept", model.name)
                self._loads.workers.begin_end(model)
        return min((model.expires_at() for model in self._loads.models()), default=math.inf)

    def _next_turn(self) -> Turn:
        """Whose turn it is; those are told whose model cannot be had, and those admitted whose model is there."""
        asked = {name: self._loads.find(name) for name in self._turns.asked}
        needs = {name: self._loads.needs(model) for name, model in asked.items() if model.loading is None}
        now = time.monotonic()
        house = House(self._loads.available(), self._loads.residents(), needs)
        turn = self._turns.next(now, house)
        for name in turn.impossible:
            model = asked[name]
            assert model.facts is not None
            try:
                place(model.facts.footprint, self._loads.wish(model), house.free_bytes, house.residents, now)
            except DoesNotFit as error:
                self._refuse(name, error)
        for name, model in asked.items():
            if not self._turns.is_closed(name):
                self.admit(model)
        return turn

    async def _give(self, name: str) -> None:
        """Load a model for those who ask for it."""
        model = self._loads.find(name)
        self._turns.charge(name, model.load_s)
        await asyncio.wait({self._loads.begin(model, on_demand=True)})
        if model.loaded is None:
            await asyncio.sleep(_OVERTAKEN_S)
