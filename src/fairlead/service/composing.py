"""What a model is given of a chat: its system prompt, its files, and the turns of the branch that is shown.

The order is what the engine's cache needs, that which changes least coming first: the system prompt, files given
whole, a summary of the oldest turns; then the turns, each as it was given the first time. Nothing is left out unsaid.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from fairlead.errors import PromptTooLong
from fairlead.model_entry import ModelDefaults
from fairlead.service.answer_events import Preparing
from fairlead.service.context import fit
from fairlead.service.generation import Generator
from fairlead.service.live import LiveAnswer
from fairlead.service.material import Documents, Material
from fairlead.service.model import Lease, LoadedModel
from fairlead.service.prompt import Message
from fairlead.service.reports import selected_of
from fairlead.service.request import GenerationRequest
from fairlead.storage import chats, messages
from fairlead.storage.chats import Chat
from fairlead.storage.database import Database
from fairlead.storage.messages import Message as Stored
from fairlead.storage.messages import Summary

_SUMMARY_SHARE: Final = 8
_MOST_SUMMARY_TOKENS: Final = 512
"""A summary has one part in `_SUMMARY_SHARE` of the context, and no more than this."""
_SEARCHED_WITHIN_S: Final = 30.0
_SUMMARY_HEADING: Final = "Summary of the conversation so far:"
_SUMMARIZE: Final = (
    "Summarize our conversation so far, with what the summary above tells, where there is one. Keep names, figures, "
    "decisions, preferences and open questions. Write the summary alone, in at most {words} words."
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as the model is given it."""

    role: str
    content: str
    last_id: int
    """The row of the last message in it."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A request with the messages of a chat, and what else was given to the model."""

    request: GenerationRequest
    material: Material = field(default_factory=Material)
    summarized_messages: int = 0
    """So many of the branch's messages are told of by a summary."""
    dropped_passages: int = 0
    """So many earlier questions are given without the passages that were selected for them."""


def turns_of(path: Sequence[Stored], files: Collection[int], material: Material | None = None) -> list[Turn]:
    """The turns of a branch, whose last message is the question for which `material` was selected.

    Passages that were selected for a question stand in front of it as long as all their files, given by their
    numbers, are there. An answer that was ended before its first word is no turn, and the questions around it are one.
    """
    turns: list[Turn] = []
    for message, answer in zip(path, [*path[1:], None], strict=True):
        if message.role == "assistant" and not message.content:
            continue
        text = message.content
        if message.role == "user" and answer is not None:
            text = in_front(selected_of(answer.report, files), text)
        elif material is not None and answer is None:
            text = in_front(material.selected, text)
        if turns and turns[-1].role == message.role:
            text = f"{turns.pop().content}\n\n{text}"
        turns.append(Turn(message.role, text, message.id))
    return turns


def in_front(selected: str | None, question: str) -> str:
    """A question behind the passages that were selected for it."""
    return f"{selected}\n\n{question}" if selected else question


def system_text(system: str | None, defaults: ModelDefaults, whole: str | None, summary: str | None) -> str:
    """What stands before all turns; empty where there is nothing."""
    told = f"{_SUMMARY_HEADING}\n{summary}" if summary else None
    return "\n\n".join(part for part in (defaults.system if system is None else system, whole, told) if part)


def latest_summary(path: Sequence[Stored], summaries: Iterable[Summary]) -> tuple[Summary | None, int]:
    """The summary that tells of most of a branch, without its last message; and of how many messages it tells."""
    places = {message.id: count for count, message in enumerate(path[:-1], start=1)}
    told = [(places[summary.through_id], summary) for summary in summaries if summary.through_id in places]
    if not told:
        return None, 0
    count, summary = max(told, key=lambda item: item[0])
    return summary, count


@dataclass(frozen=True, slots=True)
class _Draft:
    """A prompt that is being written."""

    system: str | None
    model: LoadedModel
    whole: str | None
    summary: Summary | None
    turns: Sequence[Turn]

    def request(self, request: GenerationRequest, turns: Sequence[Turn]) -> GenerationRequest:
        """The request with these turns."""
        system = system_text(
            self.system, self.model.defaults, self.whole, self.summary.text if self.summary is not None else None
        )
        front = (Message("system", system),) if system else ()
        said = tuple(Message(turn.role, turn.content) for turn in turns)
        return replace(request, messages=(*front, *said), system="")  # the model's own system prompt is in it


