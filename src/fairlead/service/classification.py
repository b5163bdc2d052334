"""Texts put under labels, by how likely the model is to answer with each of them.

Owns the question, the correction of what the model says, and how much of it is asked at once. All labels of a text are
one request to the engine (`engine/scoring.py`), as work of who asked. Labels are asked in an order of their own, so the
order in which they were given changes nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from fairlead.engine.messages import Priority, Scored, Usage
from fairlead.errors import InvalidRequest, PromptTooLong
from fairlead.service.generation import EVERYBODY, Generator
from fairlead.service.metrics import Metrics
from fairlead.service.model import Lease, LoadedModel
from fairlead.service.prompt import Message, common_prefix
from fairlead.service.request import NOBODY, GenerationRequest
from fairlead.service.users import User, Users

FinishReason = Literal["stop", "cancelled"]

INSTRUCTION: Final = "Classify the text. Answer with the label that fits it best, and nothing else."
CONTENT_FREE: Final = ("", "N/A", "Some text.")
"""What the model makes of texts that say nothing is its prior (Zhao et al., "Calibrate Before Use", 2021)."""
_ASK: Final = "Text: {text}\nLabel:"
_AT_ONCE: Final = 4
"""Texts of one request that the engine has at once: enough to fill its steps, and few among other people's requests."""
_MOST_KNOWN: Final = 4096


@dataclass(frozen=True, slots=True)
class Label:
    """A label, and what is meant by it where its name does not say."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A text and the name of its label."""

    text: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Texts, and under what to put them.

    Attributes:
        texts: at least one, none empty.
        labels: at least one, no name twice.
        examples: of some of the labels.
        instruction: what is asked; the default asks for the label that fits best.
    """

    texts: tuple[str, ...]
    labels: tuple[Label, ...]
    examples: tuple[Example, ...] = ()
    instruction: str = INSTRUCTION
    user: str = NOBODY
    model: str | None = None
    priority: Priority = "normal"

    def check(self) -> None:
        """InvalidRequest where it does not hold together."""
        if not self.labels:
            raise InvalidRequest("There are no labels to choose from.", param="labels")
        names = [label.name for label in self.labels]
        if len(set(names)) < len(names):
            twice = next(name for place, name in enumerate(names) if name in names[:place])
            raise InvalidRequest(f"The label {twice!r} is there twice.", param="labels")
        if not self.texts:
            raise InvalidRequest("There is no text to classify.", param="texts")
        for place, text in enumerate(self.texts):
            if not text.strip():
                raise InvalidRequest("The text is empty.", param=self.place(place))
        for place, example in enumerate(self.examples):
            if example.label not in names:
                message = f"The example's label {example.label!r} is none of the labels."
                raise InvalidRequest(message, param=f"examples[{place}].label")
            if not example.text.strip():
                raise InvalidRequest("The example's text is empty.", param=f"examples[{place}].text")

    def place(self, index: int) -> str:
        """What people call a text."""
        return "text" if len(self.texts) == 1 else f"texts[{index}]"

    def sorted_labels(self) -> list[Label]:
        """The labels in the order in which they are asked."""
        return sorted(self.labels, key=lambda label: label.name)

    def messages(self, text: str) -> list[Message]:
        """The question for one text: the instruction with what is meant by labels, the examples as turns, the text.

        Labels' bare names are not listed: small models then answer with whichever stands there last or first. What
        is asked is how likely each is to be said, and not that the model choose among them.
        """
        meant = [f"- {label.name}: {label.description}" for label in self.sorted_labels() if label.description]
        turns = [Message("system", "\n".join([self.instruction, *meant]))]
        for example in self.examples:
            turns += [Message("user", _ASK.format(text=example.text)), Message("assistant", example.label)]
        return [*turns, Message("user", _ASK.format(text=text))]


@dataclass(frozen=True, slots=True)
class Progress:
    """So many of so many texts have a label."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text's likeliest label, and of each label how likely it is, in the order in which they were given."""

    index: int
    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """All texts, and what they took; None for those that were not reached before the work was cancelled."""

    id: str
    model: str
    results: list[Labelled | None]
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    total_ms: float


