"""Fairlead's own routes: the service's health, its models, and generation."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import asdict
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

import fairlead
from fairlead.api.answers import ended, logprobs_json, result_json, wholes
from fairlead.api.schemas import (
    CancelBody,
    DetokenizeBody,
    InferBody,
    LoadBody,
    ModelBody,
    TokenizeBody,
    UnloadBody,
    UserName,
)
from fairlead.api.security import JsonRoute, is_loopback
from fairlead.api.services import Asker, RequestId, Served
from fairlead.api.sse import Events, EventStream, encode, ends_in_error, while_connected
from fairlead.errors import ModelNotFound
from fairlead.service.answer import Answer
from fairlead.service.model import ModelStatus, Progress
from fairlead.service.queue import queue_of
from fairlead.service.registry import Registry

router = APIRouter(route_class=JsonRoute)

CAPABILITIES = ("chat", "completion")
_QUEUED_EVERY_S: Final = 1.0

# ---- the service ----------------------------------------------------------------------------------


@router.get("/health", tags=["service"])
async def health(services: Served) -> JSONResponse:
    """Whether the server does what it should: 200, or 503 with the reason."""
    registry = services.registry
    trouble = registry.trouble()
    body: dict[str, object] = {
        "status": "ok" if trouble is None else "degraded",
        "version": fairlead.__version__,
        "uptime_s": round(time.monotonic() - services.started_at, 1),
        "active_model": registry.active,
        "models": registry.states(),
    }
    if trouble is not None:
        body["reason"] = trouble
    return JSONResponse(body, 200 if trouble is None else 503)


@router.get("/metrics", tags=["service"])
async def metrics(request: Request, services: Served) -> Response:
    """Counters in Prometheus' text format, for this machine alone."""
    if request.client is None or not is_loopback(request.client.host):
        raise HTTPException(403, "Metrics are for the server's own machine.")
    return Response(services.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/queue", tags=["service"])
async def queue(services: Served, asker: Asker, user: UserName | None = None) -> Response:
    """What each loaded model does: the caller's own requests with their places, and how many others have."""
    told = queue_of(user or asker, services.registry.loaded(), services.generator.under_way(), services.users)
    return Response(encode(told), media_type="application/json")


# ---- models ---------------------------------------------------------------------------------------


@router.get("/models", tags=["models"])
async def models(services: Served) -> JSONResponse:
    """Every model that is known, and the one that is active."""
    registry = services.registry
    return JSONResponse({"models": [_model(status) for status in await registry.statuses()], "active": registry.active})


@router.post("/load_model", tags=["models"])
async def load_model(body: LoadBody, request: Request, services: Served) -> Response:
    """Load a model, downloading it first where needed; with `stream`, tell of the progress on the way."""
    registry = services.registry
    with called_name():
        registry.check_name(body.name)
    if body.stream:
        events = Events()
        return EventStream(
            ends_in_error(_load_events(registry, body, events), lambda error: events.event("error", error))
        )
    status = await while_connected(request, registry.load(body.name, body.context_length))
    return JSONResponse(_model(status))


@router.post("/set_model", tags=["models"])
async def set_model(body: ModelBody, request: Request, services: Served) -> JSONResponse:
    """Make a model the active one; loads it first. What runs finishes on the model it started on."""
    with called_name():
        await while_connected(request, services.registry.set_active(body.name))
    return JSONResponse({"active": services.registry.active})


@router.post("/unload_model", tags=["models"])
async def unload_model(body: UnloadBody, services: Served) -> JSONResponse:
    """Unload a model and give its memory back; what runs finishes first, or is cancelled with `force`."""
    with called_name():
        return JSONResponse(_model(await services.registry.unload(body.name, force=body.force)))


@contextlib.contextmanager
def called_name() -> Iterator[None]:
    """Where the field that names a model is `name`, an unknown one is a mistake in that field."""
    try:
        yield
    except ModelNotFound as error:
        error.param = "name"
        raise


async def _load_events(registry: Registry, body: LoadBody, events: Events) -> AsyncGenerator[bytes, None]:
    news: asyncio.Queue[Progress | None] = asyncio.Queue()
    load = asyncio.create_task(registry.load(body.name, body.context_length, news.put_nowait))
    load.add_done_callback(lambda _: news.put_nowait(None))
    try:
        while (progress := await news.get()) is not None:
            eta_ms = None if progress.eta_s is None else round(progress.eta_s * 1000)
            told = {"phase": progress.phase, "bytes": progress.done, "total": progress.total, "eta_ms": eta_ms}
            yield events.event("progress", told)
        yield events.event("done", _model(load.result()))
    finally:
        load.cancel()  # this wait for it alone: the load goes on


def _model(status: ModelStatus) -> dict[str, object]:
    told = asdict(status)
    memory = {"estimated_bytes": told.pop("estimated_bytes"), "used_bytes": told.pop("used_bytes")}
    return {**told, "capabilities": CAPABILITIES, "memory": memory}


# ---- generation -----------------------------------------------------------------------------------


@router.post("/infer", tags=["generation"])
async def infer(
    body: InferBody, request: Request, services: Served, request_id: RequestId, asker: Asker
) -> JSONResponse:
    """Answer a prompt, whole."""

    async def answer() -> dict[str, object]:
        answers = await services.generator.start(body.request(asker), request_id)
        request.state.model = answers[0].model
        (one,) = await wholes(answers)
        told = {**result_json(one.result), "text": one.text}
        return told if body.logprobs is None else {**told, "logprobs": logprobs_json(one.logprobs)}

    return JSONResponse(await while_connected(request, answer()))


@router.post("/infer_stream", tags=["generation"])
async def infer_stream(
    body: InferBody, request: Request, services: Served, request_id: RequestId, asker: Asker
) -> EventStream:
    """Answer a prompt, as it is generated: `token` events, then one of `done` and `error`.

    While it waits for its turn, a `queued` event each second tells of its place.
    """
    (answer,) = await services.generator.start(body.request(asker), request_id)
    request.state.model = answer.model
    events = Events()
    return EventStream(
        ends_in_error(_answer_events(answer, events), lambda error: events.event("error", error)),
        on_close=answer.aclose,
    )


@router.post("/cancel", tags=["generation"])
async def cancel(body: CancelBody, services: Served) -> JSONResponse:
    """Stop the generation with this id, wherever it is."""
    services.generator.cancel(body.id)
    return JSONResponse({"id": body.id, "cancelled": True})


@router.post("/tokenize", tags=["generation"])
async def tokenize(body: TokenizeBody, services: Served) -> JSONResponse:
    """What the model sees for messages; of a text, its tokens without a mark in front."""
    tokens, model = await services.generator.tokenize(body.request())
    return JSONResponse(
        {
            "tokens": list(tokens),
            "count": len(tokens),
            "model": model.name,
            "context_length": model.context_length,
            "fits": len(tokens) < model.context_length,
        }
    )


@router.post("/detokenize", tags=["generation"])
async def detokenize(body: DetokenizeBody, services: Served) -> JSONResponse:
    """The text of tokens."""
    return JSONResponse({"text": await services.generator.detokenize(body.tokens, body.model)})


async def _answer_events(answer: Answer, events: Events) -> AsyncGenerator[bytes, None]:
    async with answer:
        while not await answer.ready(_QUEUED_EVERY_S):
            if (place := answer.place) is not None:
                wait_ms = None if place.wait_s is None else round(place.wait_s * 1000)
                yield events.event("queued", {"position": place.position, "estimated_wait_ms": wait_ms})
        async for piece in answer.pieces():
            if piece.logprobs:
                told = {"text": piece.text, "logprobs": logprobs_json(piece.logprobs)}
                yield events.event("token", told)
            else:
                yield events.event("token", {"text": piece.text})
    yield events.event("done", result_json(ended(answer)))
