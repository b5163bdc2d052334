"""Chats as a server tells of them: the shapes of its answers, for programs that ask one. Times are RFC 3339 in UTC."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.answer_info import Dropped, Timing, Usage


class Match(msgspec.Struct, frozen=True):
    """Where in a chat was found what was looked for; `message_id` is None for its title."""

    message_id: int | None
    excerpt: str


class ListedChat(msgspec.Struct, frozen=True):
    """A chat in a list."""

    chat_id: int
    title: str
    created_at: str
    updated_at: str
    message_count: int = 0
    preview: str = ""
    match: Match | None = None


class ChatPage(msgspec.Struct, frozen=True):
    """A part of a list of chats, and whether others come behind it."""

    chats: list[ListedChat]
    more: bool = False


class ContextTold(Dropped, frozen=True):
    """What of the chat the model was not given as it stands."""

    summarized_messages: int = 0
    dropped_passages: int = 0


class FilesTold(msgspec.Struct, frozen=True):
    """Whether the model was given files whole, and passages of others; and what there is to know of them."""

    whole: bool = False
    selected: bool = False
    notes: list[str] = []


class Source(msgspec.Struct, frozen=True):
    """A passage that the model was given."""

    file_id: int
    name: str
    text: str
    page: int | None = None
    line_from: int | None = None
    line_to: int | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why an answer failed."""

    code: str
    message: str


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message; `siblings` are the numbers of all versions of this turn, its own among them."""

    message_id: int
    parent: int | None
    role: str
    content: str
    state: str
    created_at: str
    finished_at: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    siblings: list[int] = []
    usage: Usage | None = None
    timing: Timing | None = None
    context: ContextTold = ContextTold()
    files: FilesTold = FilesTold()
    sources: list[Source] = []
    error: Failure | None = None


class Running(msgspec.Struct, frozen=True):
    """The answer that goes on in a chat: `event_id` is where its stream goes on behind what the chat shows."""

    id: str
    message_id: int
    event_id: str


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """A chat with the messages of the branch that is shown; `leaf` is the last of them."""

    chat_id: int
    title: str
    titled_by: str
    created_at: str
    updated_at: str
    on_overflow: str
    message_count: int
    messages: list[ChatMessage]
    system: str | None = None
    model: str | None = None
    parameters: dict[str, Any] = {}
    leaf: int | None = None
    running: Running | None = None


class Started(msgspec.Struct, frozen=True):
    """The question is stored: the numbers of both messages, and the id that cancels the answer."""

    id: str | None
    chat_id: int
    user_message_id: int | None
    message_id: int


class Preparing(msgspec.Struct, frozen=True):
    """What is done before the answer can begin, such as "summarizing"."""

    doing: str


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer in a chat ended."""

    chat_id: int
    message_id: int
    user_message_id: int | None = None
    id: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage = Usage()
    timing: Timing = Timing()
    context: ContextTold = ContextTold()
    files: FilesTold = FilesTold()
    sources: list[Source] = []
