"""One answer under way: the engine's tokens on one side, text with its log-probabilities on the other.

Owns the text of an answer and its timing. Validates nothing: this is the path of every token.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from fairlead.engine.client import Generation
from fairlead.engine.messages import Finished, FinishReason, Token, Usage, Waiting
from fairlead.errors import FairleadError
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.service.context import Context
from fairlead.service.metrics import Metrics
from fairlead.service.model import Lease
from fairlead.service.text_stream import Detokenizer, StopStrings
from fairlead.service.users import User

_LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON does not have."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token with its natural log-probability before any filter. `bytes` may be part of a character."""

    text: str
    bytes: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of the answer, and the likeliest that might have stood in its place, likeliest first."""

    token: Candidate
    top: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some more of the answer: text that is whole characters, and the tokens it begins with."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time went, in milliseconds; `ttft_ms` is None where no token came."""

    queue_ms: float
    prefill_ms: float
    ttft_ms: float | None
    total_ms: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Result:
    """How an answer ended."""

    id: str
    model: str
    finish_reason: FinishReason
    usage: Usage
    timing: Timing
    context: Context


class Assembly:
    """Text and log-probabilities out of tokens, cut at stop strings. Plain: tokens in, pieces out.

    A token's log-probability is handed out with the text that it begins; of a stop string and what follows
    it nothing is handed out.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = (), *, continues: bool = False) -> None:
        """`continues`: the text goes on behind the prompt's, as a raw completion does."""
        self.stopped = False
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer, continues=continues)
        self._stops = StopStrings(stops) if stops else None
        self._held: deque[tuple[int, TokenLogprob]] = deque()
        self._fed = 0  # characters out of the detokenizer
        self._emitted = 0  # characters handed out

    def feed(self, token: Token) -> Piece | None:
        """The next token; None where nothing can be handed out yet."""
        if token.logprob is not None:
            self._held.append((self._fed, self._logprob(token.token, token.logprob, token.top or ())))
        return self._piece(self._detokenizer.feed(token.token))

    def flush(self) -> Piece | None:
        """The end: what was held back, None where that is nothing."""
        piece = self._piece(self._detokenizer.flush())
        rest = self._stops.flush() if self._stops is not None and not self.stopped else ""
        self._emitted += len(rest)
        logprobs = () if self.stopped else tuple(logprob for _, logprob in self._held)
        self._held.clear()
        if piece is None:
            return Piece(rest, logprobs) if rest or logprobs else None
        return Piece(piece.text + rest, piece.logprobs + logprobs)

    def _piece(self, text: str) -> Piece | None:
        self._fed += len(text)
        if self._stops is not None and text:
            text, self.stopped = self._stops.feed(text)
        if not text:
            return None
        self._emitted += len(text)
        if not self._held:
            return Piece(text)
        logprobs = []
        while self._held and self._held[0][0] < self._emitted:
            logprobs.append(self._held.popleft()[1])
        return Piece(text, tuple(logprobs))

    def _logprob(self, token: int, logprob: float, top: Sequence[tuple[int, float]]) -> TokenLogprob:
        return TokenLogprob(self._candidate(token, logprob), tuple(self._candidate(*other) for other in top))

    def _candidate(self, token: int, logprob: float) -> Candidate:
        finite = logprob if math.isfinite(logprob) else _LEAST_LOGPROB
        spelt = self._tokenizer.token_bytes(token)
        text = spelt.decode("utf-8", "replace") if spelt else self._tokenizer.token_text(token)
        return Candidate(text, spelt, finite)


class Roster:
    """The answers under way, by their ids, and how many wait for a first token and how many have one."""

    def __init__(self) -> None:
        self.waiting = 0
        self.running = 0
        self.usual_wait_s = 0.0
        """What first tokens took of late: a moving average."""
        self.empty = asyncio.Event()
        self.empty.set()
        self._by_id: dict[str, list[Answer]] = {}

    def under(self, request_id: str) -> list[Answer]:
        """The answers under an id."""
        return list(self._by_id.get(request_id, ()))

    def all(self) -> list[Answer]:
        """Every answer."""
        return [answer for answers in self._by_id.values() for answer in answers]

    def places_free_in_s(self, places: int, user: User | None = None) -> float:
        """When so many of those who wait, be they of one user or all, are expected to wait no more."""
        waits = sorted(
            wait_s
            for answer in self.all()
            if not answer.began and user in (None, answer.user) and (wait_s := answer.expected_wait_s) is not None
        )
        return waits[places - 1] if places <= len(waits) else max([self.usual_wait_s, *waits])

    def expect(self, user: User, count: int) -> None:
        """Answers will come, whose prompts are being read; `-count` once they are here or will not be."""
        self._count(user, waiting=count)

    def enter(self, answer: Answer) -> None:
        """A new answer waits for its first token."""
        self._by_id.setdefault(answer.id, []).append(answer)
        self._count(answer.user, waiting=1)

    def began(self, answer: Answer, wait_s: float) -> None:
        """An answer has its first token."""
        self._count(answer.user, waiting=-1, running=1)
        self.usual_wait_s += 0.1 * (wait_s - self.usual_wait_s)

    def leave(self, answer: Answer) -> None:
        """An answer is over."""
        others = self._by_id[answer.id]
        others.remove(answer)
        if not others:
            del self._by_id[answer.id]
        self._count(answer.user, waiting=0 if answer.began else -1, running=-1 if answer.began else 0)

    def _count(self, user: User, *, waiting: int = 0, running: int = 0) -> None:
        self.waiting += waiting
        self.running += running
        user.waiting += waiting
        user.running += running
        if self.waiting or self.running:
            self.empty.clear()
        else:
            self.empty.set()