class Classifications:
    """Puts texts under labels by the models of one server.

    Args:
        generator: holds models, and knows how many may wait.
        users: who asks.
        metrics: where tokens are counted.
    """

    def __init__(self, generator: Generator, users: Users, metrics: Metrics) -> None:
        self._generator = generator
        self._users = users
        self._metrics = metrics
        self._scores = _Scores()

    async def classify(self, wish: Wish, request_id: str) -> AsyncGenerator[Progress | Labelled | Classified]:
        """Each text's label as it is found, with the progress, and last of all the whole. Closing it stops the work.

        `cancel` of the generator with this id ends it too, with what there is.

        Raises:
            InvalidRequest: no labels or texts, empty ones, or labels that are there twice.
            PromptTooLong: a text does not fit the model's context; names its place.
            ModelNotFound, ModelNotReady, Draining, QueueFull, TokensUsedUp, EngineFailed
        """
        wish.check()
        asking = GenerationRequest(user=wish.user, model=wish.model, priority=wish.priority)
        user = self._users.find(wish.user)
        async with self._generator.admit(asking) as lease:  # one place for all of it, whatever it takes
            work = _Work(wish, request_id, user, lease, self._metrics, self._scores)
            with self._generator.cancellable(request_id, user.name, work.cancel):
                async with aclosing(work.steps()) as steps:
                    async for step in steps:
                        yield step


