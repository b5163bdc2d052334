"""`POST /answer`: questions answered from a text, files or a collection, whole or as a stream, with the sources."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Annotated, Final, Literal, get_args

import numpy as np
from fastapi import APIRouter, Query, Request
from pydantic import Field

from fairlead.api.files import received
from fairlead.api.multipart import FilesRoute
from fairlead.api.responses import Json
from fairlead.api.schemas import Body, Name, OwnId, UserName
from fairlead.api.security import JsonRoute
from fairlead.api.services import Asker, RequestId, Served, Services
from fairlead.api.sse import Events, EventStream, while_connected
from fairlead.api.steps import respond
from fairlead.api.summaries import FileReference, Seed, Temperature, Timeout
from fairlead.api.task_responses import AnswerProgress, AnswerSource, AnswerSources, TextAnswer, TextAnswerEvents
from fairlead.errors import FileTooLarge, InvalidRequest
from fairlead.service.answer_events import Text
from fairlead.service.answering import (
    MAX_TOKENS,
    THRESHOLD,
    TOP_K,
    Answered,
    Embedded,
    Found,
    RowsOf,
    Step,
    Wish,
    Words,
)
from fairlead.service.request import GenerationRequest
from fairlead.service.sources import Candidate, Source, of_context, of_file

router = APIRouter(route_class=JsonRoute, tags=["tasks"])
_uploads = APIRouter(route_class=FilesRoute, tags=["tasks"])

_MOST_FILES: Final = 100
_MOST_CHARACTERS: Final = 20_000_000
"""Of all files of one question."""
_TEMPERATURE: Final = 0.0
"""The likeliest answer, unless asked otherwise."""

Place = Literal[
    "start", "end", "chat_id", "file_id", "name", "page", "line_from", "line_to", "collection", "row_id", "row"
]
_PLACES: Final[tuple[Place, ...]] = get_args(Place)
"""What says where a source stands."""

TopK = Annotated[int, Field(ge=1, le=50)]
Threshold = Annotated[float, Field(ge=-1, le=1)]
MaxTokens = Annotated[int, Field(ge=1, le=4096)]


class AnswerBody(Body):
    """`POST /answer`: exactly one of `context`, `collection` and `files`."""

    question: str
    context: str | None = None
    collection: Name | None = None
    files: Annotated[list[FileReference], Field(min_length=1, max_length=_MOST_FILES, fail_fast=True)] | None = None
    top_k: TopK = TOP_K
    threshold: Threshold = THRESHOLD
    model: Name | None = None
    max_tokens: MaxTokens = MAX_TOKENS
    temperature: Temperature = _TEMPERATURE
    seed: Seed | None = None
    timeout_s: Timeout | None = None
    priority: Literal["low", "normal", "high"] = "normal"
    stream: bool = False
    request_id: OwnId | None = None
    user: UserName | None = None


@router.post("/answer")
async def answer(
    body: AnswerBody, request: Request, services: Served, request_id: RequestId, asker: Asker
) -> Json[TextAnswer] | EventStream[TextAnswerEvents]:
    """A question answered from a text that is sent along, from files of one's chats, or from a collection."""
    asking = GenerationRequest(
        user=body.user or asker,
        model=body.model,
        temperature=body.temperature,
        max_tokens=body.max_tokens,
        seed=body.seed,
        timeout_s=body.timeout_s,
        priority=body.priority,
    )
    among = await while_connected(request, _among(body, services, asking.user))
    wish = Wish(question=body.question, among=among, asking=asking, top_k=body.top_k, threshold=body.threshold)
    return await _answer(wish, request, services, body.request_id or request_id, stream=body.stream)


