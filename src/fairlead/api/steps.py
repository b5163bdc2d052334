"""Work that is told step by step, and whose last step holds all of it: answered as that step, or as events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

from fastapi import Request

from fairlead.api.responses import Json
from fairlead.api.sse import Events, EventStream, ends_in_error, while_connected
from fairlead.errors import EngineFailed

Step = TypeVar("Step")
Last = TypeVar("Last")
Whole = TypeVar("Whole")


async def respond(
    request: Request,
    steps: AsyncGenerator[Step],
    last: type[Last],
    whole: Callable[[Last], Whole],
    event: Callable[[Step, Events], bytes],
    *,
    stream: bool,
) -> Json[Whole] | EventStream[Any]:
    """The response to a request for some work, which ends where the client leaves.

    Args:
        request: who asked.
        steps: the work.
        last: of this type is its last step,
        whole: and so it is told where nothing is streamed.
        event: a step as an event.
        stream: whether each step is told when it is there. What the work is refused with before the first has a status
            of its own.
    """
    if not stream:
        return Json(whole(await while_connected(request, _last(steps, last))))
    first = await while_connected(request, anext(steps))
    events = Events()
    told = ends_in_error(_events(first, steps, event, events), lambda error: events.event("error", error))
    return EventStream(told, on_close=steps.aclose)


async def _last(steps: AsyncGenerator[Step], last: type[Last]) -> Last:
    async with contextlib.aclosing(steps):
        async for step in steps:
            if isinstance(step, last):
                return step
    raise EngineFailed("The work was left before its end.")


async def _events(
    first: Step, steps: AsyncGenerator[Step], event: Callable[[Step, Events], bytes], events: Events
) -> AsyncGenerator[bytes]:
    async with contextlib.aclosing(steps):
        yield event(first, events)
        async for step in steps:
            yield event(step, events)
