"""Fairlead's own routes about models: what there is, loading and unloading, and their files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from fairlead.api.model_schemas import AddBody, EstimateBody, FetchBody, LoadBody, ModelBody, UnloadBody
from fairlead.api.schemas import seconds
from fairlead.api.security import JsonRoute
from fairlead.api.services import Asker, Served
from fairlead.api.sse import Events, EventStream, ends_in_error, while_connected
from fairlead.errors import ModelNotFound
from fairlead.service.model import ModelStatus
from fairlead.service.placement import Estimated
from fairlead.service.progress import Progress, Watcher

router = APIRouter(route_class=JsonRoute, tags=["models"])


@router.get("/models")
async def models(services: Served, q: Annotated[str, Query(max_length=200)] = "") -> JSONResponse:
    """Every model that is known, or those that have all words of `q` in what is known of them; and what they take."""
    registry = services.registry
    found = [model_json(status) for status in await registry.statuses(q)]
    disk = await asyncio.to_thread(registry.library.disk_use)
    return JSONResponse({"models": found, "active": registry.active, "disk": asdict(disk)})


@router.post("/models", status_code=201)
async def add_model(body: AddBody, services: Served) -> JSONResponse:
    """Add a file of the hub to the models, for good. Nothing is fetched yet."""
    registry = services.registry
    model = registry.library.add(body.hub, body.file, body.revision, body.name)
    return JSONResponse(model_json(await registry.status(model)), 201)


@router.delete("/models/{name}")
async def remove_model(name: str, services: Served) -> JSONResponse:
    """Delete a model's files, and the model itself where it was added."""
    library = services.registry.library
    with called_name():
        model = library.find(name)
    return JSONResponse({"name": model.name, "freed_bytes": await library.remove(model)})


@router.post("/models/estimate")
async def estimate(body: EstimateBody, services: Served) -> JSONResponse:
    """What loading a model would take, and whether it would fit; of a file on the hub its header is read there."""
    with called_name():
        return JSONResponse(_estimate_json(await services.registry.estimate(body.name, body.context_length)))


@router.post("/models/pull")
async def pull_model(body: FetchBody, request: Request, services: Served) -> Response:
    """Download a model; goes on where an earlier try stopped. With `stream`, tell of the progress on the way."""
    registry = services.registry
    with called_name():
        registry.check_name(body.name)

    async def pull(watcher: Watcher | None) -> dict[str, object]:
        return model_json(await registry.fetch(body.name, watcher))

    return await _answer(request, pull, stream=body.stream)


@router.post("/models/verify")
async def verify_model(body: FetchBody, request: Request, services: Served) -> Response:
    """Read a model's file through and compare its checksum. With `stream`, tell of the progress on the way."""
    library = services.registry.library
    with called_name():
        model = library.find(body.name)

    async def verify(watcher: Watcher | None) -> dict[str, object]:
        return {"name": model.name, "sha256": await library.verify(model, watcher)}

    return await _answer(request, verify, stream=body.stream)


@router.post("/load_model")
async def load_model(body: LoadBody, request: Request, services: Served) -> Response:
    """Load a model, downloading it first where needed; with `stream`, tell of the progress on the way."""
    registry = services.registry
    with called_name():
        registry.check_name(body.name)

    async def load(watcher: Watcher | None) -> dict[str, object]:
        status = await registry.load(
            body.name, body.context_length, watcher, keep_alive=seconds(body.keep_alive), pin=body.pin
        )
        return model_json(status)

    return await _answer(request, load, stream=body.stream)


@router.post("/set_model")
async def set_model(body: ModelBody, request: Request, services: Served, asker: Asker) -> JSONResponse:
    """Make a model the active one; loads it first. What runs finishes on the model it started on."""
    with called_name():
        await while_connected(request, services.registry.set_active(body.name, user=asker))
    return JSONResponse({"active": services.registry.active})


@router.post("/unload_model")
async def unload_model(body: UnloadBody, services: Served) -> JSONResponse:
    """Unload a model and give its memory back; what runs finishes first, or is cancelled with `force`."""
    with called_name():
        return JSONResponse(model_json(await services.registry.unload(body.name, force=body.force)))


def model_json(status: ModelStatus) -> dict[str, object]:
    """A model as clients see it."""
    told = asdict(status)
    memory = {name: told.pop(name) for name in ("estimated_bytes", "measured_bytes", "used_bytes")}
    progress = None if status.progress is None else _progress_json(status.progress)
    return {**told, "memory": memory, "progress": progress}


@contextlib.contextmanager
def called_name() -> Iterator[None]:
    """Where the field that names a model is `name`, an unknown one is a mistake in that field."""
    try:
        yield
    except ModelNotFound as error:
        error.param = "name"
        raise


async def _answer(
    request: Request, work: Callable[[Watcher | None], Awaitable[dict[str, object]]], *, stream: bool
) -> Response:
    """What the work comes to: as a whole, or as events with its progress, then `done` or `error`."""
    if not stream:
        return JSONResponse(await while_connected(request, _run(work(None))))
    events = Events()
    return EventStream(ends_in_error(_progress_events(work, events), lambda error: events.event("error", error)))


async def _run(work: Awaitable[dict[str, object]]) -> dict[str, object]:
    return await work


async def _progress_events(
    work: Callable[[Watcher | None], Awaitable[dict[str, object]]], events: Events
) -> AsyncGenerator[bytes, None]:
    news: asyncio.Queue[Progress | None] = asyncio.Queue()
    task = asyncio.create_task(_run(work(news.put_nowait)))
    task.add_done_callback(lambda _: news.put_nowait(None))
    try:
        while (progress := await news.get()) is not None:
            yield events.event("progress", _progress_json(progress))
        yield events.event("done", task.result())
    finally:
        task.cancel()  # this wait for it alone: the load or the download goes on


def _progress_json(progress: Progress) -> dict[str, object]:
    eta_ms = None if progress.eta_s is None else round(progress.eta_s * 1000)
    return {"phase": progress.phase, "bytes": progress.done, "total": progress.total, "eta_ms": eta_ms}


def _estimate_json(told: Estimated) -> dict[str, object]:
    plan = told.plan
    return {
        "name": told.name,
        "context_length": plan.context_length,
        "kv_tokens": plan.kv_tokens,
        **asdict(plan.estimate),
        "required_bytes": plan.estimate.required_bytes,
        "available_bytes": told.available_bytes,
        "fits": told.fits,
        "unloads": list(told.unloads),
        "largest_context_that_fits": told.largest_context,
        "gpus": [asdict(gpu) for gpu in told.gpus],
    }
