"""What the routes about the service itself answer; what `GET /queue` does is in `fairlead.queue`."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from fairlead.service.model import State


class Health(TypedDict):
    """Whether the server does what it should."""

    status: Literal["ok", "degraded"]
    version: str
    uptime_s: float
    active_model: str | None
    models: dict[str, State]
    """By name."""
    reason: NotRequired[str]
    """Of a server that is degraded."""


class UserLimits(TypedDict):
    """The most that somebody may have; null is without limit."""

    weight: float
    max_waiting: int
    tokens_per_day: int | None
    storage_bytes: int | None


class UserShare(TypedDict):
    """What somebody has."""

    waiting: int
    running: int
    prompt_tokens_today: int
    completion_tokens_today: int
    tokens_today: int
    storage_bytes: int


class Me(TypedDict):
    """Who asks, as the server sees it."""

    user: str
    secured: bool
    """Whether a key proves it."""
    limits: UserLimits
    used: UserShare
    day_ends_at: str