class Answer:
    """An answer under way. Use it as a context; iterate `pieces` once, to the end; `result` is there then.

    Leaving the context early stops the generation, wherever it is.
    """

    def __init__(
        self,
        request_id: str,
        user: User,
        *,
        lease: Lease,
        generation: Generation,
        assembly: Assembly,
        context: Context,
        arrived: float,
        roster: Roster,
        metrics: Metrics,
    ) -> None:
        self.id = request_id
        self.user = user
        self.model = lease.model.name
        self.context = context
        self.tokens = 0
        """Drawn so far."""
        self.result: Result | None = None
        self._closed = False
        self._lease = lease
        self._generation = generation
        self._assembly = assembly
        self._failure: FairleadError | None = None
        self._arrived = arrived
        self._submitted = time.monotonic()
        self._first_at: float | None = None
        self._last_at = 0.0
        self._roster = roster
        self._metrics = metrics
        self._token_gap = metrics.token_gap.labels(self.model)
        roster.enter(self)

    @property
    def began(self) -> bool:
        """Whether it has its first token."""
        return self._first_at is not None

    @property
    def place(self) -> Waiting | None:
        """Where it waits, as the engine told last; None while it has the model's attention, or nothing was told yet."""
        return self._generation.waiting

    @property
    def expected_wait_s(self) -> float | None:
        """Until its first token, by the rate at which prompts are read now; None while that is not known."""
        place, stats = self.place, self._lease.model.engine.stats
        turn_s = 0.0 if place is None else place.wait_s
        if turn_s is None or stats is None or not stats.prefill_rate:
            return None
        return turn_s + len(self.context.tokens) / stats.prefill_rate

    async def ready(self, within_s: float) -> bool:
        """Wait for so long that `pieces` has something; whether it has, the end included."""
        return await self._generation.ready(within_s)

    async def pieces(self) -> AsyncIterator[Piece]:
        """The answer as it comes.

        Raises:
            EngineFailed, ModelNotReady, Draining: it was cut off; nothing more comes.
        """
        async for event in self._generation:
            if isinstance(event, Token):
                self._count()
                if not self._assembly.stopped and (piece := self._take(event)) is not None:
                    yield piece
            else:
                if self._failure is not None:
                    raise self._failure
                tail = self._assembly.flush()
                self.result = self._finish(event)
                if tail is not None:
                    yield tail

    def cancel(self, reason: FinishReason = "cancelled") -> None:
        """Ask for the end; what was generated until then still comes, and a result with this reason."""
        self._generation.cancel(reason)

    def fail(self, error: FairleadError) -> None:
        """End it with an error."""
        self._failure = error
        self._generation.cancel()

    async def aclose(self) -> None:
        """Stop what is not finished, and let go of the model; may be called twice."""
        if self._closed:
            return
        self._closed = True
        self._roster.leave(self)
        self._lease.release()
        reason = self.result.finish_reason if self.result is not None else "abandoned"
        self._metrics.finished.labels(self.model, reason).inc()
        prompt_tokens = len(self.context.tokens) if self.began else 0
        self._metrics.count_service(self.user.label, prompt_tokens, self.tokens)
        self.user.count(self.user.name, prompt_tokens, self.tokens)
        await self._generation.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _take(self, token: Token) -> Piece | None:
        piece = self._assembly.feed(token)
        if self._assembly.stopped:
            self._generation.cancel("stop")
        return piece

    def _count(self) -> None:
        now = time.monotonic()
        self.tokens += 1
        if self._first_at is None:
            self._first_at = now
            self._roster.began(self, now - self._arrived)
            self._metrics.first_token.labels(self.model).observe(now - self._arrived)
        else:
            self._token_gap.observe(now - self._last_at)
        self._last_at = now

    def _finish(self, event: Finished) -> Result:
        usage, spent = event.usage, event.timing
        total_s = time.monotonic() - self._arrived
        if usage.completion_tokens > 1 and spent.decode_s > 0:
            rate = (usage.completion_tokens - 1) / spent.decode_s
        else:
            rate = usage.completion_tokens / total_s if total_s > 0 else 0.0
        self._metrics.count_tokens(self.model, usage)
        return Result(
            id=self.id,
            model=self.model,
            finish_reason="stop" if self._assembly.stopped else event.reason,
            usage=usage,
            timing=Timing(
                queue_ms=_ms(self._submitted - self._arrived + spent.queue_s),
                prefill_ms=_ms(spent.prefill_s),
                ttft_ms=None if self._first_at is None else _ms(self._first_at - self._arrived),
                total_ms=_ms(total_s),
                tokens_per_second=round(rate, 2),
            ),
            context=self.context,
        )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
