"""Scenarios for Fairlead alone: what its fairness, its prefix cache, its HTTP and its Python cost."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence

from benchmarks.serving.client import Stream
from benchmarks.serving.findings import Finding
from benchmarks.serving.servers import CONTEXT, SLOTS, Server, fairlead
from benchmarks.serving.shared_time import Flood, alone, ask
from benchmarks.serving.texts import chat, words
from benchmarks.serving.turns import Setup, by_turns
from benchmarks.simulation.machine import Clock, SimulatedRunner
from benchmarks.simulation.presets import SMALL
from fairlead.engine.client import EngineClient
from fairlead.engine.engine import Engine
from fairlead.engine.kv_cache import KVCache
from fairlead.engine.messages import Generate, Load, Sampling, Scheduling, Token
from fairlead.engine.runner import Chunk, Sampled
from fairlead.engine.scheduler import Scheduler
from fairlead.kernels import PAGE_TOKENS

GREEDY = Sampling(temperature=0)
STEPS = 100
"""In a part, of several, the median of which counts."""


async def throughput_of_fairness(setup: Setup) -> list[Finding]:
    """A flood and a light user: tokens/s of both together, fairly and first come, first served."""

    async def window(server: Server, draw: random.Random) -> float:
        flood = Flood(server, draw)
        await asyncio.sleep(0.5)
        began, before = time.monotonic(), await server.metrics()
        while time.monotonic() - began < 2.5:
            await alone(server, "light", chat(words(draw, 25)), 32)
            await asyncio.sleep(0.5)
        after, spent = await server.metrics(), time.monotonic() - began
        await flood.stop()
        drawn = "fairlead_engine_decode_tokens_total"
        return (after[drawn] - before[drawn]) / spent

    async with setup.pair({"policy": "fair"}, {"policy": "fcfs"}) as (fair, fcfs):
        draw, again = random.Random(1), random.Random(1)
        found = await by_turns(lambda: window(fair, draw), lambda: window(fcfs, again), setup.seconds)
    return [
        Finding("first come, first served", found.other, "tok/s"),
        Finding("fair", found.one, "tok/s"),
        Finding("fair to first come, first served", found.ratio, limit=0.97, at_least=True),
        Finding("uncertainty of this ratio", found.uncertainty),
    ]


async def nothing_shared(setup: Setup) -> list[Finding]:
    """Eight prompts that have nothing in common, with the prefix cache and without."""

    async def round_of(server: Server, draw: random.Random) -> float:
        began = time.monotonic()
        await _whole([ask(server, f"user-{number}", chat(words(draw, 120)), 24) for number in range(8)])
        return time.monotonic() - began

    async with setup.pair({"prefix_cache": True}, {"prefix_cache": False}) as (cached, plain):
        draw, again = random.Random(2), random.Random(2)
        found = await by_turns(lambda: round_of(cached, draw), lambda: round_of(plain, again), setup.seconds)
    return [
        Finding("eight requests with the cache", found.one * 1e3, "ms"),
        Finding("the same without", found.other * 1e3, "ms"),
        Finding("what the cache costs", (found.ratio - 1) * 100, "%", limit=1.0),
        Finding("uncertainty of this", found.uncertainty * 100, "%"),
    ]


async def cost_of_http(setup: Setup) -> list[Finding]:
    """Sixteen streams over HTTP, and the same from a worker without a server before it."""
    tokens = 96
    prompts = [list(range(100 + 40 * number, 130 + 40 * number)) for number in range(SLOTS)]

    async def over_http(server: Server) -> float:
        began = time.monotonic()
        common = {"max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        streams = (Stream(server.v1, f"user-{prompt[0]}", {"prompt": prompt, **common}) for prompt in prompts)
        await _whole(list(streams))
        return SLOTS * tokens / (time.monotonic() - began)

    async def straight(engine: EngineClient) -> float:
        async def one(prompt: list[int]) -> int:
            generation = engine.generate(prompt, GREEDY, max_tokens=tokens, client=prompt[0])
            return sum([isinstance(event, Token) async for event in generation])

        began = time.monotonic()
        return sum(await asyncio.gather(*map(one, prompts))) / (time.monotonic() - began)

    load = Load(
        path=str(setup.model),
        context_length=CONTEXT,
        kv_tokens=CONTEXT * SLOTS,
        threads=setup.threads,
        scheduling=Scheduling(lookup=False),
    )
    engine = await EngineClient.start(load)
    try:
        async with fairlead(setup.model, setup.threads, {"lookup": False}) as server:
            found = await by_turns(lambda: over_http(server), lambda: straight(engine), setup.seconds)
    finally:
        await engine.close(force=True)
    return [
        Finding("sixteen streams from a worker", found.other, "tok/s"),
        Finding("over HTTP", found.one, "tok/s"),
        Finding("what HTTP costs", (1 - found.ratio) * 100, "%", limit=2.0),
        Finding("uncertainty of this", found.uncertainty * 100, "%"),
    ]


async def _whole(streams: Sequence[Stream]) -> None:
    """Wait for streams to end; RuntimeError where one fails."""
    for stream in streams:
        answer = await stream.end()
        if answer.error is not None:
            raise RuntimeError(answer.error)


class _TimedRunner(SimulatedRunner):
    """Knows how much of the time it took itself."""

    spent_s = 0.0

    def forward(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        began = time.perf_counter()
        try:
            return super().forward(chunks)
        finally:
            self.spent_s += time.perf_counter() - began


async def python_of_a_step(_setup: Setup) -> list[Finding]:
    """The scheduler and the engine's loop without any arithmetic: what a step with 16 answers takes of Python."""
    clock = Clock()
    runner = _TimedRunner(SMALL, clock, page_count=CONTEXT * SLOTS // PAGE_TOKENS)
    scheduler = Scheduler(
        KVCache(runner.page_count, runner.page_size), context_length=CONTEXT, max_batch_tokens=runner.max_batch_tokens
    )
    engine = Engine(scheduler, runner, clock)
    draw = random.Random(0)
    for number in range(SLOTS):
        prompt, runner.answers[number] = (draw.choices(range(runner.vocab_size), k=count) for count in (100, CONTEXT))
        engine.add(Generate(id=number, tokens=prompt, sampling=GREEDY, max_tokens=CONTEXT, client=number % 4))
    while scheduler.prefill_tokens < SLOTS * 100:
        engine.step()
    parts: list[float] = []
    for _ in range(12):
        began, forward = time.perf_counter(), runner.spent_s
        for _ in range(STEPS):
            engine.step()
        parts.append((time.perf_counter() - began - (runner.spent_s - forward)) / STEPS)
    return [Finding("Python in a step of 16 answers", statistics.median(parts) * 1e3, "ms", limit=0.3)]
