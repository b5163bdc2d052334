"""What is told with an answer and kept with it: usage, timing, what the context left out, and what files gave.

Reports are JSON values: they go into the database as they are, and out again to people.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any, Final

from fairlead.errors import FairleadError, error_from
from fairlead.service.answer import Result
from fairlead.service.material import Material

_ID: Final = "id"
"""Of the request that made the answer: for those who take up its stream."""
_SELECTED: Final = "selected"
"""The passages as they stood in the prompt: for later prompts, and for nobody else."""
_ERROR: Final = "error"


def result_report(result: Result) -> dict[str, Any]:
    """Of any answer."""
    usage, context = result.usage, result.context
    return {
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
        },
        "timing": asdict(result.timing),
        "context": {"dropped_messages": context.dropped_messages, "dropped_tokens": context.dropped_tokens},
    }


def chat_report(
    result: Result, material: Material, *, summarized_messages: int, dropped_passages: int
) -> dict[str, Any]:
    """Of an answer in a chat."""
    told = {_ID: result.id, **result_report(result)}
    told["context"] |= {"summarized_messages": summarized_messages, "dropped_passages": dropped_passages}
    told |= files_report(material)
    if material.selected:
        told[_SELECTED] = material.selected
    return told


def files_report(material: Material) -> dict[str, Any]:
    """What files gave, where there were any: `sources` are the passages that were selected for the question."""
    if not material.whole and not material.selected and not material.notes:
        return {}
    return {
        "files": {
            "whole": bool(material.whole),
            "selected": bool(material.selected),
            "notes": list(material.notes),
        },
        "sources": [asdict(source) for source in material.sources],
    }


def selected_of(report: Mapping[str, Any] | None, files: Collection[int]) -> str:
    """The passages that were selected for an answer's question, as long as all the files they are from are there."""
    if not report or _SELECTED not in report:
        return ""
    there = all(source["file_id"] in files for source in report.get("sources", ()))
    return str(report[_SELECTED]) if there else ""


def public(report: Mapping[str, Any] | None) -> dict[str, Any]:
    """What people are told of a report."""
    return {name: value for name, value in (report or {}).items() if name not in (_ID, _SELECTED)}


def failure_report(request_id: str, error: FairleadError) -> dict[str, Any]:
    """Of an answer that failed."""
    told = {"code": error.code, "message": error.message, "param": error.param, "details": error.details}
    return {_ID: request_id, _ERROR: told}


def id_of(report: Mapping[str, Any] | None) -> str | None:
    """The id of the request that made an answer, where it is known."""
    return (report or {}).get(_ID)


def error_of(report: Mapping[str, Any] | None) -> FairleadError | None:
    """Why an answer failed, where it did and that was kept."""
    told = (report or {}).get(_ERROR)
    if told is None:
        return None
    return error_from(told["code"], told["message"], param=told.get("param"), details=told.get("details"))
