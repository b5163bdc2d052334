"""What the routes about generation answer."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict

from fairlead.api.errors import ErrorResponse
from fairlead.service.answer_events import FinishReason, Queued
from fairlead.service.reports import ResultReport


class Candidate(TypedDict):
    """A token with its natural log-probability before any filter."""

    token: str
    logprob: float
    bytes: list[int]
    """Of its text, which may be part of a character."""


class TokenLogprob(Candidate):
    """A token of an answer."""

    top_logprobs: list[Candidate]
    """The likeliest that might have stood in its place, likeliest first."""


class InferDone(ResultReport):
    """How an answer ended."""

    id: str
    model: str
    finish_reason: FinishReason


class InferText(TypedDict):
    """The next piece of an answer."""

    text: str
    logprobs: NotRequired[list[TokenLogprob]]
    """Where they were asked for, of the tokens that begin with it."""


class Infer(InferDone, InferText):
    """A whole answer."""


class InferEvents(TypedDict):
    """The events of an answer, by their names."""

    queued: Queued
    token: InferText
    done: InferDone
    error: ErrorResponse


class Cancelled(TypedDict):
    """What was stopped."""

    id: str
    cancelled: bool


class Tokenized(TypedDict):
    """What the model sees."""

    tokens: list[int]
    count: int
    model: str
    context_length: int
    fits: bool
    """Whether there is room for an answer, too."""


class Detokenized(TypedDict):
    """The text of tokens."""

    text: str
