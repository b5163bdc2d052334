"""What the routes of chats and their files answer. Times are RFC 3339 in UTC."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from fairlead.api.errors import ErrorResponse
from fairlead.service.answer_events import ChatDone, Preparing, Queued, Started, Text
from fairlead.service.chats import FileState, MessageState, Overflow, Role, Titled
from fairlead.service.reports import KeptReport


class ChatNumber(TypedDict):
    """A number that is reserved."""

    chat_id: int


class Match(TypedDict):
    """Where in a chat was found what was looked for."""

    message_id: int | None
    """Null where it is the title."""
    excerpt: str


class ListedChat(TypedDict):
    """A chat in a list."""

    chat_id: int
    title: str
    created_at: str
    updated_at: str
    message_count: int
    preview: str
    match: NotRequired[Match]
    """In a search."""


class ChatPage(TypedDict):
    """A part of a list of chats."""

    chats: list[ListedChat]
    more: bool
    """Whether others come behind these."""


class Parameters(TypedDict):
    """How a chat's answers are drawn, where a question does not say; what is left out is the model's own."""

    temperature: NotRequired[float]
    top_p: NotRequired[float]
    top_k: NotRequired[int]
    min_p: NotRequired[float]
    repetition_penalty: NotRequired[float]
    presence_penalty: NotRequired[float]
    frequency_penalty: NotRequired[float]
    max_tokens: NotRequired[int]
    seed: NotRequired[int]
    stop: NotRequired[list[str]]


class ChatSettings(TypedDict):
    """What is set for a chat."""

    title: str
    titled_by: Titled
    system: str | None
    model: str | None
    parameters: Parameters
    on_overflow: Overflow


class Running(TypedDict):
    """An answer that goes on."""

    id: str
    """Ends it by `POST /cancel`."""
    message_id: int
    event_id: str
    """Behind which its stream goes on."""


class StoredMessage(TypedDict):
    """A message as it is kept."""

    message_id: int
    parent: int | None
    role: Role
    content: str
    state: MessageState
    finish_reason: str | None
    model: str | None
    created_at: str
    finished_at: str | None


class Message(StoredMessage, KeptReport):
    """A message with what was told with it."""

    siblings: list[int]
    """All versions of the turn, itself among them, the oldest first."""


class Messages(TypedDict):
    """Messages of a chat."""

    chat_id: int
    messages: list[Message]


class Chat(ChatSettings):
    """A chat with the messages of the branch that is shown."""

    chat_id: int
    created_at: str
    updated_at: str
    message_count: int
    """Of all branches."""
    leaf: int | None
    """The last message of the branch that is shown."""
    running: Running | None
    """The answer that goes on."""
    messages: list[Message]


class ImportedChat(Chat):
    """A chat that was taken in."""

    files_left_out: int
    """Files do not come along."""


class ChatDeleted(TypedDict):
    """A chat that is no more."""

    chat_id: int
    deleted: bool


class ChatEvents(TypedDict):
    """The events of an answer in a chat, by their names."""

    start: Started
    preparing: Preparing
    queued: Queued
    token: Text
    done: ChatDone
    error: ErrorResponse


# ---- files ----------------------------------------------------------------------------------------


class FileProgress(TypedDict):
    """How far a file is that is being parsed: pages are read, passages embedded."""

    phase: Literal["waiting", "reading", "embedding"]
    done: int
    total: int | None


class ChatFile(TypedDict):
    """A file of a chat."""

    file_id: int
    name: str
    kind: str
    size_bytes: int
    state: FileState
    progress: FileProgress | None
    pages: int | None
    characters: int | None
    error: str | None
    """Why it could not be read."""
    note: str | None
    """What of it could not, where the rest could."""
    created_at: str


class ChatFiles(TypedDict):
    """Files of a chat."""

    files: list[ChatFile]


class FileRemoved(TypedDict):
    """A file that is no more."""

    file_id: int
    removed: bool


# ---- a chat, taken out ----------------------------------------------------------------------------


class ExportedMessage(StoredMessage):
    """A message of any branch."""

    report: KeptReport | None


class ExportedFile(TypedDict):
    """What is known of a file."""

    file_id: int
    name: str
    kind: str
    sha256: str
    size_bytes: int
    state: FileState
    error: str | None
    pages: int | None
    characters: int | None
    created_at: str


class ExportedChat(ChatSettings):
    """All of a chat, which `POST /chats/import` takes."""

    format: Literal["fairlead-chat"]
    version: Literal[1]
    leaf: int | None
    created_at: str
    updated_at: str
    messages: list[ExportedMessage]
    files: list[ExportedFile]
