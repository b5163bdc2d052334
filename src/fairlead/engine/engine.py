"""The step: schedule, forward, update.

Owns the bond between a scheduler and a runner: samplers are opened and closed with their requests, and an
error of the runner ends the requests it struck and nothing else. Knows nothing of processes or sockets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence

from fairlead.engine.messages import Cancel, Event, Failed, Finished, Generate, Score, Scored, Stats
from fairlead.engine.meter import Meter
from fairlead.engine.runner import Result, Runner, by_chunk
from fairlead.engine.scheduler import Batch, Scheduler
from fairlead.engine.scoring import prefix_of
from fairlead.errors import EngineFailed, FairleadError, InvalidRequest

log = logging.getLogger(__name__)


class Engine:
    """A model that serves requests, step by step.

    Args:
        scheduler: decides what a step computes, over the runner's pages.
        runner: the model on its hardware.
        clock: seconds that only ever grow.
    """

    def __init__(self, scheduler: Scheduler, runner: Runner, clock: Callable[[], float] = time.monotonic) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._clock = clock
        self._meter = Meter()

    @property
    def has_work(self) -> bool:
        """Whether a request has not ended yet."""
        return self._scheduler.has_work

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._scheduler.waiting

    def add(self, command: Generate | Score) -> list[Event]:
        """Accept a request, or refuse it with a `Failed`."""
        if not self._knows_tokens(command):
            message = f"Token ids must be whole numbers from 0 to {self._runner.vocab_size - 1}."
            return [Failed(command.id, InvalidRequest.code, message)]
        refused = self._scheduler.add(command, self._clock())
        if refused:
            return refused
        try:
            asked = prefix_of(command) if isinstance(command, Score) else command
            self._runner.open(asked.id, asked.sampling, asked.tokens, asked.min_tokens, asked.stop_tokens)
        except Exception as error:
            log.exception("no sampler could be made for request %d", command.id)
            return self._scheduler.fail([command.id], *_told(error), self._clock())
        return []

    def cancel(self, command: Cancel) -> list[Event]:
        """End a request, if it has not ended."""
        return self._closed(self._scheduler.cancel(command.id, command.reason, self._clock()))

    def step(self) -> list[Event]:
        """Compute one batch; the events are those of requests that moved on or ended."""
        now = self._clock()
        events = self._scheduler.expire(now)
        batch = self._scheduler.schedule(now)
        drawn_before = self._scheduler.decode_tokens
        if batch:
            try:
                results = self._forward(batch)
            except Exception as error:
                log.exception("a step of %d requests failed", len(batch))
                events += self._scheduler.fail([chunk.request_id for chunk in batch], *_told(error), self._clock())
            else:
                events += self._scheduler.update(batch, results, self._clock())
            drawn = self._scheduler.decode_tokens - drawn_before
            self._meter.count(self._clock() - now, self._scheduler.budget_s, drawn)
        return self._closed(events)

    def stats(self) -> Stats:
        """The state after the last step."""
        scheduler, meter = self._scheduler, self._meter
        return Stats(
            running=scheduler.running,
            waiting=scheduler.waiting,
            free_pages=scheduler.cache.free_pages,
            cached_pages=scheduler.cache.cached_pages,
            total_pages=scheduler.cache.page_count,
            steps=meter.steps,
            prefill_tokens=scheduler.prefill_tokens,
            decode_tokens=scheduler.decode_tokens,
            cached_tokens=scheduler.cached_tokens,
            drafted_tokens=scheduler.drafted_tokens,
            accepted_tokens=scheduler.accepted_tokens,
            preemptions=scheduler.preemptions,
            prefill_rate=scheduler.pace.prefill_rate(),
            decode_rate=meter.decode_rate(),
            step_s=meter.last_s,
            budget_s=meter.last_budget_s,
            step_seconds=meter.seconds,
            step_counts=list(meter.counts),
            over_budget=meter.over_budget,
            clients=scheduler.loads(),
            queue=scheduler.queue(self._clock()),
        )

    def _forward(self, batch: Batch) -> Sequence[Result]:
        """What the runner drew and scored, checked to be what it was asked for."""
        for chunk in batch:
            if chunk.copies is not None:
                self._runner.copy_page(*chunk.copies)
        results = self._runner.forward(batch)
        try:
            counts = [(chunk, len(found)) for chunk, found in by_chunk(batch, results)]
        except ValueError as error:
            raise EngineFailed("The model answered for other requests than it was asked for.") from error
        if any(count < (1 if chunk.scores else chunk.samples) for chunk, count in counts):
            raise EngineFailed("The model drew other tokens than it was asked for.")
        return results

    def _closed(self, events: list[Event]) -> list[Event]:
        """The same events, with the samplers closed of the requests that they end."""
        for event in events:
            if isinstance(event, Finished | Scored | Failed):
                self._runner.close(event.id)
        return events

    def _knows_tokens(self, command: Generate | Score) -> bool:
        """Whether every id is below the vocabulary's size: the runner indexes memory with them."""
        given: list[Collection[int]] = [command.tokens]
        if isinstance(command, Score):
            given += command.continuations
        else:
            given += [command.stop_tokens, command.sampling.logit_bias]
        return all(min(ids) >= 0 and max(ids) < self._runner.vocab_size for ids in given if ids)


def _told(error: Exception) -> tuple[str, str]:
    """Code and message for the caller: an error of ours as it is, of another only that it happened."""
    if isinstance(error, FairleadError):
        return error.code, error.message
    return EngineFailed.code, "The model failed while it computed this answer; the server's log says how."
