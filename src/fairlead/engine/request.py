"""A request as the engine sees it: tokens known, tokens computed, and when things happened.

Owns one request's state; which pages it has is the KV cache's, when it runs is the scheduler's.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.engine.messages import Generate, Timing, Usage


@dataclass(slots=True, eq=False)
class Request:
    """A request between its acceptance and its terminal event.

    Attributes:
        id: the server's number for it.
        tokens: all that is known: the prompt, then what was drawn.
        prompt_length: how many of `tokens` are the prompt.
        length_limit: with this many tokens it ends, by `max_tokens` or because the context is full.
        stop_tokens: drawing one of these ends it.
        arrived: when it was accepted, in seconds on the engine's clock.
        deadline: when it ends unanswered, or None.
        computed: how many of `tokens` are in the KV cache.
        started: when a step first computed some of it.
        answered: when its first token was drawn.
    """

    id: int
    tokens: list[int]
    prompt_length: int
    length_limit: int
    stop_tokens: frozenset[int]
    arrived: float
    deadline: float | None
    computed: int = 0
    started: float | None = None
    answered: float | None = None

    @classmethod
    def accept(cls, command: Generate, longest: int, now: float) -> Request:
        """The request of a command, where no sequence may have more than `longest` tokens."""
        return cls(
            id=command.id,
            tokens=list(command.tokens),
            prompt_length=len(command.tokens),
            length_limit=min(len(command.tokens) + command.max_tokens, longest),
            stop_tokens=frozenset(command.stop_tokens),
            arrived=now,
            deadline=None if command.timeout_s is None else now + command.timeout_s,
        )

    @property
    def uncomputed(self) -> int:
        """Tokens known but not in the KV cache: 1 while it decodes, more while it reads or resumes."""
        return len(self.tokens) - self.computed

    def usage(self) -> Usage:
        """Its tokens so far."""
        return Usage(self.prompt_length, len(self.tokens) - self.prompt_length)

    def timing(self, now: float) -> Timing:
        """Where its time went, if it ends now; a stage that it never reached took none."""
        started = now if self.started is None else self.started
        answered = now if self.answered is None else self.answered
        return Timing(started - self.arrived, answered - started, now - answered)
