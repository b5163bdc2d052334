"""Who asks for what, and when: traces, and arrivals invented in the manner of real ones.

A trace is a file of JSON lines, one `Ask` each, in any order of time:

    {"at": 0.0, "user": "ann", "prompt_tokens": 800, "answer_tokens": 150, "prefix": "handbook", "prefix_tokens": 600}
    {"after": 0, "think_s": 4.0, "user": "ann", "prompt_tokens": 40, "answer_tokens": 90, "continues": true}

An ask comes either `at` a time or `after` another, named by its line (from 0), and a while of thinking; so a trace
holds open arrivals and closed loops alike (Schroeder et al., "Open Versus Closed", NSDI 2006).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from fairlead.engine.messages import Priority


class Ask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One request of somebody's. All lengths are in tokens, all times in seconds."""

    user: str
    prompt_tokens: int
    """With the shared prefix, without what it continues."""
    answer_tokens: int
    """It ends after so many."""
    at: float = 0.0
    """When it comes, where it is `after` none."""
    after: int | None = None
    """The ask whose end this one waits for, by its place in the trace; an earlier place."""
    think_s: float = 0.0
    """How long after that end it comes."""
    continues: bool = False
    """Whether its prompt begins with all of that ask's prompt and answer, as a chat's does."""
    prefix: str | None = None
    """Prompts of the same prefix begin with the same tokens, whoever's they are."""
    prefix_tokens: int = 0
    """How many."""
    quoted: float = 0.0
    """The share of the answer that is taken word for word from the prompt."""
    priority: Priority = "normal"
    weight: float = 1.0
    """The user's, relative to others'."""
    timeout_s: float | None = None
    patience_s: float | None = None
    """The user leaves after so long, wherever the request is by then."""

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.answer_tokens < 1:
            raise ValueError("prompt_tokens and answer_tokens must be 1 or more")
        if not 0 <= self.prefix_tokens <= self.prompt_tokens:
            raise ValueError("prefix_tokens must lie between 0 and prompt_tokens")
        if self.prefix_tokens and self.prefix is None:
            raise ValueError("prefix_tokens need a prefix")
        if not 0 <= self.quoted <= 1:
            raise ValueError("quoted must lie between 0 and 1")
        if min(self.at, self.think_s) < 0 or self.weight <= 0:
            raise ValueError("at and think_s must not be negative, and weight be above 0")
        if self.continues and self.after is None:
            raise ValueError("continues needs an ask that it is after")


Trace = list[Ask]


def read_trace(path: Path) -> Trace:
    """The trace in a file; ValueError names the line where one is wrong."""
    trace: Trace = []
    for number, line in enumerate(path.read_bytes().splitlines()):
        if not line.strip():
            raise ValueError(f"{path.name}, line {number}: an empty line, and asks are counted by lines")
        try:
            ask = msgspec.json.decode(line, type=Ask)
        except msgspec.MsgspecError as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from None
        if ask.after is not None and not 0 <= ask.after < number:
            raise ValueError(f"{path.name}, line {number}: is after {ask.after}, which is no earlier line")
        trace.append(ask)
    return trace


def written(trace: Iterable[Ask]) -> Iterator[str]:
    """The lines of a trace."""
    return (msgspec.json.encode(ask).decode() for ask in trace)


# ---- invented traffic -----------------------------------------------------------------------------


def heavy_tailed(draw: random.Random, median: float, spread: float = 1.0, most: int = 4000) -> int:
    """A length: log-normal, as prompts and answers of people's chats are, and at most `most`."""
    return max(1, min(most, round(draw.lognormvariate(0.0, spread) * median)))


def poisson(draw: random.Random, rate: float, seconds: float) -> Iterator[float]:
    """Times of arrivals that know nothing of each other, so many a second on average."""
    for at in itertools.accumulate(draw.expovariate(rate) for _ in itertools.repeat(None)):
        if at >= seconds:
            return
        yield at


def chats(draw: random.Random, seconds: float, users: int = 12, think_s: float = 8.0) -> Trace:
    """People who chat: each reads an answer, thinks and asks on, behind the system prompt that all share."""
    trace: Trace = []
    for number in range(users):
        user = f"user-{number}"
        first = Ask(
            user=user,
            at=draw.uniform(0, think_s),
            prompt_tokens=300 + heavy_tailed(draw, 40, most=400),
            answer_tokens=heavy_tailed(draw, 80, 0.7, 300),
            prefix="system",
            prefix_tokens=300,
        )
        trace.append(first)
        for _ in range(round(seconds / (2 * think_s))):
            following = Ask(
                user=user,
                after=len(trace) - 1,
                think_s=draw.expovariate(1 / think_s),
                continues=True,
                prompt_tokens=heavy_tailed(draw, 40, most=400),
                answer_tokens=heavy_tailed(draw, 80, 0.7, 300),
            )
            trace.append(following)
    return trace


def strangers(draw: random.Random, seconds: float, rate: float = 0.5, users: int = 30) -> Trace:
    """Requests out of nowhere, with lengths of all kinds and nothing in common."""
    return [
        Ask(
            user=f"user-{draw.randrange(users)}",
            at=at,
            prompt_tokens=heavy_tailed(draw, 150, 1.2, 3000),
            answer_tokens=heavy_tailed(draw, 80, 0.8, 600),
        )
        for at in poisson(draw, rate, seconds)
    ]


def bursts(draw: random.Random, seconds: float, every_s: float = 15.0, size: int = 8) -> Trace:
    """A class that is told to try it: so many at once behind one system prompt, and again a while later."""
    return [
        Ask(
            user=f"user-{number}",
            at=at + draw.uniform(0, 0.05),
            prompt_tokens=800 + heavy_tailed(draw, 30, most=200),
            answer_tokens=heavy_tailed(draw, 60, 0.6, 300),
            prefix="system",
            prefix_tokens=800,
        )
        for at in itertools.takewhile(lambda at: at < seconds, itertools.count(0.0, every_s))
        for number in range(size)
    ]


def flood(draw: random.Random, seconds: float, size: int = 16) -> Trace:
    """One user has `size` requests under way all the time, another asks something short now and then."""

    def one(after: int | None) -> Ask:
        return Ask(
            user="flood",
            after=after,
            prompt_tokens=heavy_tailed(draw, 300, 0.5, 1500),
            answer_tokens=draw.randint(100, 300),
        )

    turns = max(1, round(seconds / 4))
    trace = [one(None) for _ in range(size)]
    trace += [one(number) for number in range(size * (turns - 1))]
    trace += [
        Ask(user="light", at=at, prompt_tokens=draw.randint(20, 80), answer_tokens=draw.randint(20, 60))
        for at in poisson(draw, 0.2, seconds)
    ]
    return trace


def documents(draw: random.Random, seconds: float, rate: float = 0.1) -> Trace:
    """Chats, and people who have long texts summarised, with quotes, amid them."""
    return chats(draw, seconds, users=6) + [
        Ask(
            user=f"reader-{number % 4}",
            at=at,
            prompt_tokens=draw.randint(1200, 3500),
            answer_tokens=draw.randint(80, 250),
            quoted=0.5,
            patience_s=60.0 if draw.random() < 0.2 else None,
        )
        for number, at in enumerate(poisson(draw, rate, seconds))
    ]


TRAFFIC: Mapping[str, Callable[[random.Random, float], Trace]] = {
    "chats": chats,
    "strangers": strangers,
    "bursts": bursts,
    "flood": flood,
    "documents": documents,
}
"""Kinds of invented traffic: of a source of chance and a duration in seconds."""
