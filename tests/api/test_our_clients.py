"""What our own clients read of an answer is told; their shapes stand apart, since servers have other versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from typing_extensions import is_typeddict

from fairlead import answer_info, chat_info, collection_info, model_info, task_info
from fairlead.api import (
    chat_responses,
    collection_responses,
    generation_responses,
    model_responses,
    task_responses,
)
from fairlead.service import answer_events


def parts(kind: Any) -> Iterator[Any]:
    """A type, or those that it is made of: of `list[Model] | None` the model."""
    within = get_args(kind)
    if not within:
        yield kind
    for part in within:
        yield from parts(part)


def unknown(struct: type[msgspec.Struct], shape: Any, place: str = "") -> Iterator[str]:
    """The fields that are read of an answer of this shape, and are not told."""
    told = get_type_hints(shape)
    for name, kind in get_type_hints(struct).items():
        if name not in told:
            yield f"{place}{name}"
            continue
        read = [part for part in parts(kind) if isinstance(part, type) and issubclass(part, msgspec.Struct)]
        given = [part for part in parts(told[name]) if is_typeddict(part)]
        for one, other in zip(read, given if read else (), strict=True):
            yield from unknown(one, other, f"{place}{name}.")


@pytest.mark.parametrize(
    ("struct", "shape"),
    [
        (answer_info.Answer, generation_responses.Infer),
        (answer_info.Queued, answer_events.Queued),
        (chat_info.Chat, chat_responses.Chat),
        (chat_info.ChatAnswer, answer_events.ChatDone),
        (chat_info.ChatPage, chat_responses.ChatPage),
        (chat_info.Started, answer_events.Started),
        (collection_info.CollectionInfo, collection_responses.Collection),
        (collection_info.Preview, collection_responses.TablePreview),
        (collection_info.RowPage, collection_responses.Rows),
        (collection_info.SearchResults, collection_responses.Hits),
        (model_info.Estimate, model_responses.Estimate),
        (model_info.Models, model_responses.Models),
        (model_info.Removed, model_responses.ModelRemoved),
        (model_info.Verified, model_responses.ModelVerified),
        (task_info.Labelled, task_responses.ClassifiedText),
        (task_info.Summary, task_responses.Summary),
        (task_info.TextAnswer, task_responses.TextAnswer),
    ],
)  # fmt: skip
def test_what_is_read_is_told(struct: type[msgspec.Struct], shape: Any) -> None:
    assert list(unknown(struct, shape)) == []


def test_a_field_that_nobody_tells_is_found() -> None:
    class Read(msgspec.Struct):
        models: list[model_info.Verified]
        more: bool

    assert list(unknown(Read, model_responses.Models)) == ["models.sha256", "more"]
