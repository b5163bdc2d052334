"""Vectors that a worker was asked for, in the hands of whoever waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fairlead.engine.messages import Embedded
from fairlead.errors import FairleadError, ModelNotReady


class Embedding:
    """A request for vectors; made by `EngineClient.embed`.

    Args:
        leave: tells the worker that nobody wants them any more.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._found: asyncio.Future[Embedded] = asyncio.get_running_loop().create_future()

    async def result(self) -> Embedded:
        """Wait for the vectors. The worker drops them where this is cancelled.

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
        self.fail(ModelNotReady("The model is being unloaded; the vectors were given up."))

    def succeed(self, event: Embedded) -> None:
        """Hand over the vectors."""
        if not self._found.done():
            self._found.set_result(event)

    def fail(self, error: FairleadError) -> None:
        """Hand over an error in their place."""
        if not self._found.done():
            self._found.set_exception(error)
