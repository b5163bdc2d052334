"""Fairlead's own part: a worker, spoken to as the server does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peers.job import Answer, Job, Prompts, run
from fairlead.engine.client import EngineClient
from fairlead.engine.messages import Activations, Load, Sampling, Token
from fairlead.kernels import PAGE_TOKENS

_GREEDY = Sampling(temperature=0)


@contextmanager
def engine(job: Job, activations: Activations = "q16") -> Iterator[Answer]:
    """A worker with KV cache for all streams."""
    longest = max(job.prompt, job.opening + job.answer) + 1
    pages = -(-longest // PAGE_TOKENS)
    load = Load(
        path=job.model,
        context_length=longest,
        kv_tokens=pages * PAGE_TOKENS * max(job.streams),
        threads=job.threads,
        activations=activations,
    )
    with asyncio.Runner() as loop:
        client = loop.run(EngineClient.start(load))

        async def hear(prompt: list[int], tokens: int) -> int:
            generation = client.generate(prompt, _GREEDY, max_tokens=tokens)
            return len([event async for event in generation if isinstance(event, Token)])

        async def hear_all(prompts: Prompts, tokens: int) -> None:
            assert set(await asyncio.gather(*(hear(prompt, tokens) for prompt in prompts))) == {tokens}

        try:
            yield lambda prompts, tokens: loop.run(hear_all(prompts, tokens))
        finally:
            loop.run(client.close())


if __name__ == "__main__":
    run(engine)
