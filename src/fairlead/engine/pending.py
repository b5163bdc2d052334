"""What a worker was asked for and tells in one piece, in the hands of whoever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from fairlead.errors import FairleadError, ModelNotReady

Told = TypeVar("Told")


class Pending(Generic[Told]):
    """A request for vectors or scores; made by `EngineClient.embed` and `EngineClient.score`.

    Args:
        leave: tells the worker that nobody wants them any more.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._found: asyncio.Future[Told] = asyncio.get_running_loop().create_future()

    async def result(self) -> Told:
        """Wait for what was asked for. The worker drops it where this is cancelled.

        Raises:
            FairleadError: of a `Failed` request; EngineFailed where the worker died, and ModelNotReady where it was
                closed or `cancel` was called.
        """
        try:
            return await self._found
        finally:
            self._leave()

    def cancel(self) -> None:
        """Ask the worker to stop, and whoever waits to do without."""
        self._leave()
        self.fail(ModelNotReady("The model is being unloaded; what was asked of it was given up."))

    def succeed(self, event: Told) -> None:
        """Hand over what was asked for."""
        if not self._found.done():
            self._found.set_result(event)

    def fail(self, error: FairleadError) -> None:
        """Hand over an error in its place."""
        if not self._found.done():
            self._found.set_exception(error)
