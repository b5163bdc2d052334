"""A request as the engine sees it: tokens known, tokens computed, and when things happened.

Owns one request's state; which pages it has is the KV cache's, when it runs is the scheduler's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fairlead.engine.fairness import Client
from fairlead.engine.lookup import Lookup
from fairlead.engine.messages import Failed, FinishReason, Generate, Priority, Timing, Usage
from fairlead.engine.scoring import Scoring
from fairlead.errors import InvalidRequest, PromptTooLong

RANKS: dict[Priority, int] = {"high": 0, "normal": 1, "low": 2}

PATIENCE_S = 30.0
"""A request of low priority gives way for this long, and is a normal one from then on: nobody waits for ever."""


def refusal(command: Generate, longest: int) -> Failed | None:
    """Why a command cannot be a request, where no sequence may have more than `longest` tokens; None if it can."""
    timed = command.timeout_s is None or command.timeout_s > 0
    if not command.tokens or command.max_tokens < 1 or not timed or not 0 < command.weight < math.inf:
        message = "A request needs a prompt, and max_tokens, timeout_s and weight above 0."
        return Failed(command.id, InvalidRequest.code, message)
    if len(command.tokens) >= longest:
        message = (
            f"The prompt has {len(command.tokens)} tokens; prompt and answer together may have {longest}. "
            "Shorten the prompt, or load the model with a longer context."
        )
        return Failed(command.id, PromptTooLong.code, message)
    return None


@dataclass(slots=True, eq=False)
class Request:
    """A request between its acceptance and its terminal event.

    Attributes:
        id: the server's number for it.
        number: how many were accepted before it.
        client: whose it is.
        weight: its share of the time, relative to others'.
        rank: its priority as a number; the least comes first.
        tokens: all that is known: the prompt, then what was drawn.
        prompt_length: how many of `tokens` are the prompt.
        length_limit: with this many tokens it ends, by `max_tokens` or because the context is full.
        stop_tokens: drawing one of these ends it.
        salt: it shares pages with requests of the same salt,
        public_tokens: and with all others as far as these first tokens reach.
        arrived: when it was accepted, in seconds on the engine's clock.
        deadline: when it ends unanswered, or None.
        computed: how many of `tokens` are in the KV cache.
        read: how much of the prompt was in the KV cache at any time; computing that again is nobody's wish.
        cached: how much of the prompt it found there.
        admitted: when it last got pages.
        admission: how many admissions there were before its last.
        served: the last step in which it had a row for its answer.
        started: when a step first computed some of it.
        answered: when its first token was drawn.
        lookup: guesses how its answer goes on; None before it was asked.
        scoring: its continuations, where it is to be scored and not to be answered.
    """

    id: int
    number: int
    client: Client
    weight: float
    rank: int
    tokens: list[int]
    prompt_length: int
    length_limit: int
    stop_tokens: frozenset[int]
    salt: int
    public_tokens: int
    arrived: float
    deadline: float | None
    computed: int = 0
    read: int = 0
    cached: int = 0
    admitted: float = 0.0
    admission: int = 0
    served: int = 0
    started: float | None = None
    answered: float | None = None
    lookup: Lookup | None = None
    scoring: Scoring | None = None

    @classmethod
    def accept(
        cls,
        command: Generate,
        number: int,
        client: Client,
        longest: int,
        now: float,
        scoring: Scoring | None = None,
    ) -> Request:
        """The request of a command, where no sequence may have more than `longest` tokens."""
        return cls(
            id=command.id,
            number=number,
            client=client,
            weight=command.weight,
            rank=RANKS[command.priority],
            tokens=list(command.tokens),
            prompt_length=len(command.tokens),
            length_limit=min(len(command.tokens) + command.max_tokens, longest),
            stop_tokens=frozenset(command.stop_tokens),
            salt=command.salt,
            public_tokens=command.public_tokens,
            arrived=now,
            deadline=None if command.timeout_s is None else now + command.timeout_s,
            scoring=scoring,
        )

    @property
    def uncomputed(self) -> int:
        """Tokens known but not in the KV cache: 1 while it decodes, more while it reads or resumes.

        Behind a prefix that is read, those of its continuations.
        """
        unread = len(self.tokens) - self.computed
        return unread if unread or self.scoring is None else self.scoring.rows_left

    @property
    def answers(self) -> bool:
        """Whether its next token is one of an answer, drawn one by one."""
        return self.scoring is None and self.uncomputed == 1

    @property
    def branches(self) -> bool:
        """Whether its prefix is read and its continuations are to be computed."""
        return self.scoring is not None and self.computed == len(self.tokens)

    def gives_way(self, now: float) -> bool:
        """Whether it lets everybody go before it."""
        return self.rank == RANKS["low"] and now - self.arrived < PATIENCE_S

    def reach(self, position: int) -> int:
        """Note that the tokens before `position` are in the KV cache: how many of the prompt for the first time."""
        self.computed = position
        new = min(position, self.prompt_length) - self.read
        if new <= 0:
            return 0
        self.read += new
        return new

    def take(self, token: int, now: float) -> FinishReason | None:
        """Add a drawn token to its answer, unless that ends it; why it ends here, if it does."""
        if self.answered is None:
            self.answered = now
        if token in self.stop_tokens:
            return "stop"
        self.tokens.append(token)
        return "length" if len(self.tokens) >= self.length_limit else None

    def usage(self) -> Usage:
        """Its tokens so far."""
        further = 0 if self.scoring is None else self.scoring.tokens
        return Usage(self.prompt_length + further, len(self.tokens) - self.prompt_length, self.cached)

    def timing(self, now: float) -> Timing:
        """Where its time went, if it ends now; a stage that it never reached took none."""
        started = now if self.started is None else self.started
        answered = now if self.answered is None else self.answered
        return Timing(started - self.arrived, answered - started, now - answered)