@_uploads.post("/answer/file")
async def answer_file(
    request: Request,
    services: Served,
    id_given: RequestId,
    asker: Asker,
    *,
    question: str,
    top_k: Annotated[TopK, Query()] = TOP_K,
    threshold: Annotated[Threshold, Query()] = THRESHOLD,
    model: Annotated[Name | None, Query()] = None,
    max_tokens: Annotated[MaxTokens, Query()] = MAX_TOKENS,
    temperature: Annotated[Temperature, Query()] = _TEMPERATURE,
    seed: Annotated[Seed | None, Query()] = None,
    timeout_s: Annotated[Timeout | None, Query()] = None,
    stream: bool = False,
    request_id: Annotated[OwnId | None, Query()] = None,
    user: UserName | None = None,
) -> Json[TextAnswer] | EventStream[TextAnswerEvents]:
    """A question answered from files: a form (multipart/form-data) with each in a field named `file`. None is kept."""
    among: list[Candidate] = []
    async with contextlib.AsyncExitStack() as discarding:
        for upload in await received(request, services.documents, discarding, most=_MOST_FILES):
            passages = await while_connected(request, services.documents.read_passages(upload))
            among += of_file(upload.name, passages)
            _check_size(among)
    asking = GenerationRequest(
        user=user or asker,
        model=model,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        timeout_s=timeout_s,
    )
    wish = Wish(question=question, among=among, asking=asking, top_k=top_k, threshold=threshold)
    return await _answer(wish, request, services, request_id or id_given, stream=stream)


router.include_router(_uploads)


async def _among(body: AnswerBody, services: Services, user: str) -> Sequence[Candidate] | RowsOf:
    """What may answer a body's question."""
    if [body.context, body.collection, body.files].count(None) != 2:
        raise InvalidRequest("Give one of context, collection and files.", param="context")
    if body.collection is not None:
        return RowsOf(body.collection)
    if body.files is None:
        if not (body.context or "").strip():
            raise InvalidRequest("There is no text to answer from.", param="context")
        return await asyncio.to_thread(of_context, body.context or "")
    person = await services.people.known(user)
    found: list[Candidate] = []
    for reference in dict.fromkeys((file.chat_id, file.file_id) for file in body.files):
        chat_id, file_id = reference
        file, passages = await services.documents.passages(await services.documents.chat_row(person, chat_id), file_id)
        vectors = [
            np.frombuffer(passage.embedding, "<f4")
            if passage.embedding is not None and passage.embedded_by == services.embeddings.name
            else None
            for passage in passages
        ]
        found += of_file(file.name, passages, vectors, chat_id=chat_id, file_id=file_id)
        _check_size(found)
    return found


def _check_size(among: Sequence[Candidate]) -> None:
    if sum(len(candidate.source.text) for candidate in among) > _MOST_CHARACTERS:
        raise FileTooLarge(f"The files say too much: together they may have {_MOST_CHARACTERS:,} characters at most.")


async def _answer(
    wish: Wish, request: Request, services: Services, request_id: str, *, stream: bool
) -> Json[TextAnswer] | EventStream[TextAnswerEvents]:
    steps = services.answers.answer(wish, request_id)
    return await respond(request, steps, Answered, answered_json, _event, stream=stream)


def _event(step: Step, events: Events) -> bytes:
    match step:
        case Embedded():
            progress: AnswerProgress = {"phase": "embedding", "done": step.done, "total": step.total}
            return events.event("progress", progress)
        case Found():
            found: AnswerSources = {
                "sources": [source_json(source) for source in step.sources],
                "best_score": step.best_score,
                "threshold": step.threshold,
            }
            return events.event("sources", found)
        case Words():
            return events.event("token", Text(text=step.text))
        case Answered():
            return events.event("done", answered_json(step))


def answered_json(answered: Answered) -> TextAnswer:
    """An answer with its sources as clients see it."""
    return {
        "id": answered.id,
        "model": answered.model,
        "answered": answered.answered,
        "answer": answered.answer,
        "sources": [source_json(source) for source in answered.sources],
        "best_score": answered.best_score,
        "threshold": answered.threshold,
        "finish_reason": answered.finish_reason,
        "usage": {
            "prompt_tokens": answered.prompt_tokens,
            "completion_tokens": answered.completion_tokens,
            "cached_tokens": answered.cached_tokens,
        },
        "timing": {
            "search_ms": answered.search_ms,
            "ttft_ms": answered.ttft_ms,
            "total_ms": answered.total_ms,
        },
    }


def source_json(source: Source) -> AnswerSource:
    """A source as clients see it, without what does not apply to its kind."""
    told: AnswerSource = {"kind": source.kind, "text": source.text, "score": source.score}
    for place in _PLACES:
        if (value := getattr(source, place)) is not None:
            told[place] = value
    return told
