"""Answers as JSON values: what the dialects write alike, and whole answers gathered from their pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fairlead.api import generation_responses as responses
from fairlead.errors import EngineFailed
from fairlead.service.answer import Answer, Candidate, Result, TokenLogprob
from fairlead.service.reports import result_report


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer from its beginning to its end."""

    text: str
    logprobs: Sequence[TokenLogprob]
    result: Result


async def whole(answer: Answer) -> Whole:
    """Gather one answer and close it."""
    texts: list[str] = []
    logprobs: list[TokenLogprob] = []
    async with answer:
        async for piece in answer.pieces():
            texts.append(piece.text)
            logprobs += piece.logprobs
    return Whole("".join(texts), logprobs, ended(answer))


async def wholes(answers: Iterable[Answer]) -> list[Whole]:
    """Gather several answers that are generated side by side; where one fails all are given up."""
    answers = list(answers)
    try:
        return await asyncio.gather(*(whole(answer) for answer in answers))
    finally:
        for answer in answers:
            await answer.aclose()


def ended(answer: Answer) -> Result:
    """How an answer ended; EngineFailed for one that was left before it did."""
    if answer.result is None:
        raise EngineFailed("The answer was left before its end.")
    return answer.result


def result_json(result: Result) -> responses.InferDone:
    """The end of an answer in Fairlead's own dialect."""
    return {"id": result.id, "model": result.model, "finish_reason": result.finish_reason, **result_report(result)}


def logprobs_json(logprobs: Iterable[TokenLogprob]) -> list[responses.TokenLogprob]:
    """Log-probabilities as in OpenAI's chat dialect, which Fairlead's own shares."""
    return [{**_candidate(item.token), "top_logprobs": [_candidate(other) for other in item.top]} for item in logprobs]


def _candidate(candidate: Candidate) -> responses.Candidate:
    return {"token": candidate.text, "logprob": candidate.logprob, "bytes": list(candidate.bytes)}
