"""What readers of an answer's stream are told: the events' data, in chats and without."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from fairlead.engine.messages import FinishReason, Waiting
from fairlead.service.reports import ChatReport

__all__ = ["ChatDone", "FinishReason", "Preparing", "Queued", "Started", "Text", "queued"]


class Started(TypedDict):
    """The question is stored: the numbers of both messages, and the id by which the answer can be cancelled."""

    id: str | None
    """Null where it is not known any more, as of an answer that was taken in with its chat."""
    chat_id: int
    user_message_id: int
    message_id: int


class Preparing(TypedDict):
    """What is done before the answer can begin."""

    doing: Literal["summarizing"]


class Queued(TypedDict):
    """An answer's place, told each second while it waits for its turn."""

    position: int
    """How many are expected to begin before it."""
    estimated_wait_ms: int | None
    """Null before anything was measured."""


class Text(TypedDict):
    """The next piece of an answer."""

    text: str


class ChatDone(Started, ChatReport):
    """How an answer in a chat ended."""

    model: str | None
    finish_reason: str | None


def queued(place: Waiting) -> Queued:
    """Of an answer that waits there."""
    wait_ms = None if place.wait_s is None else round(place.wait_s * 1000)
    return {"position": place.position, "estimated_wait_ms": wait_ms}
