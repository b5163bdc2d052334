"""From a request in people's words to its answer in text: prompt to token ids, engine, ids to text.

Owns the answers that are under way: their ids, their bound, their ends. Knows nothing of HTTP, nor of the
dialects spoken over it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace

from fairlead.errors import Draining, QueueFull, RequestNotFound
from fairlead.service.answer import Answer, Assembly, Roster
from fairlead.service.context import Context, conversation, fit
from fairlead.service.metrics import Metrics
from fairlead.service.model import Lease, LoadedModel
from fairlead.service.registry import Registry
from fairlead.service.request import NOBODY, GenerationRequest, check_tokens
from fairlead.service.users import User, Users

_SHORTEST_RETRY_S = 1.0
_LONGEST_RETRY_S = 600.0
_EVERYBODY = 0
"""The salt of prefixes that all users share; users' own are their numbers."""


async def _admit_all(name: str) -> None:
    """For servers without limits."""


class Generator:
    """The server's answers.

    Args:
        registry: the models.
        metrics: where answers are counted.
        users: those whose answers they are.
        max_waiting: how many may wait for their first token at once; one more is refused.
        admit: raises where a user of this name may have no more now.
    """

    def __init__(
        self,
        registry: Registry,
        metrics: Metrics,
        users: Users,
        *,
        max_waiting: int,
        admit: Callable[[str], Awaitable[None]] = _admit_all,
    ) -> None:
        self._admit = admit
        self._roster = Roster()
        self._others: dict[str, list[tuple[str, Callable[[], object]]]] = {}
        """By their ids: what else `cancel` ends, and whose it is."""
        self._registry = registry
        self._users = users
        self._metrics = metrics
        self._max_waiting = max_waiting
        metrics.waiting.set_function(lambda: self._roster.waiting)
        metrics.running.set_function(lambda: self._roster.running)

    async def start(self, request: GenerationRequest, request_id: str, count: int = 1) -> Sequence[Answer]:
        """Begin `count` answers to one request, each with a seed of its own. The caller closes each.

        Several calls may use one id; `cancel` then ends all their answers.

        Raises:
            ModelNotFound, ModelNotReady, Draining, QueueFull, TokensUsedUp, PromptTooLong, InvalidRequest, EngineFailed
        """
        arrived = time.monotonic()
        async with self.admit(request, count) as lease:
            return await self.begin(lease, request, request_id, count, arrived=arrived)

    @contextlib.asynccontextmanager
    async def admit(self, request: GenerationRequest, count: int = 1) -> AsyncIterator[Lease]:
        """Hold the model of a request that is still being written, with a place among those who wait.

        Raises:
            ModelNotFound, ModelNotReady, Draining, QueueFull
        """
        user = self._users.find(request.user)
        async with self._place(user, count), self._hold(request.model, user.name, request.keep_alive) as lease:
            yield lease

    async def begin(
        self, lease: Lease, request: GenerationRequest, request_id: str, count: int = 1, *, arrived: float
    ) -> Sequence[Answer]:
        """Begin answers as `start` does, on a model that is held; `arrived` is when, by the monotonic clock.

        Raises:
            PromptTooLong, InvalidRequest, EngineFailed
        """
        user = self._users.find(request.user)
        context = await asyncio.to_thread(fit, request, lease.model)
        seed = secrets.randbits(63) if request.seed is None else request.seed
        answers: list[Answer] = []
        try:
            for index in range(count):
                each = replace(request, seed=(seed + index) % 2**64)
                answers.append(self._begin(each, request_id, user, lease, context, arrived))
        except BaseException:
            for answer in answers:
                await answer.aclose()
            raise
        return answers

    @property
    def idle(self) -> asyncio.Event:
        """Set while nobody waits for an answer, nor has one coming."""
        return self._roster.empty

    def is_loaded(self, name: str) -> bool:
        """Whether a model could answer without being loaded first."""
        return any(model.name == name for model in self._registry.loaded())

    async def tokenize(self, request: GenerationRequest) -> tuple[Sequence[int], LoadedModel]:
        """The token ids that a model sees for messages, or those of a raw prompt without a mark in front."""
        async with self._hold(request.model, request.user) as lease:
            model = lease.model

            def encode() -> Sequence[int]:
                if request.messages is None:
                    return model.tokenizer.encode(request.prompt or "")
                return model.template.render(conversation(request, model.defaults.system))

            return await asyncio.to_thread(encode), model

    async def detokenize(self, tokens: Sequence[int], name: str | None, user: str = NOBODY) -> str:
        """The text of token ids; InvalidRequest for one that the model does not have."""
        async with self._hold(name, user) as lease:
            check_tokens(tokens, lease.model.tokenizer.vocab_size, "tokens")
            return await asyncio.to_thread(lease.model.tokenizer.decode, list(tokens))

    @contextlib.contextmanager
    def cancellable(self, request_id: str, user_name: str, cancel: Callable[[], object]) -> Iterator[None]:
        """While this lasts `cancel` of this id calls `cancel`, too: for what a request does beside its answers."""
        others, entry = self._others.setdefault(request_id, []), (user_name, cancel)
        others.append(entry)
        try:
            yield
        finally:
            others.remove(entry)
            if not others:
                del self._others[request_id]

    def cancel(self, request_id: str, owner: str | None = None) -> None:
        """End the answers under this id, wherever they are; only `owner`'s where one is given.

        Raises:
            RequestNotFound
        """
        answers = self._roster.under(request_id)
        ends: list[Callable[[], object]] = [answer.cancel for answer in answers if owner in (None, answer.user.name)]
        ends += [cancel for user_name, cancel in self._others.get(request_id, ()) if owner in (None, user_name)]
        if not ends:
            raise RequestNotFound("Nothing is waiting or running under this id.", param="id")
        for end in ends:
            end()

    async def drain(self, timeout_s: float) -> None:
        """Wait until all answers have ended; those that go on past the limit end with `Draining`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._roster.empty.wait(), timeout_s)
        for answer in self._roster.all():
            answer.fail(Draining("The server is shutting down; the answer was cut off."))

    def under_way(self) -> list[Answer]:
        """The answers that have not ended."""
        return self._roster.all()

    def _begin(
        self, request: GenerationRequest, request_id: str, user: User, lease: Lease, context: Context, arrived: float
    ) -> Answer:
        model = lease.model
        longest = request.longest_answer(model.defaults, model.context_length - len(context.tokens))
        stops = request.stop
        if request.is_chat and not request.ignore_eos:
            stops = (*stops, *model.template.stops)
        assembly = Assembly(model.tokenizer, stops, continues=not request.is_chat)
        generation = model.engine.generate(
            context.tokens,
            request.sampling(model.defaults),
            max_tokens=longest,
            min_tokens=min(request.min_tokens, longest),
            stop_tokens=() if request.ignore_eos else tuple(model.tokenizer.stop_ids),
            timeout_s=request.timeout_s,
            client=user.number,
            weight=user.weight,
            priority=request.priority,
            salt=_EVERYBODY if model.share_prefixes else user.number,
            public_tokens=context.public_tokens,
        )
        return Answer(
            request_id,
            user,
            lease=lease.share(generation.cancel),
            generation=generation,
            assembly=assembly,
            context=context,
            arrived=arrived,
            roster=self._roster,
            metrics=self._metrics,
        )

    @contextlib.asynccontextmanager
    async def _place(self, user: User, count: int) -> AsyncIterator[None]:
        """A place among those who wait, while the prompt is read; afterwards the answers count themselves."""
        await self._admit(user.name)
        roster = self._roster
        if (over := user.waiting + count - user.max_waiting) > 0:
            raise _full(f"{user.max_waiting} of your requests", roster.places_free_in_s(over, user))
        if (over := roster.waiting + count - self._max_waiting) > 0:
            raise _full(f"{self._max_waiting} requests", roster.places_free_in_s(over))
        roster.expect(user, count)
        try:
            yield
        finally:
            roster.expect(user, -count)

    @contextlib.asynccontextmanager
    async def _hold(self, name: str | None, user: str, keep_alive: float | None = None) -> AsyncIterator[Lease]:
        """Hold a model, once it is there, for something that is soon over and cannot be cancelled."""
        lease = await self._registry.acquire(name, lambda: None, user=user, keep_alive=keep_alive)
        try:
            yield lease
        finally:
            lease.release()


def _full(most: str, free_in_s: float) -> QueueFull:
    retry_after_s = min(max(free_in_s, _SHORTEST_RETRY_S), _LONGEST_RETRY_S)
    message = f"At most {most} may wait at once, and so many do; try again in {math.ceil(retry_after_s)} s."
    return QueueFull(message, retry_after_s=retry_after_s)
