"""Fairlead's own routes: the service's health, and generation. Those about models are in `models.py`."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

import fairlead
from fairlead.api.answers import ended, logprobs_json, result_json, wholes
from fairlead.api.generation_responses import Cancelled, Detokenized, Infer, InferEvents, InferText, Tokenized
from fairlead.api.responses import EncodedJson, Json
from fairlead.api.schemas import (
    CancelBody,
    DetokenizeBody,
    InferBody,
    TokenizeBody,
    UserName,
)
from fairlead.api.security import JsonRoute, is_loopback
from fairlead.api.service_responses import Health
from fairlead.api.services import Asker, Proven, RequestId, Served
from fairlead.api.sse import Events, EventStream, ends_in_error, while_connected
from fairlead.queue import Queue
from fairlead.service.answer import Answer, TokenLogprob
from fairlead.service.answer_events import queued
from fairlead.service.queue import queue_of

router = APIRouter(route_class=JsonRoute)

_QUEUED_EVERY_S: Final = 1.0

# ---- the service ----------------------------------------------------------------------------------


@router.get("/health", tags=["service"], responses={503: {"description": "It does not, and `reason` says why"}})
async def health(services: Served) -> Json[Health]:
    """Whether the server does what it should: 200, or 503 with the reason."""
    registry = services.registry
    trouble = registry.trouble()
    body: Health = {
        "status": "ok" if trouble is None else "degraded",
        "version": fairlead.__version__,
        "uptime_s": round(time.monotonic() - services.started_at, 1),
        "active_model": registry.active,
        "models": registry.states(),
    }
    if trouble is not None:
        body["reason"] = trouble
    return Json(body, 200 if trouble is None else 503)


@router.get("/metrics", tags=["service"])
async def metrics(request: Request, services: Served) -> PlainTextResponse:
    """Counters in Prometheus' text format, for this machine alone."""
    if request.client is None or not is_loopback(request.client.host):
        raise HTTPException(403, "Metrics are for the server's own machine.")
    return PlainTextResponse(services.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/queue", tags=["service"])
async def queue(services: Served, asker: Asker, user: UserName | None = None) -> Json[Queue]:
    """What each loaded model does: the caller's own requests with their places, and how many others have."""
    told = queue_of(user or asker, services.registry.loaded(), services.generator.under_way(), services.users)
    return EncodedJson(told)


# ---- generation -----------------------------------------------------------------------------------


@router.post("/infer", tags=["generation"])
async def infer(
    body: InferBody, request: Request, services: Served, request_id: RequestId, asker: Asker
) -> Json[Infer]:
    """Answer a prompt, whole."""

    async def answer() -> Infer:
        answers = await services.generator.start(body.request(asker), request_id)
        request.state.model = answers[0].model
        (one,) = await wholes(answers)
        return {**result_json(one.result), **_piece(one.text, None if body.logprobs is None else one.logprobs)}

    return Json(await while_connected(request, answer()))


@router.post("/infer_stream", tags=["generation"])
async def infer_stream(
    body: InferBody, request: Request, services: Served, request_id: RequestId, asker: Asker
) -> EventStream[InferEvents]:
    """Answer a prompt, as it is generated: `token` events, then one of `done` and `error`.

    While it waits for its turn, a `queued` event each second tells of its place.
    """
    (answer,) = await while_connected(request, services.generator.start(body.request(asker), request_id))
    request.state.model = answer.model
    events = Events()
    return EventStream(
        ends_in_error(_answer_events(answer, events), lambda error: events.event("error", error)),
        on_close=answer.aclose,
    )


@router.post("/cancel", tags=["generation"])
async def cancel(body: CancelBody, services: Served, proven: Proven) -> Json[Cancelled]:
    """Stop the generation with this id, wherever it is; with a key, only one's own."""
    if not services.conversations.cancel(body.id, proven):
        services.generator.cancel(body.id, proven)
    return Json({"id": body.id, "cancelled": True})


@router.post("/tokenize", tags=["generation"])
async def tokenize(body: TokenizeBody, services: Served, asker: Asker) -> Json[Tokenized]:
    """What the model sees for messages; of a text, its tokens without a mark in front."""
    tokens, model = await services.generator.tokenize(body.request(asker))
    return Json(
        {
            "tokens": list(tokens),
            "count": len(tokens),
            "model": model.name,
            "context_length": model.context_length,
            "fits": len(tokens) < model.context_length,
        }
    )


@router.post("/detokenize", tags=["generation"])
async def detokenize(body: DetokenizeBody, services: Served, asker: Asker) -> Json[Detokenized]:
    """The text of tokens."""
    return Json({"text": await services.generator.detokenize(body.tokens, body.model, asker)})


async def _answer_events(answer: Answer, events: Events) -> AsyncGenerator[bytes, None]:
    async with answer:
        while not await answer.ready(_QUEUED_EVERY_S):
            if (place := answer.place) is not None:
                yield events.event("queued", queued(place))
        async for piece in answer.pieces():
            yield events.event("token", _piece(piece.text, piece.logprobs or None))
    yield events.event("done", result_json(ended(answer)))


def _piece(text: str, logprobs: Sequence[TokenLogprob] | None) -> InferText:
    told: InferText = {"text": text}
    if logprobs is not None:
        told["logprobs"] = logprobs_json(logprobs)
    return told
