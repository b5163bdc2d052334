"""The answer that comes in: what is told of it, and what of its text was not drawn yet. Knows nothing of widgets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from fairlead.answer_info import Queued, Text
from fairlead.chat_client import Lost, Told
from fairlead.chat_info import ChatAnswer, ChatMessage, ContextTold, Preparing, Source, Started
from fairlead.visible import safe

AWAY: Final = "The server is away; looking for it again"
_CUT: Final = {"length": "cut at its longest", "cancelled": "stopped", "timeout": "out of time", "error": "it failed"}
_COUNTS: Final = 4
"""So many of the last counts make the rate, so that it falls and rises with what others do."""
_SILENT_S: Final = 3.0
"""From when on it is told how long nothing has come."""


class Answering:
    """An answer's state, from the question on.

    Attributes:
        started: once the question is stored.
        ended: how it ended, once it has.
        away: while the server is looked for again.
        text: all of it that has come, control characters made visible.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.started: Started | None = None
        self.ended: ChatAnswer | None = None
        self._clock = clock
        self._asked = clock()
        self._first: float | None = None
        self._last = 0.0
        self._counts: deque[tuple[float, int]] = deque()
        self._waits = "asking"
        self.away = False
        self._pieces: list[str] = []
        self._drawn = 0

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def take(self, told: Told) -> None:
        """Something that the stream told."""
        self.away = isinstance(told, Lost)
        match told:
            case Started():
                self.started, self._waits = told, "reading the question"
            case Preparing(doing):
                self._waits = doing
            case Queued(position, wait_ms):
                self._waits = f"{position} before you" + (f", about {wait_ms / 1000:.0f} s" if wait_ms else "")
            case Text(text):
                self._last = self._clock()
                if self._first is None:
                    self._first = self._last
                    self._counts.append((self._first, 1))
                self._pieces.append(safe(text))
            case ChatAnswer():
                self.ended = told

    def count(self, tokens: int) -> None:
        """How many tokens the server has drawn; a piece of text may be several, or less than one."""
        if self._first is not None:
            self._counts.append((self._clock(), tokens))
            if len(self._counts) > _COUNTS:
                self._counts.popleft()

    def undrawn(self) -> str:
        """What has come since this was asked before, in one piece: a screen that lags draws fewer, longer ones."""
        piece = "".join(self._pieces[self._drawn :])
        self._drawn = len(self._pieces)
        return piece

    def line(self) -> str:
        """What there is to say of it now: its place in the queue, or its speed."""
        if self.ended is not None:
            return ended_line(self.ended)
        if self.away:
            return f"{AWAY} …"
        if self._first is None:
            return f"Waiting: {self._waits} ({self._clock() - self._asked:.0f} s)"
        line = f"First token after {self._first - self._asked:.2f} s"
        (began, few), (now, many) = self._counts[0], self._counts[-1]
        if now > began:
            line += f" · {(many - few) / (now - began):.0f} tokens/s"
        if (silent := self._clock() - self._last) > _SILENT_S:
            line += f" · nothing for {silent:.0f} s"
        return line


def ended_line(answer: ChatAnswer) -> str:
    """How an answer went, in the server's own figures; what matters most first, as a narrow terminal cuts the end."""
    parts = [] if answer.model is None else [answer.model]
    if answer.finish_reason in _CUT:
        parts.append(_CUT[answer.finish_reason])
    parts.append(f"{answer.usage.completion_tokens} tokens")
    if (rate := answer.timing.tokens_per_second) is not None:
        parts.append(f"{rate:.{0 if rate >= 100 else 1}f} tokens/s")
    if answer.timing.ttft_ms is not None:
        parts.append(f"first token after {answer.timing.ttft_ms / 1000:.2f} s")
    return safe(" · ".join(parts))


def cut_line(message: ChatMessage) -> str:
    """Why a stored answer is not whole; empty where it is."""
    if message.error is not None:
        return safe(f"It failed: {message.error.message}")
    if message.state == "cut_off":
        return "The server ended before this answer did; this is what was stored of it."
    return _CUT.get(message.finish_reason or "", "").capitalize()


def remarks(context: ContextTold, sources: list[Source], notes: list[str]) -> str:
    """What the model was not given, and what it was given of files; empty where there is nothing to say."""
    lines = []
    if context.dropped_messages:
        lines.append(f"{context.dropped_messages} older messages did not fit and were left out.")
    if context.summarized_messages:
        lines.append(f"A summary stood for {context.summarized_messages} older messages.")
    if context.dropped_passages:
        lines.append(f"Passages chosen for {context.dropped_passages} earlier questions were left out.")
    lines += notes
    lines += [f"[{number}] {_place(source)}" for number, source in enumerate(sources, 1)]
    return safe("\n".join(lines))


def _place(source: Source) -> str:
    if source.page is not None:
        return f"{source.name}, page {source.page}"
    if source.line_from is not None:
        return f"{source.name}, lines {source.line_from} to {source.line_to}"
    return f"{source.name}, whole" if not source.text else source.name
