"""Texts to vectors: tokens, requests to the engine in portions, and vectors put together again.

Owns the requests for vectors that are under way. Knows nothing of HTTP, nor of what the vectors are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.engine.messages import Usage
from fairlead.errors import InvalidRequest, PromptTooLong, QueueFull
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.service.metrics import Metrics
from fairlead.service.model import Lease, LoadedModel
from fairlead.service.registry import Registry
from fairlead.service.request import check_tokens
from fairlead.service.users import User, Users

_PORTION: Final = 128
"""Texts of one request to the engine: some steps' worth of short ones, after which what came back can be let go of."""
_AHEAD: Final = 4
"""Portions that the engine has at once, so that it need not wait for the next."""
_RETRY_AFTER_S: Final = 1.0
_NOBODYS: Final = 0
"""The engine's number for what the server does for itself; users' are above it."""

Input = str | Sequence[int]
"""A text, or the token ids of one, as they go to the model."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of length 1, [texts, width]; and the tokens that they were made from."""

    model: str
    vectors: NDArray[np.float32]
    tokens: int


async def _admit_all(name: str) -> None:
    """For servers without limits."""


class Embeddings:
    """The embedding of texts on one server; implements `embedding.Embedder` with the configured model.

    Args:
        registry: the models.
        users: who asks.
        metrics: where tokens are counted.
        model: the one that is used where none is named.
        max_waiting: how many requests may be under way at once; one more is refused.
        admit: raises where a user of this name may have no more now.
    """

    def __init__(
        self,
        registry: Registry,
        users: Users,
        metrics: Metrics,
        model: str,
        *,
        max_waiting: int,
        admit: Callable[[str], Awaitable[None]] = _admit_all,
    ) -> None:
        self._registry = registry
        self._users = users
        self._metrics = metrics
        self._model = model
        self._max_waiting = max_waiting
        self._admit = admit
        self._under_way: Counter[User] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def name(self) -> str:
        """The configured model's name."""
        return self._model

    async def check(self, model: str) -> None:
        """ModelNotFound for a name that no model has, InvalidRequest for one that makes no vectors."""
        await self._registry.require(model, "embedding")

    async def embed(
        self, texts: Sequence[str], *, model: str | None = None, user: str | None = None, patient: bool = False
    ) -> NDArray[np.float32]:
        """The vectors of any number of texts, [texts, width], by a model that is fetched where it is not here.

        A text past the model's context is embedded by what fits. What is `patient` the engine has for the server's own
        work, beside which everybody's requests have their share. None for `model` is the configured one.

        Raises:
            ModelNotReady, DownloadError, DoesNotFit, EngineFailed: the model is not to be had now.
            TokensUsedUp: the user had all tokens of this day.
        """
        asking = None if user is None else self._users.find(user)
        if asking is not None:
            await self._admit(asking.name)
        await self._registry.provide(model or self._model)
        lease = await self._registry.acquire(model or self._model, lambda: None, capability="embedding")
        try:
            loaded = lease.model
            tokens = await asyncio.to_thread(lambda: [_cut(loaded, text) for text in texts])
            if asking is None or patient:
                vectors = await self._vectors(lease, tokens, _NOBODYS, 1.0)
            else:
                vectors = await self._vectors(lease, tokens, asking.number, asking.weight)
            if asking is not None:
                self._count(asking, sum(map(len, tokens)))
            return vectors
        finally:
            lease.release()

    async def answer(self, inputs: Sequence[Input], name: str | None, user_name: str) -> Embedded:
        """The vectors that somebody asked for; `name` is the model's, None the configured one.

        Raises:
            ModelNotFound, ModelNotReady, Draining, QueueFull, TokensUsedUp, EngineFailed
            InvalidRequest: an empty input, a token that the model does not have, or a model that makes no vectors.
            PromptTooLong: an input past the context; both name its place.
        """
        user = self._users.find(user_name)
        await self._admit(user.name)
        self._enter(user)
        try:
            lease = await self._registry.acquire(
                name or self._model, lambda: None, user=user.name, capability="embedding"
            )
            try:
                tokens = await asyncio.to_thread(_encode, inputs, lease.model)
                vectors = await self._vectors(lease, tokens, user.number, user.weight)
                count = sum(map(len, tokens))
                self._count(user, count)
                return Embedded(lease.model.name, vectors, count)
            finally:
                lease.release()
        finally:
            self._leave(user)

    async def drain(self, timeout_s: float) -> None:
        """Wait until all requests have ended, for so long at most; what goes on ends with its worker."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)

    async def _vectors(
        self, lease: Lease, tokens: Sequence[Sequence[int]], client: int, weight: float
    ) -> NDArray[np.float32]:
        """Texts go to the engine some portions ahead; where one fails, or nobody waits any more, all are given up."""
        portions = [tokens[begin : begin + _PORTION] for begin in range(0, len(tokens), _PORTION)]
        room = asyncio.Semaphore(_AHEAD)

        async def portion(texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
            async with room:
                embedding = lease.model.engine.embed(texts, client=client, weight=weight)
                held = lease.share(embedding.cancel)
                try:
                    found = await embedding.result()
                finally:
                    held.release()
            return np.frombuffer(found.vectors, "<f4").reshape(len(texts), -1)

        tasks = [asyncio.create_task(portion(texts)) for texts in portions]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._metrics.count_tokens(lease.model.name, Usage(sum(map(len, tokens)), 0))
        return np.concatenate(found) if found else np.empty((0, 0), np.float32)

    def _count(self, user: User, tokens: int) -> None:
        self._metrics.count_service(user.label, tokens, 0)
        user.count(user.name, tokens, 0)

    def _enter(self, user: User) -> None:
        if self._under_way[user] >= user.max_waiting:
            most = f"{user.max_waiting} of your requests"
        elif self._under_way.total() >= self._max_waiting:
            most = f"{self._max_waiting} requests"
        else:
            self._under_way[user] += 1
            self._idle.clear()
            return
        raise QueueFull(f"At most {most} for vectors may wait at once, and so many do.", retry_after_s=_RETRY_AFTER_S)

    def _leave(self, user: User) -> None:
        self._under_way[user] -= 1
        if not self._under_way[user]:
            del self._under_way[user]
        if not self._under_way:
            self._idle.set()


def _framed(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, bos=True, eos=True)


def _cut(model: LoadedModel, text: str) -> list[int]:
    """A text's tokens, those past the context left out but for the mark at the end."""
    tokens = _framed(model.tokenizer, text)
    most = model.context_length
    return tokens if len(tokens) <= most else [*tokens[: most - 1], tokens[-1]]


def _encode(inputs: Sequence[Input], model: LoadedModel) -> list[Sequence[int]]:
    """The tokens of each input, checked."""
    encoded: list[Sequence[int]] = []
    for place, given in _places(inputs):
        if not given:
            raise InvalidRequest(f"{place} is empty.", param=place)
        if not isinstance(given, str):
            check_tokens(given, model.tokenizer.vocab_size, place)
        tokens = _framed(model.tokenizer, given) if isinstance(given, str) else given
        if len(tokens) > model.context_length:
            raise PromptTooLong(
                f"{place} has {len(tokens)} tokens, and the context of {model.name} is {model.context_length}: shorten "
                "it or cut it into parts.",
                param=place,
                details={"tokens": len(tokens), "context_length": model.context_length},
            )
        encoded.append(tokens)
    return encoded


def _places(inputs: Sequence[Input]) -> Iterator[tuple[str, Input]]:
    """Each input with what people call it."""
    names = ["input"] if len(inputs) == 1 else (f"input[{place}]" for place in itertools.count())
    return zip(names, inputs, strict=False)
