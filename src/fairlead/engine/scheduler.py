"""What each step computes: a pure state machine over requests and pages.

There is no prefill phase and no decode phase. A request has tokens known and tokens computed, and a step
computes some of the difference for some requests: one token where an answer runs, a chunk where a prompt is
read or a preempted request is resumed. (The idea is that of vLLM's v1 scheduler; chunked prefill is Agrawal
et al., "Sarathi-Serve", OSDI 2024.)

Owns the order of requests and their ends; knows no clock, no I/O and no arrays. Whoever drives it says what
time it is.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence

from fairlead.engine.kv_cache import KVCache
from fairlead.engine.messages import Event, Failed, Finished, FinishReason, Generate, Token
from fairlead.engine.request import Request
from fairlead.engine.runner import Chunk, Sampled
from fairlead.errors import InvalidRequest, PromptTooLong

Batch = list[Chunk]


class Scheduler:
    """Requests waiting and running, and the next batch.

    A batch from `schedule` goes to the runner and then, with what was drawn, to `update`, before the next
    `schedule`. Requests may be added and cancelled at any time between. Every request that `add` accepts
    gets exactly one `Finished` or `Failed`, from whichever method ends it.

    Args:
        cache: the pages; nobody else deals them.
        context_length: the longest sequence, prompt and answer together, in tokens.
        max_batch_tokens: most tokens of a batch, and so most requests that run at once.
    """

    def __init__(self, cache: KVCache, *, context_length: int, max_batch_tokens: int) -> None:
        self.cache = cache
        # A request that has all pages to itself must be able to reach its end.
        self._longest = min(context_length, cache.capacity)
        self._max_batch_tokens = max_batch_tokens
        self._requests: dict[int, Request] = {}
        self._waiting: deque[Request] = deque()
        self._running: dict[int, Request] = {}  # in order of admission
        self._deadlines: list[tuple[float, int]] = []  # a heap; may hold requests that have ended since
        self.prefill_tokens = 0
        self.decode_tokens = 0

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

    def add(self, command: Generate, now: float) -> list[Event]:
        """Queue a request, or refuse it with a `Failed`. ValueError if its id is in use."""
        if command.id in self._requests:
            raise ValueError(f"request {command.id} is there already")
        timed = command.timeout_s is None or command.timeout_s > 0
        if not command.tokens or command.max_tokens < 1 or not timed:
            message = "A request needs a prompt, and max_tokens and timeout_s above 0."
            return [Failed(command.id, InvalidRequest.code, message)]
        if len(command.tokens) >= self._longest:
            message = (
                f"The prompt has {len(command.tokens)} tokens; prompt and answer together may have "
                f"{self._longest}. Shorten the prompt, or load the model with a longer context."
            )
            return [Failed(command.id, PromptTooLong.code, message)]
        request = Request.accept(command, self._longest, now)
        self._requests[request.id] = request
        self._waiting.append(request)
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

    def fail(self, request_ids: Iterable[int], code: str, message: str) -> list[Event]:
        """End requests that could not be computed."""
        events: list[Event] = []
        for request_id in request_ids:
            request = self._requests.get(request_id)
            if request is not None:
                self._forget(request)
                events.append(Failed(request_id, code, message))
        return events

    def schedule(self, now: float) -> Batch:
        """The next batch: the token of every running answer, then as much of the prompts as fits."""
        batch: Batch = []
        prompts: list[Request] = []
        for request in list(self._running.values()):
            if request.id not in self._running:
                break  # preempted for an older one, and with it all that were admitted after it
            if request.uncomputed > 1:
                prompts.append(request)
            elif self._make_room(request):
                batch.append(self._chunk(request, 1, now))
        room = self._max_batch_tokens - len(batch)
        for request in prompts:
            if room == 0:
                break
            batch.append(self._chunk(request, min(room, request.uncomputed), now))
            room -= len(batch[-1].tokens)
        while room > 0 and (admitted := self._admit()) is not None:
            batch.append(self._chunk(admitted, min(room, admitted.uncomputed), now))
            room -= len(batch[-1].tokens)
        return batch

    def update(self, batch: Batch, sampled: Sequence[Sampled], now: float) -> list[Event]:
        """Take in what a batch computed: one of `sampled` for each chunk that samples, in order."""
        events: list[Event] = []
        draws = iter(sampled)
        for chunk in batch:
            draw = next(draws) if chunk.samples else None
            request = self._running.get(chunk.request_id)
            if request is None:
                continue  # cancelled while the batch ran
            end = chunk.start + len(chunk.tokens)
            self.prefill_tokens += max(0, min(end, request.prompt_length) - chunk.start)
            request.computed = end
            if draw is not None:
                self._take(request, draw, now, events)
        return events

    def check_integrity(self) -> None:
        """Raise AssertionError where the state contradicts itself."""
        self.cache.check_integrity()
        waiting = {request.id for request in self._waiting}
        assert len(waiting) == len(self._waiting), "a request waits twice"
        assert waiting | self._running.keys() == self._requests.keys(), "a request is lost"
        assert not waiting & self._running.keys(), "a request waits and runs"
        assert all(request.computed == 0 for request in self._waiting), "a waiting request has computed"
        held = sum(len(self.cache.table(request_id)) for request_id in self._running)
        assert held + self.cache.free_pages == self.cache.page_count, "pages belong to no running request"
        for request in self._running.values():
            assert 0 <= request.computed < len(request.tokens) < request.length_limit, "a request is past the end"

    def _take(self, request: Request, draw: Sampled, now: float, events: list[Event]) -> None:
        """Add a drawn token to its request, which may end with it."""
        self.decode_tokens += 1
        if request.answered is None:
            request.answered = now
        if draw.token in request.stop_tokens:
            events.append(self._finish(request, "stop", now))
            return
        request.tokens.append(draw.token)
        events.append(Token(request.id, draw.token, draw.logprob, draw.top))
        if len(request.tokens) >= request.length_limit:
            events.append(self._finish(request, "length", now))

    def _admit(self) -> Request | None:
        """Let the first that waits run, if there are pages.

        It gets pages for all of its tokens at once, so that nobody begins to read a prompt and is preempted
        half way by others who begin too: pages run out only where answers grow. No more run than a batch has
        tokens, because whoever is admitted, and everybody who ran before, has one in that batch.
        """
        if not self._waiting:
            return None
        request = self._waiting[0]
        if not self.cache.grow(request.id, len(request.tokens)):
            return None
        self._waiting.popleft()
        self._running[request.id] = request
        return request

    def _make_room(self, request: Request) -> bool:
        """Give a running request the page for its last token; False where it had to be preempted itself."""
        while not self.cache.grow(request.id, len(request.tokens)):
            if self._preempt() is request:
                return False
        return True

    def _preempt(self) -> Request:
        """Take the pages of the request admitted last; it is the next to come, and computes again."""
        _, request = self._running.popitem()
        self.cache.release(request.id)
        request.computed = 0
        self._waiting.appendleft(request)
        return request

    def _chunk(self, request: Request, count: int, now: float) -> Chunk:
        """The next `count` tokens of a request."""
        if request.started is None:
            request.started = now
        start, end = request.computed, request.computed + count
        tokens = request.tokens[start:end]
        return Chunk(request.id, tokens, start, self.cache.table(request.id), end == len(request.tokens))

    def _finish(self, request: Request, reason: FinishReason, now: float) -> Finished:
        """End a request as its caller may expect."""
        self._forget(request)
        return Finished(request.id, reason, request.usage(), request.timing(now))

    def _forget(self, request: Request) -> None:
        """Drop a request and give its pages back."""
        del self._requests[request.id]
        if self._running.pop(request.id, None) is None:
            self._waiting.remove(request)
        self.cache.release(request.id)
