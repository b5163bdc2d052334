"""`POST /summarize`: texts and files made short, whole or as a stream with its progress."""

from __future__ import annotations

import contextlib
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field

from fairlead.api import task_responses as responses
from fairlead.api.files import received
from fairlead.api.multipart import FilesRoute
from fairlead.api.responses import Json
from fairlead.api.schemas import Body, Name, UserName
from fairlead.api.security import JsonRoute
from fairlead.api.services import Asker, RequestId, Served, Services
from fairlead.api.sse import Events, EventStream, while_connected
from fairlead.api.steps import respond
from fairlead.errors import InvalidRequest
from fairlead.service.answer_events import Text
from fairlead.service.request import GenerationRequest
from fairlead.service.summaries import Progress, Summary, Wish, Words

router = APIRouter(route_class=JsonRoute, tags=["tasks"])
_uploads = APIRouter(route_class=FilesRoute, tags=["tasks"])

_LARGEST_NUMBER: Final = 2**31 - 1
_TEMPERATURE: Final = 0.0
"""The likeliest summary, unless asked otherwise."""

MaxWords = Annotated[int, Field(ge=10, le=2000)]
Share = Annotated[float, Field(gt=0, le=1)]
Temperature = Annotated[float, Field(ge=0, le=2)]
Seed = Annotated[int, Field(ge=0, lt=2**64)]
Timeout = Annotated[float, Field(gt=0, le=86_400)]
Number = Annotated[int, Field(ge=1, le=_LARGEST_NUMBER)]

_MAX_WORDS: Final = 150


class FileReference(Body):
    """A file of one of the asker's chats."""

    chat_id: Number
    file_id: Number


class SummarizeBody(Body):
    """`POST /summarize`: exactly one of `text` and `file`."""

    text: str | None = None
    file: FileReference | None = None
    max_words: MaxWords = _MAX_WORDS
    share: Share = 1.0
    model: Name | None = None
    temperature: Temperature = _TEMPERATURE
    seed: Seed | None = None
    timeout_s: Timeout | None = None
    priority: Literal["low", "normal", "high"] = "normal"
    stream: bool = False
    user: UserName | None = None


@router.post("/summarize")
async def summarize(
    body: SummarizeBody, request: Request, services: Served, request_id: RequestId, asker: Asker
) -> Json[responses.Summary] | EventStream[responses.SummaryEvents]:
    """A text of any length, or a file of a chat, made short."""
    asking = GenerationRequest(
        user=body.user or asker,
        model=body.model,
        temperature=body.temperature,
        seed=body.seed,
        timeout_s=body.timeout_s,
        priority=body.priority,
    )
    text = await while_connected(request, _text(body, services, asking.user))
    wish = Wish(text=text, asking=asking, max_words=body.max_words, share=body.share)
    return await _answer(wish, request, services, request_id, stream=body.stream)


@_uploads.post("/summarize/file")
async def summarize_file(
    request: Request,
    services: Served,
    request_id: RequestId,
    asker: Asker,
    *,
    max_words: Annotated[MaxWords, Query()] = _MAX_WORDS,
    share: Annotated[Share, Query()] = 1.0,
    model: Annotated[Name | None, Query()] = None,
    temperature: Annotated[Temperature, Query()] = _TEMPERATURE,
    seed: Annotated[Seed | None, Query()] = None,
    timeout_s: Annotated[Timeout | None, Query()] = None,
    stream: bool = False,
    user: UserName | None = None,
) -> Json[responses.Summary] | EventStream[responses.SummaryEvents]:
    """A file made short: a form (multipart/form-data) with it in a field named `file`. It is not kept."""
    async with contextlib.AsyncExitStack() as discarding:
        uploads = await received(request, services.documents, discarding)
        if len(uploads) > 1:
            raise InvalidRequest("One file is summarized at a time: send each by itself.", param="file")
        text = await while_connected(request, services.documents.read(uploads[0]))
    asking = GenerationRequest(user=user or asker, model=model, temperature=temperature, seed=seed, timeout_s=timeout_s)
    wish = Wish(text=text, asking=asking, max_words=max_words, share=share)
    return await _answer(wish, request, services, request_id, stream=stream)


router.include_router(_uploads)


async def _text(body: SummarizeBody, services: Services, user: str) -> str:
    if (body.text is None) == (body.file is None):
        raise InvalidRequest("Give either text or file.", param="text")
    if body.file is None:
        return body.text or ""
    documents = services.documents
    chat = await documents.chat_row(await services.people.known(user), body.file.chat_id)
    return await documents.text(chat, body.file.file_id)


async def _answer(
    wish: Wish, request: Request, services: Services, request_id: str, *, stream: bool
) -> Json[responses.Summary] | EventStream[responses.SummaryEvents]:
    steps = services.summaries.summarize(wish, request_id)
    return await respond(request, steps, Summary, summary_json, _event, stream=stream)


def _event(step: Progress | Words | Summary, events: Events) -> bytes:
    match step:
        case Progress():
            progress: responses.SummaryProgress = {"phase": step.phase, "done": step.done, "total": step.total}
            return events.event("progress", progress)
        case Words():
            return events.event("token", Text(text=step.text))
        case Summary():
            return events.event("done", summary_json(step))


def summary_json(summary: Summary) -> responses.Summary:
    """A summary as clients see it."""
    return {
        "id": summary.id,
        "model": summary.model,
        "summary": summary.summary,
        "words": summary.words,
        "share_read": summary.share_read,
        "parts": summary.parts,
        "rounds": summary.rounds,
        "finish_reason": summary.finish_reason,
        "usage": {
            "prompt_tokens": summary.prompt_tokens,
            "completion_tokens": summary.completion_tokens,
            "cached_tokens": summary.cached_tokens,
        },
        "timing": {"total_ms": summary.total_ms},
    }
