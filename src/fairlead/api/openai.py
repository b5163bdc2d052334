"""OpenAI's dialect: what its official client sends and reads, streamed and not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request

from fairlead.api.answers import ended, wholes
from fairlead.api.openai_json import ChatDialect, CompletionDialect, Dialect, Object, usage_json
from fairlead.api.openai_responses import (
    ChatCompletion,
    ChatCompletionEvents,
    Completion,
    CompletionEvents,
    OpenAIModel,
    OpenAIModels,
)
from fairlead.api.responses import Json, encode
from fairlead.api.schemas import ChatBody, CompletionBody, OpenAIBody
from fairlead.api.security import JsonRoute
from fairlead.api.services import Asker, RequestId, Served, Services
from fairlead.api.sse import EventStream, ends_in_error, while_connected
from fairlead.errors import ModelNotFound
from fairlead.service.answer import Answer, Piece
from fairlead.service.request import GenerationRequest

router = APIRouter(prefix="/v1", route_class=JsonRoute, tags=["openai"])

_DONE: Final = b"data: [DONE]\n\n"
_HERE: Final = "\x00"
"""Stands for the text in a chunk made once for all; no name holds it."""


@router.get("/models")
async def models(services: Served) -> Json[OpenAIModels]:
    """The models that can answer now."""
    loaded = [_model(services, model.name) for model in services.registry.loaded()]
    return Json({"object": "list", "data": loaded})


@router.get("/models/{name}")
async def model(name: str, services: Served) -> Json[OpenAIModel]:
    """One model that can answer now."""
    if name not in [model.name for model in services.registry.loaded()]:
        raise ModelNotFound(f"No model {name[:200]!r} is loaded; GET /v1/models lists those that are.", param="model")
    return Json(_model(services, name))


@router.post("/chat/completions")
async def chat_completions(
    body: ChatBody, request: Request, services: Served, request_id: RequestId, asker: Asker
) -> Json[ChatCompletion] | EventStream[ChatCompletionEvents]:
    """Answer a conversation."""
    asked = _Asked(body, [body.request(asker)], ChatDialect(logprobs=bool(body.logprobs)), request_id)
    return await _respond(asked, request, services)


@router.post("/completions")
async def completions(
    body: CompletionBody, request: Request, services: Served, request_id: RequestId, asker: Asker
) -> Json[Completion] | EventStream[CompletionEvents]:
    """Continue one or more texts."""
    asked = _Asked(body, body.requests(asker), CompletionDialect(logprobs=body.logprobs is not None), request_id)
    return await _respond(asked, request, services)


def _model(services: Services, name: str) -> OpenAIModel:
    created = int(time.time() - (time.monotonic() - services.started_at))
    return {"id": name, "object": "model", "created": created, "owned_by": "fairlead"}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request of either route."""

    body: OpenAIBody
    prompts: Sequence[GenerationRequest]
    dialect: Dialect
    request_id: str

    @property
    def count(self) -> int:
        """Choices for each prompt."""
        return self.body.n or 1


async def _respond(asked: _Asked, request: Request, services: Services) -> Json[Any] | EventStream[Any]:
    if asked.body.stream:
        stream = _Stream(asked, await while_connected(request, _start(asked, services)))
        request.state.model = stream.model
        return EventStream(ends_in_error(stream.events(), lambda error: _event(error) + _DONE), on_close=stream.aclose)

    async def answer() -> Object:
        answers = await _start(asked, services)
        request.state.model = answers[0].model
        found = await wholes(answers)
        choices = [
            {"index": index, **asked.dialect.choice(one), "finish_reason": one.result.finish_reason}
            for index, one in enumerate(found)
        ]
        results = [one.result for one in found]
        head = _head(asked.dialect.kind, asked.request_id, results[0].model)
        return {**head, "choices": choices, "usage": usage_json(results, asked.count)}

    return Json(await while_connected(request, answer()))


async def _start(asked: _Asked, services: Services) -> Sequence[Answer]:
    """The answers to all prompts, all of them or none."""
    answers: list[Answer] = []
    try:
        for prompt in asked.prompts:
            answers += await services.generator.start(prompt, asked.request_id, asked.count)
    except BaseException:
        for answer in answers:
            await answer.aclose()
        raise
    return answers


def _head(kind: str, request_id: str, model_name: str) -> Object:
    return {"id": request_id, "object": kind, "created": int(time.time()), "model": model_name}


class _Stream:
    """The chunks of a stream. A chunk of text alone is put together from bytes made before."""

    def __init__(self, asked: _Asked, answers: Sequence[Answer]) -> None:
        self.model = answers[0].model
        self._answers = answers
        self._dialect = dialect = asked.dialect
        self._choices_per_prompt = asked.count
        self._include_usage = asked.body.include_usage
        self._head = _head(dialect.chunk_kind, asked.request_id, self.model)
        self._frames = [
            self._chunk(index, dialect.piece(_HERE, None)).split(encode(_HERE)) for index in range(len(answers))
        ]

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Every chunk, and the mark at the end."""
        for index in range(len(self._answers)):
            if (opening := self._dialect.opening()) is not None:
                yield self._chunk(index, opening)
        async for index, piece in _merged(self._answers):
            if piece is None:
                reason = ended(self._answers[index]).finish_reason
                yield self._chunk(index, self._dialect.closing(), reason)
            elif piece.logprobs:
                yield self._chunk(index, self._dialect.piece(piece.text, piece.logprobs))
            else:
                before, after = self._frames[index]
                yield before + encode(piece.text) + after
        if self._include_usage:
            usage = usage_json([ended(answer) for answer in self._answers], self._choices_per_prompt)
            yield _event({**self._head, "choices": [], "usage": usage})
        yield _DONE

    async def aclose(self) -> None:
        """Stop what is not finished."""
        for answer in self._answers:
            await answer.aclose()

    def _chunk(self, index: int, choice: Object, finish_reason: str | None = None) -> bytes:
        chunk = {**self._head, "choices": [{"index": index, **choice, "finish_reason": finish_reason}]}
        return _event({**chunk, "usage": None} if self._include_usage else chunk)


def _event(value: Mapping[str, object]) -> bytes:
    return b"data: %b\n\n" % encode(value)


async def _merged(answers: Sequence[Answer]) -> AsyncGenerator[tuple[int, Piece | None], None]:
    """The pieces of several answers as they come, each with its answer's place; None ends an answer."""
    if len(answers) == 1:
        async for piece in answers[0].pieces():
            yield 0, piece
        yield 0, None
        return
    news: asyncio.Queue[tuple[int, Piece | Exception | None]] = asyncio.Queue(maxsize=len(answers))

    async def read(index: int, answer: Answer) -> None:
        try:
            async for piece in answer.pieces():
                await news.put((index, piece))
            await news.put((index, None))
        except Exception as error:  # noqa: BLE001 - raised again where the news are read
            await news.put((index, error))

    tasks = [asyncio.create_task(read(index, answer)) for index, answer in enumerate(answers)]
    try:
        left = len(answers)
        while left:
            index, item = await news.get()
            if isinstance(item, Exception):
                raise item
            left -= item is None
            yield index, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
