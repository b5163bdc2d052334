"""What is told with an answer and kept with it: usage, timing, what the context left out, and what files gave.

Reports are JSON values: they go into the database as they are, and out again to people.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal, NotRequired, get_args

from typing_extensions import TypedDict  # typing's own cannot be described before Python 3.12

from fairlead.errors import FairleadError, error_from
from fairlead.service import material as given
from fairlead.service.answer import Result

Part = Literal["usage", "timing", "context", "files", "sources"]
_PARTS: Final[tuple[Part, ...]] = get_args(Part)


class Usage(TypedDict):
    """Tokens of an answer."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Of the prompt, those that did not have to be computed."""


class Timing(TypedDict):
    """Where an answer's time went."""

    queue_ms: float
    prefill_ms: float
    ttft_ms: float | None
    """Until the first token; null where none came."""
    total_ms: float
    tokens_per_second: float


class Context(TypedDict):
    """What the model was not given, because it did not fit."""

    dropped_messages: int
    dropped_tokens: int


class ChatContext(Context):
    """What of a chat the model was not given as it stands."""

    summarized_messages: int
    dropped_passages: int
    """Of how many earlier questions the passages were left out that had been selected for them."""


class FilesGiven(TypedDict):
    """Whether the model was given files whole, and passages of others; and what there is to know of them."""

    whole: bool
    selected: bool
    notes: list[str]


class Source(TypedDict):
    """A passage that the model was given; of a file that it was given whole, without its text."""

    file_id: int
    name: str
    page: int | None
    line_from: int | None
    line_to: int | None
    text: str


class Failure(TypedDict):
    """Why an answer failed."""

    code: str
    message: str
    param: str | None
    details: Mapping[str, object]


class ResultReport(TypedDict):
    """What is told with any answer."""

    usage: Usage
    timing: Timing
    context: Context


class ChatReport(TypedDict):
    """What is told with an answer in a chat. One that was cancelled before it began has nothing of it."""

    usage: NotRequired[Usage]
    timing: NotRequired[Timing]
    context: NotRequired[ChatContext]
    files: NotRequired[FilesGiven]
    """Where the chat has any."""
    sources: NotRequired[list[Source]]


class KeptReport(ChatReport):
    """The same as it is kept and told later; of an answer that failed, why."""

    error: NotRequired[Failure]


class StoredReport(KeptReport):
    """What is kept besides, and told to nobody."""

    id: str
    """Of the request that made the answer: for those who take up its stream."""
    selected: NotRequired[str]
    """The passages as they stood in the prompt: for later prompts."""


def result_report(result: Result) -> ResultReport:
    """Of any answer."""
    usage, timing, context = result.usage, result.timing, result.context
    return {
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
        },
        "timing": {
            "queue_ms": timing.queue_ms,
            "prefill_ms": timing.prefill_ms,
            "ttft_ms": timing.ttft_ms,
            "total_ms": timing.total_ms,
            "tokens_per_second": timing.tokens_per_second,
        },
        "context": {"dropped_messages": context.dropped_messages, "dropped_tokens": context.dropped_tokens},
    }


def chat_report(
    result: Result, material: given.Material, *, summarized_messages: int, dropped_passages: int
) -> StoredReport:
    """Of an answer in a chat."""
    common = result_report(result)
    told: StoredReport = {
        "id": result.id,
        "usage": common["usage"],
        "timing": common["timing"],
        "context": {
            **common["context"],
            "summarized_messages": summarized_messages,
            "dropped_passages": dropped_passages,
        },
    }
    if material.whole or material.selected or material.notes:
        told["files"] = {
            "whole": bool(material.whole),
            "selected": bool(material.selected),
            "notes": list(material.notes),
        }
        told["sources"] = [_source(source) for source in material.sources]
    if material.selected:
        told["selected"] = material.selected
    return told


def _source(source: given.Source) -> Source:
    return {
        "file_id": source.file_id,
        "name": source.name,
        "page": source.page,
        "line_from": source.line_from,
        "line_to": source.line_to,
        "text": source.text,
    }


def selected_of(report: Mapping[str, Any] | None, files: Collection[int]) -> str:
    """The passages that were selected for an answer's question, as long as all the files they are from are there."""
    if not report or "selected" not in report:
        return ""
    there = all(source["file_id"] in files for source in report.get("sources", ()))
    return str(report["selected"]) if there else ""


def answer_report(report: Mapping[str, Any]) -> ChatReport:
    """What people are told of the report of an answer that has come to its end."""
    told: ChatReport = {}
    for name in _PARTS:
        if name in report:
            told[name] = report[name]
    return told


def public(report: Mapping[str, Any] | None) -> KeptReport:
    """What people are told of any report."""
    told: KeptReport = {}
    for name in _PARTS:
        if report is not None and name in report:
            told[name] = report[name]
    if report is not None and "error" in report:
        told["error"] = report["error"]
    return told


def failure_report(request_id: str, error: FairleadError) -> StoredReport:
    """Of an answer that failed."""
    told: Failure = {"code": error.code, "message": error.message, "param": error.param, "details": error.details}
    return {"id": request_id, "error": told}


def id_of(report: Mapping[str, Any] | None) -> str | None:
    """The id of the request that made an answer, where it is known."""
    return (report or {}).get("id")


def error_of(report: Mapping[str, Any] | None) -> FairleadError | None:
    """Why an answer failed, where it did and that was kept."""
    told = (report or {}).get("error")
    if told is None:
        return None
    return error_from(told["code"], told["message"], param=told.get("param"), details=told.get("details"))
