"""Answers as they are asked for and told of, in a chat or without: the shapes of the HTTP contract, for its clients."""

from __future__ import annotations

from typing import TypedDict

import msgspec


class Wishes(TypedDict, total=False):
    """How a prompt is to be answered; what is left out is the chat's, then the model's, then the server's default."""

    model: str
    system: str
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    max_tokens: int
    seed: int
    stop: list[str]
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    priority: str
    timeout_s: float
    on_overflow: str


class Options(Wishes, total=False):
    """The same where the prompt stands alone, and what can be said of such a one only."""

    logprobs: int
    user: str
    raw: bool


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class Timing(msgspec.Struct, frozen=True):
    """Where an answer's time went, in milliseconds."""

    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    ttft_ms: float | None = None
    total_ms: float = 0.0
    tokens_per_second: float | None = None


class Dropped(msgspec.Struct, frozen=True):
    """What did not fit the context and was left out, where the request allowed it."""

    dropped_messages: int = 0
    dropped_tokens: int = 0


class Answer(msgspec.Struct, frozen=True):
    """A whole answer; of a stream, its end (`text` is then empty)."""

    id: str
    model: str
    finish_reason: str
    text: str = ""
    usage: Usage = Usage()
    timing: Timing = Timing()
    context: Dropped = Dropped()


class Text(msgspec.Struct, frozen=True):
    """The next piece of an answer."""

    text: str


class Queued(msgspec.Struct, frozen=True):
    """An answer's place, told each second while it waits for its turn."""

    position: int
    """How many are expected to begin before it."""
    estimated_wait_ms: float | None = None