class Composer:
    """Writes requests for chats.

    Args:
        database: where chats are.
        generator: writes summaries.
        documents: the files of chats.
        files_share: of the context, that files may take.
    """

    def __init__(self, database: Database, generator: Generator, documents: Documents, files_share: float) -> None:
        self._database = database
        self._generator = generator
        self._documents = documents
        self._files_share = files_share

    async def compose(
        self,
        chat: Chat,
        path: Sequence[Stored],
        request: GenerationRequest,
        lease: Lease,
        live: LiveAnswer,
    ) -> Composed:
        """The request for an answer to the last message of a branch; old turns are summarised where that is needed.

        Raises:
            FairleadError: of a summary, or of looking at the files.
        """
        material = await self._material(chat, path[-1].content, lease.model)
        async with self._database.reading() as connection:
            files = await chats.file_numbers(connection, chat.id)
            summaries = await messages.summaries(connection, chat.id) if chat.on_overflow == "summarize" else []
        summary, told_of = latest_summary(path, summaries)
        told = path[told_of:]
        draft = _Draft(chat.system, lease.model, material.whole, summary, turns_of(told, files, material))
        bare = replace(draft, turns=turns_of(told, (), material))
        dropped_passages = sum(a != b for a, b in zip(draft.turns, bare.turns, strict=True))
        if dropped_passages:
            reserve = self._longest_summary(lease.model) if chat.on_overflow == "summarize" else 0
            if await asyncio.to_thread(_dropped, draft.request(request, draft.turns), lease.model, reserve):
                draft = bare
            else:
                dropped_passages = 0
        if chat.on_overflow == "summarize":
            draft = await self._summarized(chat, draft, request, lease, live)
            _, told_of = latest_summary(path, [draft.summary] if draft.summary is not None else [])
        whole = draft.request(request, draft.turns)
        whole = replace(whole, on_overflow="error" if chat.on_overflow == "error" else "drop_oldest")
        return Composed(whole, material, told_of, dropped_passages)

    async def _material(self, chat: Chat, question: str, model: LoadedModel) -> Material:
        def count(text: str) -> int:
            return len(model.tokenizer.encode(text))

        room = int(model.context_length * self._files_share)
        try:
            async with asyncio.timeout(_SEARCHED_WITHIN_S):
                return await self._documents.material(chat.id, question, room, count)
        except TimeoutError:
            return Material(notes=("The chat's files could not be looked at in time; this answer goes without them.",))

    async def _summarized(
        self, chat: Chat, draft: _Draft, request: GenerationRequest, lease: Lease, live: LiveAnswer
    ) -> _Draft:
        """The draft with as many of its oldest turns summarised as do not fit.

        The model is asked as the conversation's next turn, behind the very turns that it is to summarise: their keys
        and values are in the cache from when they were new, and only its words are computed.
        """
        longest = self._longest_summary(lease.model)
        while True:
            taken = len(lease.model.tokenizer.encode(draft.summary.text)) if draft.summary is not None else 0
            reserve = max(0, longest - taken)
            fitted = await asyncio.to_thread(_dropped, draft.request(request, draft.turns), lease.model, reserve)
            told = await asyncio.to_thread(self._tellable, draft, request, lease.model, fitted)
            if not told:
                return draft
            live.notify("preparing", Preparing(doing="summarizing"))
            text = await self._ask(self._asking(draft, request, lease.model, told), lease, live.id)
            if not text:
                return draft  # what does not fit is dropped, and told of as dropped
            summary = Summary(through_id=draft.turns[told - 1].last_id, text=text)
            async with self._database.writing() as connection:
                await messages.add_summary(connection, chat.id, summary.through_id, text, datetime.now(UTC))
            draft = replace(draft, summary=summary, turns=draft.turns[told:])

    def _tellable(self, draft: _Draft, request: GenerationRequest, model: LoadedModel, turns: int) -> int:
        """How many of the oldest turns can be summarised at once, `turns` at most; 0 where not even the first two."""
        room = model.context_length - self._longest_summary(model)
        while turns:
            asking = self._asking(draft, request, model, turns)
            if len(model.template.render(asking.messages or ())) <= room:
                return turns
            turns = turns // 2 // 2 * 2  # a question with its answer
        return 0

    def _asking(self, draft: _Draft, request: GenerationRequest, model: LoadedModel, turns: int) -> GenerationRequest:
        longest = self._longest_summary(model)
        ask = Turn("user", _SUMMARIZE.format(words=longest // 2), 0)
        whole = draft.request(request, [*draft.turns[:turns], ask])
        return GenerationRequest(
            user=request.user,
            model=model.name,
            messages=whole.messages,
            system="",
            temperature=0.0,
            max_tokens=longest,
            priority=request.priority,
        )

    async def _ask(self, request: GenerationRequest, lease: Lease, request_id: str) -> str:
        (answer,) = await self._generator.begin(lease, request, request_id, arrived=time.monotonic())
        async with answer:
            return "".join([piece.text async for piece in answer.pieces()]).strip()

    @staticmethod
    def _longest_summary(model: LoadedModel) -> int:
        return max(1, min(_MOST_SUMMARY_TOKENS, model.context_length // _SUMMARY_SHARE))


def _dropped(request: GenerationRequest, model: LoadedModel, reserve: int) -> int:
    """How many of the oldest turns' messages would be dropped."""
    try:
        return fit(replace(request, on_overflow="drop_oldest"), model, reserve).dropped_messages
    except PromptTooLong:  # all but the last turn, and even that may be too long
        return sum(message.role != "system" for message in request.messages or ()) - 1
