"""Times single steps of a model on this machine, and prints the `Machine` that `benchmarks/simulate.py` takes.

    python -m benchmarks.steps MODEL.gguf --name here > here.json
    python -m benchmarks.simulate --machine here.json trace.jsonl

Each figure is the median over at least five steps. What the layers take for a number of rows is measured with one chunk
at the beginning of its sequence; what a row pays for its context, and what drawing costs, with many and with none.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.simulation.machine import Machine
from fairlead.engine.messages import Load, Sampling
from fairlead.engine.runner import Chunk
from fairlead.kernels import PAGE_TOKENS
from fairlead.kernels.loading import load_decoder
from fairlead.kernels.native_runner import NativeRunner

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
MANY = 16
"""Sequences that decode side by side where the cost of drawing is measured."""
LEAST_STEPS = 5


class Steps:
    """Steps of a runner over random tokens.

    Args:
        runner: with a KV cache for `MANY` sequences of `context` + 512 tokens.
        context: tokens of a long context.
        seconds: the longest that one figure may take, once it has its least steps.
    """

    def __init__(self, runner: NativeRunner, context: int, seconds: float) -> None:
        self._runner = runner
        self._context = context
        self._seconds = seconds
        length = context + ROWS[-1]
        self._tokens = np.random.default_rng(0).integers(0, runner.vocab_size, length).tolist()
        pages = -(-length // PAGE_TOKENS)
        self._pages = [range(number * pages, (number + 1) * pages) for number in range(MANY)]
        for number in range(MANY):
            runner.open(number, Sampling(), self._tokens[:1], 0, [])

    def fit(self, name: str) -> Machine:
        """The machine that these steps show."""
        short = {rows: self._time([self._chunk(0, 0, rows)]) for rows in ROWS}
        deep = {rows: self._time([self._chunk(0, self._context, rows)]) for rows in (1, ROWS[-1])}
        # Over a long context each row attends to so many tokens more; a row alone also has to have them read.
        least, most = deep[1] - short[1], deep[ROWS[-1]] - short[ROWS[-1]]
        pair_s = max(0.0, most - least) / (self._context * (ROWS[-1] - 1))
        context_s = max(0.0, least / self._context - pair_s)
        one, many = self._drawing(1), self._drawing(MANY)
        sampled_s = max(0.0, (many - one) / (MANY - 1))
        attention = {rows: rows * (context_s + pair_s * rows / 2) for rows in ROWS}
        layers, most_s = [], 0.0
        for rows in ROWS:
            most_s = max(most_s, short[rows] - attention[rows])
            layers.append((rows, float(f"{most_s:.3g}")))
        figures = {
            "head_s": max(0.0, one - sampled_s),
            "sampled_s": sampled_s,
            "context_s": context_s,
            "pair_s": pair_s,
        }
        return Machine(name=name, rows=layers, **{key: float(f"{value:.3g}") for key, value in figures.items()})

    def _drawing(self, count: int) -> float:
        """What it takes to draw for so many sequences, beside what their layers take."""
        drawing, silent = (
            self._time([self._chunk(number, 0, 1, samples=samples) for number in range(count)])
            for samples in (True, False)
        )
        return max(0.0, drawing - silent)

    def _chunk(self, number: int, start: int, count: int, *, samples: bool = False) -> Chunk:
        return Chunk(number, self._tokens[start : start + count], start, self._pages[number], samples)

    def _time(self, chunks: Sequence[Chunk]) -> float:
        """The median of some steps of these chunks."""
        times: list[float] = []
        while len(times) < LEAST_STEPS or (sum(times) < self._seconds and len(times) < 200):
            began = time.perf_counter()
            self._runner.forward(chunks)
            times.append(time.perf_counter() - began)
        return statistics.median(times)


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", help="the machine's; the file's, unless given")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as processors are given to this process")
    parser.add_argument("--context", type=int, default=1024, help="tokens of the long context")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each figure, where five steps take less")
    arguments = parser.parse_args()
    length = -(-(arguments.context + ROWS[-1]) // PAGE_TOKENS) * PAGE_TOKENS
    command = Load(
        path=str(arguments.model),
        context_length=length,
        kv_tokens=length * MANY,
        threads=arguments.threads,
        max_batch_tokens=ROWS[-1],
    )
    runner, loaded = load_decoder(command, lambda _done, _total: None)
    machine = Steps(runner, arguments.context, arguments.seconds).fit(arguments.name or arguments.model.stem)
    print(f"{loaded.instruction_set}, {loaded.threads} threads", file=sys.stderr)
    json.dump(msgspec.to_builtins(machine), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
