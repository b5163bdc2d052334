"""llama.cpp's part, through the wheel `xllamacpp`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.accuracy import peer
from benchmarks.peers.job import Answer, Job, Prompts, run


@contextmanager
def engine(job: Job) -> Iterator[Answer]:
    """Its server, with a slot for each stream."""
    most = max(job.streams)
    context = max(job.prompt, job.opening + job.answer) + 8
    with (
        peer(Path(job.model), context=context, threads=job.threads, sequences=most) as server,
        ThreadPoolExecutor(most) as callers,
    ):

        def answer(prompts: Prompts, tokens: int) -> None:
            def complete(prompt: list[int]) -> object:
                found = server.complete(prompt, n_predict=tokens, ignore_eos=True, cache_prompt=False)
                return found["tokens_predicted"]

            assert set(callers.map(complete, prompts)) == {tokens}

        yield answer


if __name__ == "__main__":
    run(engine)
