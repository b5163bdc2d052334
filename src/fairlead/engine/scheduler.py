"""What each step computes: a pure state machine over requests and pages.

There is no prefill phase and no decode phase. A request has tokens known and tokens computed, and a step
computes some of the difference for some requests: one token where an answer runs, a chunk where a prompt is
read or a preempted request is resumed. (The idea is that of vLLM's v1 scheduler; chunked prefill is Agrawal
et al., "Sarathi-Serve", OSDI 2024.)

A step is made in this order. Running answers get their rows (`rotation.py`), and the pages for them. What is
left of the step's time (`pace.py`) is filled with prompts, those running and those waiting (`waiting.py`) in
one order, that of their clients' counters (`fairness.py`). Tokens that several requests have in common are
computed by the first of them in that order; the others find them done (`kv_cache.py`).

Owns the order of requests and their ends; knows no clock, no I/O and no arrays. Whoever drives it says what
time it is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from fairlead.engine.budget import Budget
from fairlead.engine.fairness import Clients
from fairlead.engine.forecast import Forecast
from fairlead.engine.kv_cache import KVCache
from fairlead.engine.messages import (
    ClientLoad,
    Event,
    Failed,
    Finished,
    FinishReason,
    Generate,
    Scheduling,
    Score,
    Scored,
    Token,
    Waiting,
)
from fairlead.engine.pace import Pace
from fairlead.engine.request import Request, refusal
from fairlead.engine.rotation import SLACK, Rotation
from fairlead.engine.runner import Chunk, Result, Sampled, Scores, by_chunk
from fairlead.engine.scoring import MOST_ROWS, Scoring, prefix_of
from fairlead.engine.scoring import refusal as scoring_refusal
from fairlead.engine.speculation import speculate
from fairlead.engine.step import Step
from fairlead.engine.waiting import Turn, WaitingQueue, first_to_stop, turn

Batch = list[Chunk]

FAIR = Scheduling()
"""How time is shared out where nothing else is asked for."""


class Scheduler:
    """Requests waiting and running, and the next batch.

    A batch from `schedule` goes to the runner and then, with what was drawn, to `update`, before the next
    `schedule`. Requests may be added and cancelled at any time between. Every request that `add` accepts
    gets exactly one `Finished`, `Scored` or `Failed`, from whichever method ends it.

    Args:
        cache: the pages; nobody else deals them.
        context_length: the longest sequence, prompt and answer together, in tokens.
        max_batch_tokens: most tokens of a batch, and so most requests that run at once.
        scheduling: how time is shared out.
    """

    def __init__(
        self, cache: KVCache, *, context_length: int, max_batch_tokens: int, scheduling: Scheduling = FAIR
    ) -> None:
        self.cache = cache
        self.pace = Pace()
        self._rotation = Rotation(self.pace)
        self._budget = Budget(self.pace, scheduling.step_budget_s)
        # A request that has all pages to itself must be able to reach its end.
        self._longest = min(context_length, cache.capacity)
        self._max_batch_tokens = max_batch_tokens
        # Whoever is admitted, and everybody who ran before, has a token in that batch.
        self._max_running = min(scheduling.max_running, max_batch_tokens)
        self._scheduling = scheduling
        self._fair = scheduling.policy == "fair"
        self._clients = Clients()
        self._forecast = Forecast()
        self._requests: dict[int, Request] = {}
        self._waiting = WaitingQueue(scheduling.policy)
        self._running: dict[int, Request] = {}  # in order of admission
        self._deadlines: list[tuple[float, int]] = []  # a heap; may hold requests that have ended since
        self._accepted = 0
        self._admissions = 0
        self._blocked = False  # whether the last step had to leave somebody waiting
        self._number = 0  # of the step
        self._step = Step(self.pace, max_batch_tokens)
        self._scheduled_at = 0.0
        self._answers_s = 0.0
        self.prefill_tokens = 0
        """Prompt tokens computed, those computed again included."""
        self.decode_tokens = 0
        self.cached_tokens = 0
        """Prompt tokens found computed."""
        self.drafted_tokens = 0
        """Tokens guessed ahead."""
        self.accepted_tokens = 0
        """Those of them that were drawn."""
        self.preemptions = 0

    @property
    def has_work(self) -> bool:
        """Whether a request is waiting or running; then `schedule` returns a batch that is not empty."""
        return bool(self._requests)

    @property
    def running(self) -> int:
        """Requests that hold pages."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that hold none."""
        return len(self._waiting)

    @property
    def budget_s(self) -> float:
        """How long the last batch should take at most."""
        return self._budget.whole_s

    def add(self, command: Generate | Score, now: float) -> list[Event]:
        """Queue a request, or refuse it with a `Failed`. ValueError if its id is in use."""
        if command.id in self._requests:
            raise ValueError(f"request {command.id} is there already")
        scoring = None
        if isinstance(command, Score):
            refused = scoring_refusal(command, self._longest, self.cache)
            scoring = Scoring(len(command.tokens), command.continuations, self.cache.page_size)
            command = prefix_of(command)
        else:
            refused = refusal(command, self._longest)
        if refused is not None:
            return [refused]
        client = self._clients.enter(command.client, now)
        request = Request.accept(command, self._accepted, client, self._longest, now, scoring)
        self._accepted += 1
        self._requests[request.id] = request
        self._waiting.push(request)
        if request.deadline is not None:
            heapq.heappush(self._deadlines, (request.deadline, request.id))
        return []

    def cancel(self, request_id: int, reason: FinishReason, now: float) -> list[Event]:
        """End a request in whatever state it is; nothing happens where it has ended."""
        request = self._requests.get(request_id)
        return [] if request is None else [self._finish(request, reason, now)]

    def expire(self, now: float) -> list[Event]:
        """End the requests whose time is up."""
        events: list[Event] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, request_id = heapq.heappop(self._deadlines)
            request = self._requests.get(request_id)
            if request is not None and request.deadline == deadline:
                events.append(self._finish(request, "timeout", now))
        return events

    def fail(self, request_ids: Iterable[int], code: str, message: str, now: float) -> list[Event]:
        """End requests that could not be computed."""
        events: list[Event] = []
        for request_id in request_ids:
            request = self._requests.get(request_id)
            if request is not None:
                self._forget(request, now)
                events.append(Failed(request_id, code, message))
        return events

    def schedule(self, now: float) -> Batch:
        """The next batch: a token of the running answers whose turn it is, then as much of the prompts as fits."""
        self._number += 1
        self._scheduled_at = now
        answers = [request for request in self._running.values() if request.answers]
        for client in self._clients.known():
            client.answering = False
        for request in answers:
            request.client.answering = True
        if self._fair:
            self._rotation.begin(answers, self._number)
        step = self._step = Step(self.pace, self._max_batch_tokens)
        self._budget.begin(answers)
        branching = [request for request in self._running.values() if request.branches]
        for request in self._with_pages([*(self._rows(now) if self._fair else answers), *branching], now):
            if request.answers:
                request.served = self._number
                step.add(request, 1)
        self._answers_s = step.seconds()
        self._read(step, now)
        if self._scheduling.lookup and not step.reads:
            guessed = [request for request in step.counts if not self._rotation.ahead(request.client)]
            speculate(step, guessed, self.cache)
        for request in step.counts:
            request.started = now if request.started is None else request.started
        return [chunk for request in step.counts for chunk in step.chunks(request, self.cache.table(request.id))]

    def update(self, batch: Batch, results: Sequence[Result], now: float) -> list[Event]:
        """Take in what a batch computed, drew and scored, as `Runner.forward` returns it."""
        self.pace.learn(self._step.rows, self._step.attended, now - self._scheduled_at)
        self._rotation.end(now - self._scheduled_at)
        events: list[Event] = []
        for chunk, found in by_chunk(batch, results):
            request = self._running.get(chunk.request_id)
            if request is None:  # cancelled while the batch ran
                continue
            if chunk.branch is None:
                self._take(request, chunk, [draw for draw in found if isinstance(draw, Sampled)], now, events)
            for scores in found:
                if isinstance(scores, Scores):
                    self._take_scores(request, chunk, scores, now, events)
        return events

    def loads(self) -> list[ClientLoad]:
        """What each client has, and had."""
        return self._clients.loads()

    def queue(self, now: float) -> list[Waiting]:
        """Those who wait, in the order in which they are expected to begin."""
        return self._forecast.waits(
            self._waiting.expected(now),
            openings=0 if self._blocked else self._max_running - len(self._running),
            running=list(self._running.values()),
            prefill_rate=self.pace.prefill_rate(),
            now=now,
        )

    def check_integrity(self) -> None:
        """Raise AssertionError where the state contradicts itself."""
        self.cache.check_integrity()
        waiting = {request.id for request in self._waiting}
        assert len(waiting) == len(self._waiting), "a request waits twice"
        assert waiting | self._running.keys() == self._requests.keys(), "a request is lost"
        assert not waiting & self._running.keys(), "a request waits and runs"
        assert all(request.computed == 0 for request in self._waiting), "a waiting request has computed"
        for request in self._running.values():
            assert self.cache.table(request.id), "a running request has no pages"
            assert len(request.tokens) < request.length_limit, "a request is past the end"
            assert 0 <= request.computed <= len(request.tokens), "more is computed than is known"
            assert request.uncomputed > 0, "a request has nothing left to do"
        for client in self._clients.known():
            own = [request for request in self._requests.values() if request.client is client]
            assert client.requests == len(own), "a client's requests are miscounted"
            assert client.running == sum(request.id in self._running for request in own), "what runs is miscounted"

    # ---- answers ---------------------------------------------------------------------------------

    def _rows(self, now: float) -> list[Request]:
        """The answers that get a row, which depends on whose prompt is the most urgent."""
        prompts = [*self._reading(), *([] if self._blocked else self._waiting.heads())]
        urgent = [r for r in prompts if self._rotation.favours(r.client) and not r.gives_way(now)]
        newcomer = min(urgent, key=lambda request: turn(request, now, "fair"), default=None)
        return self._rotation.rows(newcomer, self._budget.whole_s)

    def _with_pages(self, answers: Iterable[Request], now: float) -> list[Request]:
        """Give answers the pages for their next tokens, and branching requests those for one branch at least.

        Returns those of them that run still when all have theirs.

        Where none is left, what was begun last gives up its own; of a client who is far ahead before others.
        It is never the last request running, for one that has the cache to itself can reach its end.
        """
        answers = list(answers)
        for request in answers:
            scoring = request.scoring
            tokens = len(request.tokens) if scoring is None else scoring.least_tokens()
            while request.id in self._running and not self.cache.grow(request.id, tokens):
                self._preempt(first_to_stop(self._running.values(), now, self._scheduling.policy))
        return [request for request in answers if request.id in self._running]

    def _preempt(self, request: Request) -> None:
        """Take a request's pages; it waits, and computes again what is not found when its turn comes."""
        del self._running[request.id]
        request.client.running -= 1
        request.computed = 0
        if request.scoring is not None:
            request.scoring.restart()
        self.cache.release(request.id)
        self._waiting.push(request)
        self.preemptions += 1

    # ---- prompts ---------------------------------------------------------------------------------

    def _reading(self) -> list[Request]:
        """Running requests whose prompts are not read, or not read again, and those that branch."""
        return [request for request in self._running.values() if not request.answers]

    def _read(self, step: Step, now: float) -> None:
        """Fill what is left of a step with prompts.

        A page that two of them need next is computed for the first; the other keeps its place and finds it
        in a later step. (Nobody owns the computing of a page: it is done by whoever's turn comes first.)
        """
        wanted: set[int] = set()
        for request in self._in_turn(step, now):
            found = request.reach(self.cache.computed(request.id))
            request.cached += found
            self.cached_tokens += found
            if request.branches:
                self._branch(step, request)
                continue
            page = self.cache.next_page(request.id)
            if page in wanted:
                continue
            count = self._room(step, request)
            if count == 0:
                break
            wanted.add(page)
            step.read(request, count)

    def _branch(self, step: Step, request: Request) -> None:
        """Compute as many of a request's continuations as the step has time and rows for, and there are pages for."""
        assert request.scoring is not None, "only what is scored branches"
        rows = min(self._room(step, request), MOST_ROWS - step.scored)
        count = request.scoring.take(request.id, rows, self.cache) if rows > 0 else 0
        if count:
            step.read(request, count)

    def _room(self, step: Step, request: Request) -> int:
        """How many tokens of a prompt the step has time for."""
        whole_s, further_s = self._budget.whole_s, self._budget.further_s
        saved_s = self._rotation.saved_s(request.client)
        if saved_s is None:
            return step.room(request, whole_s if self._rotation.favours(request.client) else further_s)
        return step.room(request, min(further_s, self._answers_s + saved_s), least=0)

    def _in_turn(self, step: Step, now: float) -> Iterator[Request]:
        """Running prompts and, as they are admitted, waiting ones: each when its turn comes, until the rows are full.

        Nobody is admitted before another whose turn came earlier and who still waits for pages.
        """

        def entry(request: Request) -> tuple[Turn, Request]:
            return turn(request, now, self._scheduling.policy, step.charge(request.client)), request

        turns = [entry(request) for request in [*self._reading(), *self._waiting.heads()]]
        heapq.heapify(turns)
        self._blocked = False
        while turns and step.rows < self._max_batch_tokens:
            then, request = heapq.heappop(turns)
            current = entry(request)
            if current[0] > then and turns and turns[0] < current:
                heapq.heappush(turns, current)  # its client was served since
                continue
            if request.id not in self._running:
                self._blocked = self._blocked or not self._admit(request, step, now)
                if self._blocked:
                    continue
                following = self._waiting.next_of(request)
                if following is not None:
                    heapq.heappush(turns, entry(following))
            yield request

    def _admit(self, request: Request, step: Step, now: float) -> bool:
        """Let a waiting request run, if there are pages and not too many run; others may have to make room.

        It gets pages for all of its tokens at once, so that nobody begins to read a prompt and is preempted
        half way by others who begin too: pages run out only where answers grow.
        """
        while not self._take_in(request):
            victim = self._flooding(request)
            if victim is None:
                return False
            step.drop(victim)
            self._preempt(victim)
        self._waiting.remove(request)
        self._admissions += 1
        request.admission, request.admitted = self._admissions, now
        request.client.running += 1
        self._running[request.id] = request
        return True

    def _take_in(self, request: Request) -> bool:
        return len(self._running) < self._max_running and self.cache.admit(
            request.id,
            request.tokens,
            salt=request.salt,
            public_tokens=request.public_tokens,
            share=self._scheduling.prefix_cache,
        )

    def _flooding(self, request: Request) -> Request | None:
        """Whose place a waiting request may take: where its client runs nothing and another, far ahead, several.

        It is the newest of the client who was served most.
        """
        if not self._fair or request.client.running:
            return None
        most = max(self._running.values(), key=lambda other: (other.client.counter, other.admission), default=None)
        if most is None or most.client.running < 2 or most.client.counter - request.client.counter <= SLACK:
            return None
        return most

    # ---- results ---------------------------------------------------------------------------------

    def _take(self, request: Request, chunk: Chunk, draws: Sequence[Sampled], now: float, events: list[Event]) -> None:
        """Take in what was computed and drawn for one request, which may end with it."""
        end = chunk.start + len(chunk.tokens) - chunk.drafts
        self.prefill_tokens += max(0, min(end, request.prompt_length) - chunk.start)
        request.client.charge_prompt(request.reach(end), request.weight)
        reason = None
        for draw in draws:
            self.decode_tokens += 1
            request.client.charge_answer(1, request.weight)
            reason = request.take(draw.token, now)
            if reason != "stop":
                events.append(Token(request.id, draw.token, draw.logprob, draw.top))
            if reason is not None:
                break
        self.drafted_tokens += chunk.drafts
        self.accepted_tokens += max(0, len(draws) - 1)
        # Each draw but the last was a draft that is computed.
        known = min(end + max(0, len(draws) - 1), len(request.tokens))
        request.computed = known
        self.cache.fill(request.id, known)
        if reason is not None:
            events.append(self._finish(request, reason, now))

    def _take_scores(self, request: Request, chunk: Chunk, scores: Scores, now: float, events: list[Event]) -> None:
        """Take in how likely continuations go on; with the last of them the request ends."""
        assert request.scoring is not None, "only what is scored has scores"
        if chunk.branch is None:
            request.scoring.begin(scores.logprobs[0])
            request.answered = now
        else:
            self.prefill_tokens += len(chunk.tokens)
            request.client.charge_prompt(len(chunk.tokens), request.weight)
            request.scoring.advance(chunk.branch, [logprob for (logprob,) in scores.logprobs])
        if not request.scoring.rows_left:
            self._forget(request, now)
            logprobs, counts = (list(found) for found in zip(*request.scoring.results, strict=True))
            events.append(Scored(request.id, logprobs, counts, request.usage(), request.timing(now)))

    def _finish(self, request: Request, reason: FinishReason, now: float) -> Finished:
        """End a request as its caller may expect."""
        self._forget(request, now)
        return Finished(request.id, reason, request.usage(), request.timing(now))

    def _forget(self, request: Request, now: float) -> None:
        """Drop a request and give its pages back."""
        del self._requests[request.id]
        if self._running.pop(request.id, None) is None:
            self._waiting.remove(request)
        else:
            request.client.running -= 1
            self._forecast.left(now - request.admitted)
        self.cache.release(request.id)
        self._clients.leave(request.client, now)
