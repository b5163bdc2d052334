"""Questions answered from given texts alone: the passages nearest in meaning, then one answer from them, or none.

Owns what the model is asked, and when it is not asked at all: where no passage is near enough to the question, the
answer is that nothing is known. Embedding and answering are work of who asked, like any other request's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fairlead.engine.messages import FinishReason
from fairlead.errors import InvalidRequest, PromptTooLong
from fairlead.service.answer import Answer, Result
from fairlead.service.collections import Found as FoundRows
from fairlead.service.embedding import Embedder
from fairlead.service.generation import Generator
from fairlead.service.model import Lease
from fairlead.service.prompt import Message
from fairlead.service.request import GenerationRequest
from fairlead.service.sources import Candidate, Source, fitting, of_rows, ranked, text_of
from fairlead.service.summaries import told_once

T = TypeVar("T")

THRESHOLD: Final = 0.24
"""Cosine below which no passage is taken to be about the question: the highest by which at most one in twenty of
`benchmarks/answering.py` is refused that can be answered."""
TOP_K: Final = 5
MAX_TOKENS: Final = 256

_EMBEDDED_AT_ONCE: Final = 512
"""Texts after which the progress is told."""
_QUESTION_CHARS: Final = 4_000
"""Of a question that passages are compared with; a longer one is no question any more."""
_LEAST_ROOM: Final = 32
"""Tokens of passages; with fewer there is nothing to answer from."""
_SYSTEM: Final = (
    "You answer questions about a text, briefly, in the question's language, with what the text says and nothing else. "
    "If it does not say it, write only: I do not know."
)
_ASK: Final = "Text:\n\n{passages}\n\nQuestion: {question}\nAnswer the question from the text above."
_NOT_KNOWN: Final = "I do not know"
_NOTHING_NEAR: Final = f"{_NOT_KNOWN}: nothing in what I was given is about this question."


@dataclass(frozen=True, slots=True)
class RowsOf:
    """The rows of a collection of who asks."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A question, and what it is to be answered from.

    Attributes:
        question: in words.
        among: what may answer it, in the order in which it stands; or a collection that may.
        asking: who asks which model, and how the answer is drawn; it has no prompt.
        top_k: how many passages the model is given at most.
        threshold: the least score of the best passage for which the model is asked.
    """

    question: str
    among: Sequence[Candidate] | RowsOf
    asking: GenerationRequest
    top_k: int = TOP_K
    threshold: float = THRESHOLD


@dataclass(frozen=True, slots=True)
class Embedded:
    """So many of so many texts are embedded."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Found:
    """What the model is given, best first; nothing where `best_score`, None of no text at all, is too low."""

    sources: Sequence[Source]
    best_score: float | None
    threshold: float


