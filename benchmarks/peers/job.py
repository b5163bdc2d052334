"""One engine's part of the comparison: a job on the command line, rates as JSON on the last line of stdout.

Needs nothing but the standard library, so that an engine may live in an environment of its own. Whatever the engine, a
rate is tokens over the wall clock, from the prompts' arrival to the end of the last answer.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

Prompts = list[list[int]]
Answer = Callable[[Prompts, int], None]
"""Answers all prompts side by side, each with exactly so many tokens, and returns when the last is done."""


@dataclass(frozen=True)
class Job:
    """What every engine is to do.

    Attributes:
        model: path of a GGUF file.
        threads: that it may compute with.
        vocabulary: prompts are drawn from token ids below this.
        prompt: tokens of the prompt whose reading is timed.
        streams: numbers of answers that are timed side by side, behind prompts of `opening` tokens.
        opening: see above.
        answer: tokens of each of these answers.
        rounds: how often each is timed; the best counts, and one more before them does not.
    """

    model: str
    threads: int
    vocabulary: int
    prompt: int = 512
    streams: tuple[int, ...] = (1, 16)
    opening: int = 8
    answer: int = 64
    rounds: int = 2

    @property
    def works(self) -> list[str]:
        """The names of all rates."""
        return [f"prompt of {self.prompt}", *(f"{count} stream{'s'[: count > 1]}" for count in self.streams)]


def rates(job: Job, answer: Answer) -> dict[str, float]:
    """Tokens/s by the names of `job.works`."""
    draw = random.Random(0)  # the same prompts for every engine, and none of them twice

    def best(sequences: int, length: int, tokens: int, counted: int) -> float:
        times = []
        for _ in range(1 + job.rounds):
            prompts = [[draw.randrange(job.vocabulary) for _ in range(length)] for _ in range(sequences)]
            began = time.perf_counter()
            answer(prompts, tokens)
            times.append(time.perf_counter() - began)
        return counted / min(times[1:])

    found = [best(1, job.prompt, 1, job.prompt)]
    found += [best(count, job.opening, job.answer, count * job.answer) for count in job.streams]
    return dict(zip(job.works, found, strict=True))


def run(engine: Callable[[Job], AbstractContextManager[Answer]]) -> None:
    """Do the job of the command line with an engine; where its package is not installed, say so instead."""
    given = json.loads(sys.argv[1])
    job = Job(**given | {"streams": tuple(given["streams"])})
    try:
        with engine(job) as answer:
            outcome: dict[str, object] = {"tokens_per_s": rates(job, answer)}
    except ImportError as error:
        outcome = {"missing": str(error)}
    print(json.dumps(outcome))


def encoded(job: Job) -> str:
    """The job as `run` reads it."""
    return json.dumps(asdict(job))
