"""Scenarios for any server: what several people feel who use it at once."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.serving.client import Answer, Stream
from benchmarks.serving.findings import Finding
from benchmarks.serving.servers import Server
from benchmarks.serving.texts import chat, words

LONG_WORDS, SYSTEM_WORDS = 1500, 600
FLOOD = 16
"""Requests that one user has under way at once."""
PATIENCE_S = 15.0
"""Nothing is asked once more when so much time has gone by: on some servers it takes that long."""


def ask(server: Server, user: str, messages: object, max_tokens: int, seed: int = 0) -> Stream:
    """A chat completion, on its way."""
    body = {"messages": messages, "max_tokens": max_tokens, "seed": seed, **server.endless(max_tokens)}
    return Stream(server.v1, user, body)


async def alone(server: Server, user: str, messages: object, max_tokens: int) -> Answer:
    """One request with nothing else under way."""
    return await ask(server, user, messages, max_tokens).end()


async def prompts_beside_streams(server: Server, draw: random.Random) -> list[Finding]:
    """Four streams run, and two long prompts arrive together: up to three times over, of which the median counts.

    A gap is one between texts: where weights are random, one token in some hundred is part of a character and makes a
    gap of two steps.
    """
    idle = min([(await alone(server, "early", chat(words(draw, LONG_WORDS)), 4)).ttft for _ in range(2)])
    began, rounds = time.monotonic(), list[Arrival]()
    while not rounds or (len(rounds) < 3 and time.monotonic() - began < PATIENCE_S):
        rounds.append(await Arrival.watched(server, draw, streams=4, prompts=2))
    usual = statistics.median(each.usual_s for each in rounds)
    largest = statistics.median(each.largest_s for each in rounds)
    newcomer = statistics.median(each.newcomer_s for each in rounds)
    return [
        Finding("usual gap", usual * 1e3, "ms"),
        Finding("largest gap while prompts are read", largest * 1e3, "ms", limit=max(60.0, 3e3 * usual)),
        Finding("largest gap to usual", largest / usual),
        Finding("largest gap of all rounds", max(each.largest_s for each in rounds) * 1e3, "ms"),
        Finding("first token alone", idle * 1e3, "ms"),
        Finding("slowest newcomer's first token, per prompt", newcomer * 1e3, "ms"),
        Finding("the same to alone", newcomer / idle, limit=1.6),
    ]


@dataclass(frozen=True, slots=True)
class Arrival:
    """What some running streams and some prompts that came together felt, in seconds."""

    usual_s: float
    """The streams' gap before."""
    largest_s: float
    """Their largest while the prompts were read."""
    newcomer_s: float
    """The slowest newcomer's first token, divided by the number of prompts."""

    @classmethod
    async def watched(cls, server: Server, draw: random.Random, streams: int, prompts: int) -> Arrival:
        """Let it happen."""
        running = [ask(server, f"reader-{number}", chat(words(draw, 30)), 1900) for number in range(streams)]
        await asyncio.gather(*(stream.until(40) for stream in running))
        await asyncio.sleep(1.0)
        arrived = time.monotonic()
        newcomers = [ask(server, f"newcomer-{number}", chat(words(draw, LONG_WORDS)), 4) for number in range(prompts)]
        found = [await newcomer.end() for newcomer in newcomers]
        answered = time.monotonic()
        readers = [await stream.leave() for stream in running]
        if not all(reader.left for reader in readers):
            raise RuntimeError("the streams ended before the prompts were read")
        usual = statistics.median(gap for reader in readers for at, gap in _gaps(reader) if at < arrived)
        beside = [gap for reader in readers for at, gap in _gaps(reader) if at >= arrived]
        # Who has had nothing since the prompts came has had no gap that ended, and the longest of all.
        pending = [answered - reader.times[-1] for reader in readers]
        return cls(usual, max(*beside, *pending), max(newcomer.ttft for newcomer in found) / prompts)


