"""What `GET /queue` tells: of each loaded model, what it does and for whom.

The server fills these in and encodes them as they stand; the client reads them back. Tokens and steps are counted
since the model was loaded, times are in milliseconds, and None stands for what is not known yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class QueuedRequest:
    """A request of whoever asks."""

    id: str
    state: Literal["waiting", "running"]
    position: int | None
    """How many are expected to begin before it; None where it runs."""
    estimated_wait_ms: float | None
    """Until its turn comes; None where it runs, or before anything was measured."""
    completion_tokens: int
    """Of its answer, so far."""


@dataclass(frozen=True, slots=True)
class UserLoad:
    """What one user has of a model."""

    user: str
    running: int
    waiting: int
    prompt_tokens: int
    """Computed for them."""
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """What was computed, and what did not have to be."""

    prompt: int = 0
    cached: int = 0
    """Of prompts, found computed."""
    completion: int = 0
    drafted: int = 0
    """Guessed ahead."""
    accepted: int = 0
    """Guessed ahead, and drawn indeed."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens a second."""

    prompt: float | None = None
    """That a step reads which has nothing else to do."""
    completion: float | None = None
    """Over the last seconds, of all answers together."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Of the KV cache."""

    held: int = 0
    """By requests."""
    cached: int = 0
    """By none, and kept because they may be asked for."""
    free: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Steps:
    """How long the engine's steps take, and how long they should."""

    count: int = 0
    mean_ms: float | None = None
    last_ms: float | None = None
    budget_ms: float | None = None
    """Of the last one."""
    over_budget: int = 0
    """Steps that took more than 1.2 times their budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQueue:
    """What one model does."""

    name: str
    running: int = 0
    waiting: int = 0
    requests: list[QueuedRequest] = field(default_factory=list)
    """Those of whoever asks, of others none."""
    users: list[UserLoad] = field(default_factory=list)
    """Those with requests and those served lately, whose turn comes next first."""
    tokens_per_second: Rates = Rates()
    tokens: Tokens = Tokens()
    pages: Pages = Pages()
    steps: Steps = Steps()
    preemptions: int = 0
    """Running requests that had to make room and go on later."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The whole of it."""

    user: str
    """Who asks."""
    models: list[ModelQueue]
