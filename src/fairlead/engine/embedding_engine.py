"""The step of an encoder: schedule, encode, update. Knows nothing of processes or sockets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from fairlead.engine.encoder import Encoder
from fairlead.engine.framing import MAX_FRAME_BYTES
from fairlead.engine.messages import Cancel, Embed, Event, Failed, Stats
from fairlead.engine.meter import Meter
from fairlead.engine.texts import Piece, TextScheduler
from fairlead.errors import EngineFailed, FairleadError, InvalidRequest

_FLOAT_BYTES = 4

log = logging.getLogger(__name__)


class EmbeddingEngine:
    """A model that turns texts into vectors, step by step.

    Args:
        encoder: the model on its hardware.
        clock: seconds that only ever grow.
    """

    def __init__(self, encoder: Encoder, clock: Callable[[], float] = time.monotonic) -> None:
        self._encoder = encoder
        self._clock = clock
        self._scheduler = TextScheduler(encoder.max_batch_tokens)
        self._meter = Meter()

    @property
    def has_work(self) -> bool:
        """Whether a request has not ended yet."""
        return self._scheduler.has_work

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._scheduler.waiting

    def add(self, command: Embed) -> list[Event]:
        """Accept a request, or refuse it with a `Failed`."""
        wrong = self._what_is_wrong(command)
        if wrong is not None:
            return [Failed(command.id, InvalidRequest.code, wrong)]
        self._scheduler.add(command, self._clock())
        return []

    def cancel(self, command: Cancel) -> list[Event]:
        """End a request, if it has not ended."""
        return self._scheduler.cancel(command.id, command.reason, self._clock())

    def step(self) -> list[Event]:
        """Compute one batch; the events are those of requests that it ends."""
        now = self._clock()
        batch = self._scheduler.schedule(now)
        if not batch:
            return []
        try:
            vectors = self._encode(batch)
        except Exception as error:
            log.exception("a step of %d texts failed", len(batch))
            told = (error.code, error.message) if isinstance(error, FairleadError) else _UNFORESEEN
            events = self._scheduler.fail(batch, *told, self._clock())
        else:
            events = self._scheduler.update(batch, vectors, self._clock())
        took = self._clock() - now  # a step is as long as what is in it: nobody reads an answer meanwhile
        self._meter.count(took, took, sum(len(piece.tokens) for piece in batch))
        return events

    def stats(self) -> Stats:
        """The state after the last step. An encoder has no pages, draws nothing and guesses nothing."""
        scheduler, meter = self._scheduler, self._meter
        rate = meter.decode_rate()
        return Stats(
            running=scheduler.running,
            waiting=scheduler.waiting,
            free_pages=0,
            cached_pages=0,
            total_pages=0,
            steps=meter.steps,
            prefill_tokens=scheduler.tokens,
            decode_tokens=0,
            cached_tokens=0,
            drafted_tokens=0,
            accepted_tokens=0,
            preemptions=0,
            prefill_rate=rate,
            decode_rate=None,
            step_s=meter.last_s,
            budget_s=meter.last_budget_s,
            step_seconds=meter.seconds,
            step_counts=list(meter.counts),
            over_budget=meter.over_budget,
            clients=scheduler.loads(),
            queue=scheduler.queue(rate),
        )

    def _encode(self, batch: list[Piece]) -> list[bytes]:
        vectors = self._encoder.encode([piece.tokens for piece in batch]).tobytes()
        size = _FLOAT_BYTES * self._encoder.width
        if len(vectors) != size * len(batch):
            raise EngineFailed("The model gave other vectors than it was asked for.")
        return [vectors[begin : begin + size] for begin in range(0, len(vectors), size)]

    def _what_is_wrong(self, command: Embed) -> str | None:
        """Whether the encoder may be given these texts: it indexes memory with their tokens."""
        encoder = self._encoder
        if not command.texts or len(command.texts) * encoder.width * _FLOAT_BYTES > MAX_FRAME_BYTES // 2:
            return "A request has at least one text, and no more than its vectors' frame holds."
        for text in command.texts:
            if not 0 < len(text) <= encoder.context_length:
                return f"A text has 1 to {encoder.context_length} tokens."
            if min(text) < 0 or max(text) >= encoder.vocab_size:
                return f"Token ids must be whole numbers from 0 to {encoder.vocab_size - 1}."
        return None


_UNFORESEEN = EngineFailed.code, "The model failed while it computed these vectors; the server's log says how."
