"""Texts of any length made short: parts are summarised side by side, then the summaries, until one is left.

Owns what is asked of the model and how often. Each question is a request to generate like any other, as work of who
asked, behind the same instruction, which the engine computes once. What was read is told, and is all unless less was
asked for.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from fairlead.engine.messages import FinishReason
from fairlead.errors import InvalidRequest, PromptTooLong
from fairlead.service.answer import Answer, Result
from fairlead.service.generation import Generator
from fairlead.service.model import Lease, LoadedModel
from fairlead.service.parts import packed, passages_of, spread
from fairlead.service.prompt import Message
from fairlead.service.request import GenerationRequest

Phase = Literal["parts", "joining", "writing"]

_AT_ONCE: Final = 4
"""Parts of one text that the engine has at once: enough to fill its steps, and few among other people's requests."""
_MOST_PART_TOKENS: Final = 2048
"""Small models lose the thread of longer ones, and attention to them costs more than it finds."""
_MOST_PART_WORDS: Final = 90
_LEAST_PART_WORDS: Final = 16
_PART_WORDS_SHARE: Final = 16
"""A part's summary has a word for so many tokens of the context, within those bounds."""
_JOINED: Final = 3
"""Summaries that a part has room for at least: so there are fewer parts with every round, until one is left."""
_TOKENS_PER_WORD: Final = 2
"""More than words of any language we know take by a model's tokenizer that knows it; what is too long is cut."""
_LEAST_TOKENS: Final = 4
"""A summary is not empty."""
_SYSTEM: Final = "You write short, faithful summaries: only what the text says, in its own language, as plain prose."
_ASK: Final = (
    "Summarize the text below in at most {words} words. Keep names, figures and conclusions. "
    "Write the summary alone.\n\nText:\n"
)
_WHOLE: Final = "stop"
_WORD: Final = re.compile(r"\S+")
_SHORTEST_REPEATED: Final = 12
"""Letters of a sentence that is not said twice; shorter ones may be numbers, abbreviations, or lines of a table."""
_SENTENCE_END: Final = re.compile(r"[.!?]['\"”’)\]]*(?=\s|$)|[。！？]|\S(?=[^\S\n]*\n)")
"""A full stop and its like; without one, the end of a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A text, and how it is to be made short.

    Attributes:
        text: of any length.
        asking: who asks which model, and how the answer is drawn; it has no prompt.
        max_words: of the summary.
        share: of the text to be read, above 0; what is read is spread over all of it.
    """

    text: str
    asking: GenerationRequest
    max_words: int
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being done: of `parts` and `joining`, which read summaries again, so many of so many are read."""

    phase: Phase
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Words:
    """The next piece of the summary."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The summary, and what it took. `share_read` of the text's characters were given to the model."""

    id: str
    model: str
    summary: str
    words: int
    share_read: float
    parts: int
    rounds: int
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    total_ms: float


class _Stopped(Exception):
    """An answer was ended before it was whole."""

    def __init__(self, reason: FinishReason) -> None:
        self.reason = reason