class _Scores:
    """What models lately said of prompts and labels: the same question has the same answer, whatever runs beside it.

    (Kernels for few rows round otherwise than those for many, so what is found in the cache may come out otherwise in
    the third digit.) Kept under a digest, of the latest `_MOST_KNOWN`.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Scored] = OrderedDict()

    def find(self, key: bytes) -> Scored | None:
        found = self._known.get(key)
        if found is None:
            return None
        self._known.move_to_end(key)
        usage = Usage(found.usage.prompt_tokens, 0, found.usage.prompt_tokens)
        return msgspec.structs.replace(found, usage=usage)

    def keep(self, key: bytes, scored: Scored) -> None:
        self._known[key] = scored
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


@dataclass(slots=True, eq=False)
class _Work:
    """Some texts on their way to their labels."""

    wish: Wish
    request_id: str
    user: User
    lease: Lease
    metrics: Metrics
    scores: _Scores
    begun: float = field(default_factory=time.monotonic)
    used: list[Usage] = field(default_factory=list)
    cancelled: bool = False
    tasks: list[asyncio.Task[Labelled]] = field(default_factory=list)
    answers: list[list[int]] = field(default_factory=list)
    """Tokens of each label, in their sorted order."""

    async def steps(self) -> AsyncGenerator[Progress | Labelled | Classified]:
        """As `Classifications.classify` gives them."""
        count = len(self.wish.texts)
        prompts = await asyncio.to_thread(self._prompts)
        turns = asyncio.Semaphore(_AT_ONCE)
        prior = asyncio.create_task(self._prior())
        self.tasks = [asyncio.create_task(self._label(place, prompts[place], prior, turns)) for place in range(count)]
        results: list[Labelled | None] = [None] * count
        pending = set(self.tasks)
        try:
            yield Progress(0, count)
            while pending and not self.cancelled:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if task.cancelled():  # by `cancel`
                        continue
                    found = task.result()
                    results[found.index] = found
                    yield found
                yield Progress(count - len(pending), count)
        finally:
            prior.cancel()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, prior, return_exceptions=True)
        yield Classified(
            id=self.request_id,
            model=self.lease.model.name,
            results=results,
            finish_reason="cancelled" if self.cancelled else "stop",
            prompt_tokens=sum(usage.prompt_tokens for usage in self.used),
            cached_tokens=sum(usage.cached_tokens for usage in self.used),
            total_ms=round((time.monotonic() - self.begun) * 1000, 2),
        )

    def cancel(self) -> None:
        """Find no more labels."""
        self.cancelled = True
        for task in self.tasks:
            task.cancel()

    async def _label(
        self, index: int, prompt: Sequence[int], prior: asyncio.Task[list[float]], turns: asyncio.Semaphore
    ) -> Labelled:
        async with turns:
            scored = await self._score(prompt)
        found = probabilities(scored.logprobs, await asyncio.shield(prior))
        by_name = dict(zip((label.name for label in self.wish.sorted_labels()), found, strict=True))
        told = {label.name: by_name[label.name] for label in self.wish.labels}
        return Labelled(index, max(by_name, key=by_name.__getitem__), told)

    async def _prior(self) -> list[float]:
        render = self.lease.model.template.render
        prompts = await asyncio.to_thread(lambda: [render(self.wish.messages(text)) for text in CONTENT_FREE])
        scored = [(await self._score(prompt)).logprobs for prompt in prompts]
        return [math.fsum(of_label) / len(scored) for of_label in zip(*scored, strict=True)]

    async def _score(self, prompt: Sequence[int]) -> Scored:
        model, user = self.lease.model, self.user
        asked = (model.name, model.engine.pid, user.number, prompt, self.answers)
        key = hashlib.blake2b(msgspec.msgpack.encode(asked), digest_size=16).digest()
        scored = self.scores.find(key)
        if scored is None:
            scored = await self._computed(prompt)
            self.scores.keep(key, scored)
        self.used.append(scored.usage)
        self.metrics.count_tokens(model.name, scored.usage)
        self.metrics.count_service(user.label, scored.usage.prompt_tokens, 0)
        user.count(user.name, scored.usage.prompt_tokens, 0)
        return scored

    async def _computed(self, prompt: Sequence[int]) -> Scored:
        model, user = self.lease.model, self.user
        pending = model.engine.score(
            prompt,
            self.answers,
            client=user.number,
            weight=user.weight,
            priority=self.wish.priority,
            salt=EVERYBODY if model.share_prefixes else user.number,
            public_tokens=len(common_prefix(model.opening, prompt)),
        )
        held = self.lease.share(pending.cancel)
        try:
            return await pending.result()
        finally:
            held.release()

    def _prompts(self) -> list[Sequence[int]]:
        """The prompt of each text. PromptTooLong where one does not fit the context with its longest label."""
        model = self.lease.model
        prompts: list[Sequence[int]] = []
        for place, text in enumerate(self.wish.texts):
            prompt = model.template.render(self.wish.messages(text))
            self.answers = self.answers or continuations(model, prompt, self.wish.sorted_labels())
            tokens = len(prompt) + max(map(len, self.answers))
            if tokens > model.context_length:
                raise PromptTooLong(
                    f"{self.wish.place(place)} has {tokens} tokens with its question and a label, and the context of "
                    f"{model.name} is {model.context_length}: shorten it, or give fewer labels or examples.",
                    param=self.wish.place(place),
                    details={"tokens": tokens, "context_length": model.context_length},
                )
            prompts.append(prompt)
        return prompts


def continuations(model: LoadedModel, prompt: Sequence[int], labels: Sequence[Label]) -> list[list[int]]:
    """The tokens of each label's name as the beginning of the answer to a prompt."""
    tokenizer = model.tokenizer
    before = tokenizer.decode(prompt[-1:], continues=True)
    space = " " if before and not before[-1].isspace() and not tokenizer.leading_space else ""
    return [tokenizer.encode(space + label.name) for label in labels]


def probabilities(logprobs: Sequence[float], prior: Sequence[float]) -> list[float]:
    """How likely each label is: they add up to 1.

    What a label gains by the text counts, which is its pointwise mutual information with it (Holtzman et al., "Surface
    Form Competition", 2021). That corrects for length, too: a long label is unlikely behind a text that says nothing.

    Args:
        logprobs: of each label's tokens together, behind the text.
        prior: the same behind a text that says nothing.
    """
    gains = [found - expected for found, expected in zip(logprobs, prior, strict=True)]
    top = max(gains)
    weights = [math.exp(gain - top) for gain in gains]
    total = math.fsum(weights)
    return [weight / total for weight in weights]