@dataclass(frozen=True, slots=True)
class Words:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The answer, and what it took. `answered` is whether it is more than that nothing is known."""

    id: str
    model: str
    answered: bool
    answer: str
    sources: Sequence[Source]
    best_score: float | None
    threshold: float
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    search_ms: float
    ttft_ms: float | None
    total_ms: float


Step = Embedded | Found | Words | Answered


class Searched(Protocol):
    """Collections as answers need them: see `collections.Collections`."""

    async def search(self, user: str, name: str, query: str, *, top_k: int = 10) -> FoundRows:
        """The rows nearest to a question in meaning. NotFound where the user has no collection of this name."""


class _Stopped(Exception):
    """It was ended before there was an answer."""

    def __init__(self, reason: FinishReason) -> None:
        self.reason = reason


class Answers:
    """Answers from texts, by the models of one server."""

    def __init__(self, generator: Generator, embedder: Embedder, collections: Searched) -> None:
        self._generator = generator
        self._embedder = embedder
        self._collections = collections

    async def answer(self, wish: Wish, request_id: str) -> AsyncGenerator[Step]:
        """The progress, what was found, the answer as it is written, and last of all the whole. Closing it stops it.

        `cancel` of the generator with this id ends it too, with what there is.

        Raises:
            InvalidRequest: there is no question, or the model answers none.
            PromptTooLong: the model's context is too short for the question and anything to answer it from.
            NotFound: there is no such collection.
            ModelNotFound, ModelNotReady, DownloadError, DoesNotFit, Draining, QueueFull, TokensUsedUp, EngineFailed
        """
        if not wish.question.strip():
            raise InvalidRequest("There is no question.", param="question")
        async with self._generator.admit(wish.asking) as lease:
            work = _Work(self._generator, self._embedder, self._collections, lease, wish, request_id)
            async with aclosing(work.steps()) as steps:
                async for step in steps:
                    yield step


@dataclass(slots=True)
class _Work:
    """One question being answered."""

    generator: Generator
    embedder: Embedder
    collections: Searched
    lease: Lease
    wish: Wish
    request_id: str
    begun: float = field(default_factory=time.monotonic)
    search_ms: float = 0.0
    found: Found = field(init=False)
    passages: str = ""
    """What was found, the best last: small models heed most what stands nearest to the question."""
    result: Result | None = None

    def __post_init__(self) -> None:
        self.found = Found((), None, self.wish.threshold)

    async def steps(self) -> AsyncGenerator[Step]:
        """As `Answers.answer` gives them."""
        room = await asyncio.to_thread(self._room)
        said = ""
        try:
            async with aclosing(self._search(room)) as progress:
                async for step in progress:
                    yield step
            found = self.found
            self.search_ms = self._passed_ms()
            yield found
            if not found.sources:
                yield self._answered(_NOTHING_NEAR, "stop")
                return
            async with await self._ask() as answer:
                async for piece in answer.pieces():
                    said += piece.text
                    yield Words(piece.text)
                    if piece.text.strip() and told_once(said) != said.strip():
                        answer.cancel("stop")
            self.result = answer.result
            assert self.result is not None, "it was read to its end"
            reason = self.result.finish_reason
        except _Stopped as stopped:
            reason = stopped.reason
        yield self._answered(told_once(said), reason)

    async def _search(self, room: int) -> AsyncGenerator[Embedded]:
        """Find what the model is given."""
        among, user = self.wish.among, self.wish.asking.user
        if isinstance(among, RowsOf):
            search = self.collections.search(user, among.name, self.wish.question, top_k=self.wish.top_k)
            sources: Sequence[Source] = of_rows(among.name, (await self._unless_stopped(search)).hits)
            places: Sequence[int] = range(len(sources))
        else:
            vectors: list[NDArray[np.float32]] = []
            async with aclosing(self._embed(among, vectors)) as progress:
                async for step in progress:
                    yield step
            ranking = asyncio.to_thread(self._ranked, among, np.concatenate(vectors))
            sources, places = await self._unless_stopped(ranking)
        self.found = await self._unless_stopped(asyncio.to_thread(self._choose, sources, places, room))

    async def _embed(self, among: Sequence[Candidate], vectors: list[NDArray[np.float32]]) -> AsyncGenerator[Embedded]:
        """Embed the question and what has no vector yet, into `vectors` in this order."""
        waiting = [candidate.meant for candidate in among if candidate.vector is None]
        texts = [self.wish.question[:_QUESTION_CHARS], *waiting]
        for begin in range(0, len(texts), _EMBEDDED_AT_ONCE):
            if len(texts) > _EMBEDDED_AT_ONCE:
                yield Embedded(begin, len(texts))
            some = texts[begin : begin + _EMBEDDED_AT_ONCE]
            vectors.append(await self._unless_stopped(self.embedder.embed(some, user=self.wish.asking.user)))

    def _ranked(
        self, among: Sequence[Candidate], embedded: NDArray[np.float32]
    ) -> tuple[Sequence[Source], Sequence[int]]:
        """The sources with their scores, and their places, best first. Takes its time."""
        if not among:
            return (), ()
        question, new = embedded[0], iter(embedded[1:])
        vectors = [next(new) if candidate.vector is None else candidate.vector for candidate in among]
        return ranked(among, np.array(vectors), self.wish.question[:_QUESTION_CHARS], question)

    def _choose(self, sources: Sequence[Source], places: Sequence[int], room: int) -> Found:
        """What the model is given, where anything is near enough. Takes its time."""
        best = max((source.score for source in sources), default=None)
        if best is None or best < self.wish.threshold:
            return Found((), best, self.wish.threshold)
        chosen = fitting(sources, places[: self.wish.top_k], room, self._count)
        self.passages = text_of(chosen[::-1])
        return Found(chosen, best, self.wish.threshold)

    async def _ask(self) -> Answer:
        request = replace(
            self.wish.asking,
            model=self.lease.model.name,
            messages=_messages(self.passages, self.wish.question),
            system="",
            max_tokens=self._longest(),
            timeout_s=self._left_s(),
        )
        (answer,) = await self.generator.begin(self.lease, request, self.request_id, arrived=time.monotonic())
        return answer

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """What some work comes to; _Stopped where it is cancelled by its id, or takes too long."""
        task = asyncio.ensure_future(work)
        try:
            with self.generator.cancellable(self.request_id, self.wish.asking.user, task.cancel):
                done, _ = await asyncio.wait({task}, timeout=self._left_s())
            if not done:
                raise _Stopped("timeout")
            if task.cancelled():
                raise _Stopped("cancelled")
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _left_s(self) -> float | None:
        """Of the time that was given; _Stopped where it is over."""
        if self.wish.asking.timeout_s is None:
            return None
        left_s = self.wish.asking.timeout_s - (time.monotonic() - self.begun)
        if left_s <= 0:
            raise _Stopped("timeout")
        return left_s

    def _longest(self) -> int:
        """Tokens that the answer may have: never so many that half the context is not left for its prompt."""
        return min(self.wish.asking.max_tokens or MAX_TOKENS, self.lease.model.context_length // 2)

    def _room(self) -> int:
        """Tokens for the passages. PromptTooLong where they are too few."""
        model = self.lease.model
        rest = len(model.template.render(_messages("", self.wish.question)))
        room = model.context_length - rest - self._longest()
        room -= room // 50  # put together, passages may have a few tokens more than they have apart
        if room < _LEAST_ROOM:
            raise PromptTooLong(
                f"The context of {model.name} is {model.context_length} tokens, and the question takes {rest}: too few "
                "are left for passages to answer from. Ask in fewer words, or load the model with a larger "
                "context_length.",
                param="question",
                details={"tokens": rest, "context_length": model.context_length},
            )
        return room

    def _count(self, text: str) -> int:
        return len(self.lease.model.tokenizer.encode(text))

    def _passed_ms(self) -> float:
        return round((time.monotonic() - self.begun) * 1000, 2)

    def _answered(self, text: str, reason: FinishReason) -> Answered:
        found = self.found
        usage = None if self.result is None else self.result.usage
        first_ms = None if self.result is None else self.result.timing.ttft_ms
        return Answered(
            id=self.request_id,
            model=self.lease.model.name,
            answered=bool(text) and not text.casefold().startswith(_NOT_KNOWN.casefold()),
            answer=text,
            sources=found.sources,
            best_score=found.best_score,
            threshold=found.threshold,
            finish_reason=reason,
            prompt_tokens=0 if usage is None else usage.prompt_tokens,
            completion_tokens=0 if usage is None else usage.completion_tokens,
            cached_tokens=0 if usage is None else usage.cached_tokens,
            search_ms=self.search_ms,
            ttft_ms=None if first_ms is None else round(self.search_ms + first_ms, 2),
            total_ms=self._passed_ms(),
        )


def _messages(passages: str, question: str) -> tuple[Message, ...]:
    return Message("system", _SYSTEM), Message("user", _ASK.format(passages=passages, question=question))
