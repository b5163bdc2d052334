"""The routes of language tasks, typed, over a `FairleadClient`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import BinaryIO, Unpack

from fairlead.answer_info import Text
from fairlead.client import Event, FairleadClient, decode
from fairlead.task_info import (
    AnswerSources,
    AnswerWishes,
    Classification,
    ClassificationWishes,
    Labelled,
    Summary,
    SummaryWishes,
    TaskProgress,
    TextAnswer,
)

SummaryStep = TaskProgress | Text | Summary
AnswerStep = TaskProgress | AnswerSources | Text | TextAnswer
ClassificationStep = TaskProgress | Labelled | Classification


class Tasks:
    """The language tasks of one server.

    Args:
        client: of the server.
    """

    def __init__(self, client: FairleadClient) -> None:
        self._client = client

    async def summarize(self, text: str, **wishes: Unpack[SummaryWishes]) -> AsyncGenerator[SummaryStep]:
        """The progress, then the summary as it is written, and last of all the whole of it.

        Closing the iterator stops the work.
        """
        body = {"text": text, "stream": True, **wishes}
        async with self._client.stream("POST", "/summarize", body=body) as events:
            async for step in _summary_steps(events):
                yield step

    async def summarize_file(
        self, name: str, content: bytes | BinaryIO, **wishes: Unpack[SummaryWishes]
    ) -> AsyncGenerator[SummaryStep]:
        """The same of a file, which the server does not keep.

        Raises:
            UnsupportedFile, UnreadableFile, FileTooLarge
        """
        query: dict[str, str | int] = {"stream": "true", **{key: str(value) for key, value in wishes.items()}}
        files = {name: content}
        async with self._client.stream("POST", "/summarize/file", query=query, files=files) as events:
            async for step in _summary_steps(events):
                yield step

    async def answer(
        self,
        question: str,
        *,
        context: str | None = None,
        collection: str | None = None,
        **wishes: Unpack[AnswerWishes],
    ) -> AsyncGenerator[AnswerStep]:
        """What was found in a text or a collection, the answer as it is written, and last of all the whole of it.

        Closing the iterator stops the work; so does `cancel` of the client with the `request_id` that was given.
        """
        body = {"question": question, "context": context, "collection": collection, "stream": True, **wishes}
        async with self._client.stream("POST", "/answer", body=body) as events:
            async for step in _answer_steps(events):
                yield step

    async def answer_from_files(
        self, question: str, files: Mapping[str, bytes | BinaryIO], **wishes: Unpack[AnswerWishes]
    ) -> AsyncGenerator[AnswerStep]:
        """The same from files by their names, which the server does not keep.

        Raises:
            UnsupportedFile, UnreadableFile, FileTooLarge
        """
        query: dict[str, str | int] = {
            "question": question,
            "stream": "true",
            **{key: str(value) for key, value in wishes.items()},
        }
        async with self._client.stream("POST", "/answer/file", query=query, files=files) as events:
            async for step in _answer_steps(events):
                yield step

    async def classify(
        self,
        texts: Sequence[str],
        labels: Sequence[str | Mapping[str, str]],
        **wishes: Unpack[ClassificationWishes],
    ) -> AsyncGenerator[ClassificationStep]:
        """The progress and each text's label as it is found, and last of all the whole.

        A label is its name, or a mapping of `name` and `description`. Closing the iterator stops the work.
        """
        body = {"texts": texts, "labels": labels, "stream": True, **wishes}
        async with self._client.stream("POST", "/classify", body=body) as events:
            async for event in events:
                match event.name:
                    case "progress":
                        yield decode(event.data, TaskProgress)
                    case "result":
                        yield decode(event.data, Labelled)
                    case "done":
                        yield decode(event.data, Classification)


async def _answer_steps(events: AsyncIterator[Event]) -> AsyncGenerator[AnswerStep]:
    async for event in events:
        match event.name:
            case "progress":
                yield decode(event.data, TaskProgress)
            case "sources":
                yield decode(event.data, AnswerSources)
            case "token":
                yield decode(event.data, Text)
            case "done":
                yield decode(event.data, TextAnswer)


async def _summary_steps(events: AsyncIterator[Event]) -> AsyncGenerator[SummaryStep]:
    async for event in events:
        match event.name:
            case "progress":
                yield decode(event.data, TaskProgress)
            case "token":
                yield decode(event.data, Text)
            case "done":
                yield decode(event.data, Summary)