def _gaps(answer: Answer) -> Sequence[tuple[float, float]]:
    """When each gap ended, and how long it was."""
    return list(zip(answer.times[1:], answer.gaps, strict=True))


async def one_system_prompt(server: Server, draw: random.Random, users: int = 8) -> list[Finding]:
    """Users come at once behind the same long system prompt, each with a short question."""
    cold = [(await alone(server, "early", chat(words(draw, 12), words(draw, SYSTEM_WORDS)), 16)).ttft for _ in range(2)]
    system = words(draw, SYSTEM_WORDS)
    # What a conversation has without its system prompt: the template, and a question of as many words.
    own = _prompt_tokens(await alone(server, "early", chat(words(draw, 12), "a"), 2))
    together = [ask(server, f"user-{number}", chat(words(draw, 12), system), 16) for number in range(users)]
    found = [await stream.end() for stream in together]
    slowest = max(answer.ttft for answer in found)
    prompts = sum(_prompt_tokens(answer) for answer in found)
    computed = prompts - sum(_cached_tokens(answer) for answer in found)
    distinct = prompts - (users - 1) * (prompts / users - own)
    return [
        Finding("first token of one cold request", min(cold) * 1e3, "ms"),
        Finding("slowest first token of eight", slowest * 1e3, "ms"),
        Finding("the same to one cold request", slowest / min(cold), limit=1.5),
        Finding("prompt tokens in all", prompts),
        Finding("distinct, about", distinct),
        Finding("computed", computed, limit=1.05 * distinct),
    ]


def _prompt_tokens(answer: Answer) -> int:
    return int(answer.usage["prompt_tokens"])


def _cached_tokens(answer: Answer) -> int:
    return int((answer.usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0))


async def light_beside_flood(server: Server, draw: random.Random) -> list[Finding]:
    """One user has many requests under way; another asks something short now and then."""
    single = [await alone(server, "light", chat(words(draw, 25)), 48) for _ in range(3)]
    flood = Flood(server, draw)
    await asyncio.sleep(2.0)
    began, beside = time.monotonic(), list[Answer]()
    while len(beside) < 5 and time.monotonic() - began < PATIENCE_S:
        beside.append(await alone(server, "light", chat(words(draw, 25)), 48))
        await asyncio.sleep(0.2)
    await flood.stop()
    first_alone = statistics.median(answer.ttft for answer in single)
    rate_alone = statistics.median(answer.rate for answer in single)
    slowest = max(answer.ttft for answer in beside)
    rate = statistics.median(answer.rate for answer in beside)
    return [
        Finding("light user's first token alone", first_alone * 1e3, "ms"),
        Finding("slowest beside the flood", slowest * 1e3, "ms", limit=max(150.0, 2e3 * first_alone)),
        Finding("light user's rate alone", rate_alone, "/s"),
        Finding("rate beside the flood, of alone", rate / rate_alone, limit=0.35, at_least=True),
    ]


class Flood:
    """One user's requests, a new one for each that ends, until stopped."""

    def __init__(self, server: Server, draw: random.Random, size: int = FLOOD, max_tokens: int = 200) -> None:
        self.answers: list[Answer] = []
        self._server = server
        self._max_tokens = max_tokens
        self._texts = (words(draw, 100) for _ in itertools.count())
        self._streams: set[Stream] = set()
        self._tasks = [asyncio.create_task(self._go_on()) for _ in range(size)]

    async def _go_on(self) -> None:
        while True:
            stream = ask(self._server, "flood", chat(next(self._texts)), self._max_tokens)
            self._streams.add(stream)
            self.answers.append(await stream.end())
            self._streams.discard(stream)

    async def stop(self) -> list[Answer]:
        """All answers, those cut off too."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.answers += [await stream.leave() for stream in self._streams]
        for answer in self.answers:
            if answer.error is not None:
                raise RuntimeError(f"a request of the flood failed: {answer.error}")
        return self.answers
