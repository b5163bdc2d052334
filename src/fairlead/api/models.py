"""Fairlead's own routes about models: what there is, loading and unloading, and their files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request

from fairlead.api.model_responses import (
    ActiveModel,
    Disk,
    Estimate,
    LoadEvents,
    LoadProgress,
    Model,
    ModelRemoved,
    Models,
    ModelVerified,
    VerifyEvents,
)
from fairlead.api.model_schemas import AddBody, EstimateBody, FetchBody, LoadBody, ModelBody, UnloadBody
from fairlead.api.responses import Json
from fairlead.api.schemas import seconds
from fairlead.api.security import JsonRoute
from fairlead.api.services import Asker, Served
from fairlead.api.sse import Events, EventStream, ends_in_error, while_connected
from fairlead.errors import ModelNotFound
from fairlead.service.model import ModelStatus
from fairlead.service.placement import Estimated
from fairlead.service.progress import Progress, Watcher

router = APIRouter(route_class=JsonRoute, tags=["models"])

T = TypeVar("T")


@router.get("/models")
async def models(services: Served, q: Annotated[str, Query(max_length=200)] = "") -> Json[Models]:
    """Every model that is known, or those that have all words of `q` in what is known of them; and what they take."""
    registry = services.registry
    found = [model_json(status) for status in await registry.statuses(q)]
    disk = await asyncio.to_thread(registry.library.disk_use)
    told: Disk = {
        "models_bytes": disk.models_bytes,
        "partial_bytes": disk.partial_bytes,
        "free_bytes": disk.free_bytes,
    }
    return Json({"models": found, "active": registry.active, "disk": told})


@router.post("/models", status_code=201)
async def add_model(body: AddBody, services: Served) -> Json[Model]:
    """Add a file of the hub to the models, for good. Nothing is fetched yet."""
    registry = services.registry
    model = registry.library.add(body.hub, body.file, body.revision, body.name)
    return Json(model_json(await registry.status(model)), 201)


@router.delete("/models/{name}")
async def remove_model(name: str, services: Served) -> Json[ModelRemoved]:
    """Delete a model's files, and the model itself where it was added."""
    library = services.registry.library
    with called_name():
        model = library.find(name)
    return Json({"name": model.name, "freed_bytes": await library.remove(model)})


@router.post("/models/estimate")
async def estimate(body: EstimateBody, services: Served) -> Json[Estimate]:
    """What loading a model would take, and whether it would fit; of a file on the hub its header is read there."""
    with called_name():
        return Json(_estimate_json(await services.registry.estimate(body.name, body.context_length)))


@router.post("/models/pull")
async def pull_model(body: FetchBody, request: Request, services: Served) -> Json[Model] | EventStream[LoadEvents]:
    """Download a model; goes on where an earlier try stopped. With `stream`, tell of the progress on the way."""
    registry = services.registry
    with called_name():
        registry.check_name(body.name)

    async def pull(watcher: Watcher | None) -> Model:
        return model_json(await registry.fetch(body.name, watcher))

    return await _answer(request, pull, stream=body.stream)


@router.post("/models/verify")
async def verify_model(
    body: FetchBody, request: Request, services: Served
) -> Json[ModelVerified] | EventStream[VerifyEvents]:
    """Read a model's file through and compare its checksum. With `stream`, tell of the progress on the way."""
    library = services.registry.library
    with called_name():
        model = library.find(body.name)

    async def verify(watcher: Watcher | None) -> ModelVerified:
        return {"name": model.name, "sha256": await library.verify(model, watcher)}

    return await _answer(request, verify, stream=body.stream)


@router.post("/load_model")
async def load_model(body: LoadBody, request: Request, services: Served) -> Json[Model] | EventStream[LoadEvents]:
    """Load a model, downloading it first where needed; with `stream`, tell of the progress on the way."""
    registry = services.registry
    with called_name():
        registry.check_name(body.name)

    async def load(watcher: Watcher | None) -> Model:
        status = await registry.load(
            body.name, body.context_length, watcher, keep_alive=seconds(body.keep_alive), pin=body.pin
        )
        return model_json(status)

    return await _answer(request, load, stream=body.stream)


@router.post("/set_model")
async def set_model(body: ModelBody, request: Request, services: Served, asker: Asker) -> Json[ActiveModel]:
    """Make a model the active one; loads it first. What runs finishes on the model it started on."""
    with called_name():
        await while_connected(request, services.registry.set_active(body.name, user=asker))
    return Json({"active": services.registry.active})


@router.post("/unload_model")
async def unload_model(body: UnloadBody, services: Served) -> Json[Model]:
    """Unload a model and give its memory back; what runs finishes first, or is cancelled with `force`."""
    with called_name():
        return Json(model_json(await services.registry.unload(body.name, force=body.force)))


def model_json(status: ModelStatus) -> Model:
    """A model as clients see it."""
    return {
        "name": status.name,
        "architecture": status.architecture,
        "parameters": status.parameters,
        "quantization": status.quantization,
        "context_length": status.context_length,
        "size_bytes": status.size_bytes,
        "state": status.state,
        "active": status.active,
        "pinned": status.pinned,
        "keep_alive_s": status.keep_alive_s,
        "source": status.source,
        "progress": None if status.progress is None else _progress_json(status.progress),
        "error": status.error,
        "capabilities": list(status.capabilities),
        "memory": {
            "estimated_bytes": status.estimated_bytes,
            "measured_bytes": status.measured_bytes,
            "used_bytes": status.used_bytes,
        },
    }


@contextlib.contextmanager
def called_name() -> Iterator[None]:
    """Where the field that names a model is `name`, an unknown one is a mistake in that field."""
    try:
        yield
    except ModelNotFound as error:
        error.param = "name"
        raise


async def _answer(
    request: Request, work: Callable[[Watcher | None], Awaitable[T]], *, stream: bool
) -> Json[T] | EventStream[Any]:
    """What the work comes to: as a whole, or as events with its progress, then `done` or `error`."""
    if not stream:
        return Json(await while_connected(request, _run(work(None))))
    events = Events()
    return EventStream(ends_in_error(_progress_events(work, events), lambda error: events.event("error", error)))


async def _run(work: Awaitable[T]) -> T:
    return await work


async def _progress_events(
    work: Callable[[Watcher | None], Awaitable[object]], events: Events
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


def _progress_json(progress: Progress) -> LoadProgress:
    eta_ms = None if progress.eta_s is None else round(progress.eta_s * 1000)
    return {"phase": progress.phase, "bytes": progress.done, "total": progress.total, "eta_ms": eta_ms}


def _estimate_json(told: Estimated) -> Estimate:
    plan, parts = told.plan, told.plan.estimate
    return {
        "name": told.name,
        "context_length": plan.context_length,
        "kv_tokens": plan.kv_tokens,
        "weight_bytes": parts.weight_bytes,
        "kv_bytes": parts.kv_bytes,
        "work_bytes": parts.work_bytes,
        "margin_bytes": parts.margin_bytes,
        "required_bytes": parts.required_bytes,
        "available_bytes": told.available_bytes,
        "fits": told.fits,
        "unloads": list(told.unloads),
        "largest_context_that_fits": told.largest_context,
        "gpus": [
            {"name": gpu.name, "total_bytes": gpu.total_bytes, "available_bytes": gpu.available_bytes}
            for gpu in told.gpus
        ],
    }
