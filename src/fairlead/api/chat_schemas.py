"""The bodies of the routes of chats, with the ranges of every field, and a chat as it is taken out and in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from fairlead.api.schemas import Body, Drawn, Name, Stops, StopString, UserName
from fairlead.errors import InvalidRequest
from fairlead.service.chats import Archive, Chat, Message, MessageState, Overflow, Role, Titled
from fairlead.service.conversations import Question

_MOST_NUMBER: Final = 2**31 - 1
_MOST_TEXT: Final = 2 << 20
_MOST_MESSAGES: Final = 10_000
_MOST_NOTES: Final = 100
_MOST_SOURCES: Final = 1_000

Number = Annotated[int, Field(ge=1, le=_MOST_NUMBER)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
_NO_NUL: Final = r"^[^\x00]*$"
"""PostgreSQL keeps no text with a NUL."""

Prompt = Annotated[str, StringConstraints(min_length=1, max_length=_MOST_TEXT, pattern=_NO_NUL)]
Text = Annotated[str, StringConstraints(max_length=_MOST_TEXT, pattern=_NO_NUL)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Milliseconds = Annotated[float, Field(ge=0, le=2**53)]


class ChatParameters(Body):
    """What a chat says of how its answers are drawn, where a request does not."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=_MOST_NUMBER)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=_MOST_NUMBER)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**64)] | None = None
    stop: StopString | Stops | None = None

    def values(self) -> dict[str, Any]:
        """Those that are given."""
        given = self.model_dump(exclude_none=True)
        if isinstance(self.stop, str):
            given["stop"] = [self.stop]
        return given


class ChatFields(Body):
    """What is set for a chat."""

    title: Title | None = None
    system: Text | None = None
    model: Name | None = None
    parameters: ChatParameters | None = None
    on_overflow: Overflow | None = None
    user: UserName | None = None

    def settings(self) -> dict[str, Any]:
        """The fields that are given, as the service has them; null takes a setting back."""
        given: dict[str, Any] = {
            name: getattr(self, name) for name in ("system", "model") if name in self.model_fields_set
        }
        if self.title is not None:
            given["title"] = self.title
        if "parameters" in self.model_fields_set:
            given["parameters"] = {} if self.parameters is None else self.parameters.values()
        if self.on_overflow is not None:
            given["on_overflow"] = self.on_overflow
        return given


class ChangedChat(ChatFields):
    """`PATCH /chats/{id}`."""

    leaf: Number | None = None

    def settings(self) -> dict[str, Any]:
        """As of a new chat, and the branch to be shown."""
        return super().settings() | ({} if self.leaf is None else {"leaf": self.leaf})


class Asked(Drawn):
    """A question in a chat."""

    on_overflow: Overflow | None = None
    system: Text | None = None


class GenerateBody(Asked):
    """`POST /generate`."""

    chat_id: Number
    prompt: Prompt

    def question(self) -> Question:
        """What is asked."""
        return Question(prompt=self.prompt, on_overflow=self.on_overflow, system=self.system)


class SendBody(Asked):
    """`POST /chats/{id}/messages`."""

    prompt: Prompt | None = None
    edit: Number | None = None
    regenerate: Number | None = None

    def question(self) -> Question:
        """What is asked; InvalidRequest where it is not exactly one thing."""
        if (self.prompt is None) == (self.regenerate is None):
            raise InvalidRequest("Give either a prompt, or regenerate and the message to answer again.", param="prompt")
        if self.edit is not None and self.prompt is None:
            raise InvalidRequest("edit needs a prompt: the new wording of the question.", param="prompt")
        return Question(
            prompt=self.prompt,
            edit=self.edit,
            regenerate=self.regenerate,
            on_overflow=self.on_overflow,
            system=self.system,
        )


# ---- a chat, taken out and in ---------------------------------------------------------------------


class UsageReport(Body):
    """Tokens of one answer."""

    prompt_tokens: Count
    completion_tokens: Count
    cached_tokens: Count = 0


class TimingReport(Body):
    """Where an answer's time went."""

    queue_ms: Milliseconds
    prefill_ms: Milliseconds
    ttft_ms: Milliseconds | None = None
    total_ms: Milliseconds
    tokens_per_second: Milliseconds


class ContextReport(Body):
    """What the context left out."""

    dropped_messages: Count = 0
    dropped_tokens: Count = 0
    summarized_messages: Count = 0
    dropped_passages: Count = 0


class FilesReport(Body):
    """How files were given."""

    whole: bool
    selected: bool
    notes: Annotated[list[Text], Field(max_length=_MOST_NOTES)]