class Summaries:
    """Makes texts short by the models of one server."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    async def summarize(self, wish: Wish, request_id: str) -> AsyncGenerator[Progress | Words | Summary]:
        """The progress, then the summary as it is written, and last of all the whole of it. Closing it stops the work.

        A text of no more words than wished for is its own summary, in no round.
        `cancel` of the generator with this id ends it too, with what there is.

        Raises:
            InvalidRequest: there is no text, or the model makes none.
            PromptTooLong: the model's context is too short for any part of a text.
            ModelNotFound, ModelNotReady, Draining, QueueFull, TokensUsedUp, EngineFailed
        """
        if not wish.text.strip():
            raise InvalidRequest("There is no text to summarize.", param="text")
        async with self._generator.admit(wish.asking) as lease:  # one place for all of it, whatever it takes
            work = _Work(self._generator, lease, wish, request_id, _room(lease.model, wish.max_words))
            async with aclosing(work.steps()) as steps:
                async for step in steps:
                    yield step


@dataclass(slots=True)
class _Work:
    """One text being made short."""

    generator: Generator
    lease: Lease
    wish: Wish
    request_id: str
    room: int
    """Tokens that a part may have."""
    begun: float = field(default_factory=time.monotonic)
    parts: int = 0
    rounds: int = 0
    results: list[Result] = field(default_factory=list)

    async def steps(self) -> AsyncGenerator[Progress | Words | Summary]:
        """As `Summaries.summarize` gives them."""
        if not within(self.wish.text, self.wish.max_words)[1]:  # it is short enough as it is
            self.parts = 1
            yield self._summary(self.wish.text.strip(), 1.0, _WHOLE)
            return
        text = ""
        reason: FinishReason = _WHOLE
        read = 0.0
        chosen = spread(await asyncio.to_thread(passages_of, self.wish.text), self.wish.share)
        share = sum(map(len, chosen)) / len(self.wish.text)
        parts = await asyncio.to_thread(packed, chosen, self.room, self._count)
        self.parts = len(parts)
        try:
            while len(parts) > 1:
                told: list[str] = []
                async with aclosing(self._round(parts, told, "joining" if self.rounds else "parts")) as progress:
                    async for step in progress:
                        read = max(read, step.done / step.total) if not self.rounds else read
                        yield step
                self.rounds += 1
                parts = await asyncio.to_thread(packed, told, self.room, self._count)
            yield Progress("writing", 0, 1)
            async with aclosing(self._write("".join(parts), self.wish.max_words)) as pieces:
                async for piece in pieces:
                    text, read = text + piece, 1.0
                    yield Words(piece)
            self.rounds += 1
        except _Stopped as stopped:
            reason = stopped.reason
        summary, is_cut = within(told_once(text), self.wish.max_words)
        yield self._summary(summary, share * read, "length" if is_cut and reason == _WHOLE else reason)

    async def _round(self, parts: Sequence[str], told: list[str], phase: Phase) -> AsyncGenerator[Progress]:
        """Summarise parts side by side, into `told` in their order."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(part: str) -> str:
            async with turns:
                return await self._summary_of(part)

        tasks = [asyncio.create_task(one(part)) for part in parts]
        pending = set(tasks)
        try:
            yield Progress(phase, 0, len(tasks))
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                yield Progress(phase, len(tasks) - len(pending), len(tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        told += [task.result() for task in tasks]

    async def _summary_of(self, part: str) -> str:
        said = "".join([piece async for piece in self._write(part, _part_words(self.lease.model))])
        return f"{told_once(said)}\n\n"

    async def _write(self, text: str, words: int) -> AsyncGenerator[str]:
        """A text's summary as it is written, not much further than its words go, nor than it says anything new."""
        said = ""
        async with await self._ask(text, words) as answer:
            async for piece in answer.pieces():
                said += piece.text
                yield piece.text
                if said.count(" ") > words:
                    answer.cancel("length")
                elif piece.text.strip() and told_once(said) != said.strip():
                    answer.cancel("stop")
        self._note(answer)

    async def _ask(self, text: str, words: int) -> Answer:
        left_s = None
        if self.wish.asking.timeout_s is not None:
            left_s = self.wish.asking.timeout_s - (time.monotonic() - self.begun)
            if left_s <= 0:
                raise _Stopped("timeout")
        request = replace(
            self.wish.asking,
            model=self.lease.model.name,
            messages=_messages(text, words),
            system="",
            max_tokens=_longest(words),
            min_tokens=_LEAST_TOKENS,
            timeout_s=left_s,
        )
        (answer,) = await self.generator.begin(self.lease, request, self.request_id, arrived=time.monotonic())
        return answer

    def _note(self, answer: Answer) -> None:
        """Keep what an answer took; _Stopped where it was ended."""
        assert answer.result is not None, "it was read to its end"
        self.results.append(answer.result)
        if answer.result.finish_reason in ("cancelled", "timeout"):
            raise _Stopped(answer.result.finish_reason)

    def _count(self, text: str) -> int:
        return len(self.lease.model.tokenizer.encode(text))

    def _summary(self, text: str, share: float, reason: FinishReason) -> Summary:
        used = [result.usage for result in self.results]
        return Summary(
            id=self.request_id,
            model=self.lease.model.name,
            summary=text,
            words=len(_WORD.findall(text)),
            share_read=round(share, 4),
            parts=self.parts,
            rounds=self.rounds,
            finish_reason=reason,
            prompt_tokens=sum(usage.prompt_tokens for usage in used),
            completion_tokens=sum(usage.completion_tokens for usage in used),
            cached_tokens=sum(usage.cached_tokens for usage in used),
            total_ms=round((time.monotonic() - self.begun) * 1000, 2),
        )


def told_once(text: str) -> str:
    """A text up to where it says a sentence for the second time, as small models do, and then go on doing."""
    text = text.strip()
    told: set[str] = set()
    begin = 0
    for end in _SENTENCE_END.finditer(text):
        sentence = text[begin : end.end()].strip()
        if sentence in told and sum(map(str.isalpha, sentence)) > _SHORTEST_REPEATED:
            return text[:begin].strip()
        told.add(sentence)
        begin = end.end()
    return text


def within(text: str, words: int) -> tuple[str, bool]:
    """A text of so many words at most, and whether it was cut: at the last sentence's end, where that leaves half."""
    text = text.strip()
    found = [word.end() for word in _WORD.finditer(text)]
    if len(found) <= words:
        return text, False
    cut = text[: found[words - 1]]
    ends = [end.end() for end in _SENTENCE_END.finditer(cut)]
    return (cut[: ends[-1]] if ends and ends[-1] * 2 >= len(cut) else f"{cut}…"), True


def _messages(text: str, words: int) -> tuple[Message, ...]:
    return Message("system", _SYSTEM), Message("user", _ASK.format(words=words) + text)


def _longest(words: int) -> int:
    """Tokens that a summary of so many words may take."""
    return _TOKENS_PER_WORD * words + 2 * _LEAST_TOKENS


def _part_words(model: LoadedModel) -> int:
    return min(max(model.context_length // _PART_WORDS_SHARE, _LEAST_PART_WORDS), _MOST_PART_WORDS)


def _room(model: LoadedModel, max_words: int) -> int:
    """Tokens that a part may have beside its question and its summary. PromptTooLong where these are too few."""
    of_part = _part_words(model)
    longest = max(_longest(max_words), _longest(of_part))
    room = model.context_length - len(model.template.render(_messages("", max_words))) - longest
    room -= room // 50  # put together, passages may have a few tokens more than they have apart
    if room < _JOINED * _longest(of_part):
        raise PromptTooLong(
            f"The context of {model.name} is {model.context_length} tokens, too few to make a summary of {max_words} "
            "words in: load the model with a larger context_length, or ask for fewer words.",
            param="max_words",
            details={"context_length": model.context_length},
        )
    return min(room, _MOST_PART_TOKENS)