class SourceReport(Body):
    """A passage that was given."""

    file_id: Number
    name: Annotated[str, StringConstraints(max_length=1000)]
    page: Count | None = None
    line_from: Count | None = None
    line_to: Count | None = None
    text: Text


class ErrorReport(Body):
    """Why an answer failed."""

    code: Name
    message: Annotated[str, StringConstraints(max_length=4000)]
    param: Name | None = None
    details: Annotated[dict[Name, str | int | float | bool | list[str] | None], Field(max_length=32)]


class Report(Body):
    """What was told with an answer."""

    usage: UsageReport | None = None
    timing: TimingReport | None = None
    context: ContextReport | None = None
    files: FilesReport | None = None
    sources: Annotated[list[SourceReport], Field(max_length=_MOST_SOURCES)] | None = None
    error: ErrorReport | None = None

    def parts(self) -> dict[str, Any]:
        """Those that are given, each whole: as reports are kept that were made here."""
        return {name: part for name, part in self.model_dump().items() if part is not None}


class ArchivedMessage(Body):
    """A message of a chat that is taken in."""

    message_id: Number
    parent: Number | None
    role: Role
    content: Text
    state: MessageState = "complete"
    finish_reason: Annotated[str, StringConstraints(max_length=16)] | None = None
    model: Name | None = None
    report: Report | None = None
    created_at: Annotated[AwareDatetime, Field(strict=False)]
    finished_at: Annotated[AwareDatetime, Field(strict=False)] | None = None

    def message(self) -> Message:
        """As the service has it, with its number for a row. An answer that was under way is cut off here."""
        report = None if self.report is None else self.report.parts()
        return Message(
            id=self.message_id,
            number=self.message_id,
            parent_id=self.parent,
            role=self.role,
            content=self.content,
            state="cut_off" if self.state == "generating" else self.state,
            finish_reason=self.finish_reason,
            model=self.model,
            report=report,
            created_at=self.created_at.astimezone(UTC),
            finished_at=None if self.finished_at is None else self.finished_at.astimezone(UTC),
        )


def _tree(told: list[ArchivedMessage]) -> list[ArchivedMessage]:
    """ValueError where the messages are no tree of questions and answers, each after its parent."""
    roles: dict[int | None, Role | None] = {None: None}
    last = 0
    for message in told:
        number = message.message_id
        if number <= last:
            raise ValueError(f"message {number} does not come in the order of the numbers")
        if message.parent not in roles:
            raise ValueError(f"message {number} comes before its parent")
        if message.role == "system" or (message.role == "assistant" and roles[message.parent] != "user"):
            raise ValueError(f"message {number} is neither a question nor the answer to one")
        roles[number] = message.role
        last = number
    return told


class ArchivedChat(Body):
    """`POST /chats/import`: what `GET /chats/{id}/export?format=json` gave."""

    format: Literal["fairlead-chat"]
    version: Literal[1]
    title: Annotated[str, StringConstraints(max_length=200)] = ""
    titled_by: Titled = "nobody"
    system: Text | None = None
    model: Name | None = None
    parameters: ChatParameters = ChatParameters()
    on_overflow: Overflow = "drop_oldest"
    leaf: Number | None = None
    created_at: Annotated[AwareDatetime, Field(strict=False)]
    updated_at: Annotated[AwareDatetime, Field(strict=False)]
    messages: Annotated[list[ArchivedMessage], Field(max_length=_MOST_MESSAGES, fail_fast=True), AfterValidator(_tree)]
    files: Annotated[list[dict[str, str | int | None]], Field(max_length=1000, default_factory=list)]
    """Told of, and not taken in: their bytes are not there."""

    def archive(self) -> Archive:
        """As the service has it; InvalidRequest where the leaf is none of the messages."""
        told = [message.message() for message in self.messages]
        if self.leaf is not None and self.leaf not in {message.number for message in told}:
            raise InvalidRequest("leaf is the number of none of the messages.", param="leaf")
        chat = Chat(
            id=0,
            number=0,
            title=self.title,
            titled_by=self.titled_by,
            system=self.system,
            model=self.model,
            parameters=self.parameters.values(),
            on_overflow=self.on_overflow,
            leaf_id=self.leaf,
            created_at=self.created_at.astimezone(UTC),
            updated_at=self.updated_at.astimezone(UTC),
        )
        return Archive(chat, told, last_file=max([0, *_file_numbers(self.messages)]))


def _file_numbers(told: Sequence[ArchivedMessage]) -> list[int]:
    """The numbers of files that answers name: no new file gets one of them."""
    reports = [message.report for message in told if message.report is not None]
    return [source.file_id for report in reports for source in report.sources or ()]
