"""Times the engine on one model file: prefill and decode tokens/s at several batch sizes.

    python benchmarks/engine.py MODEL.gguf --threads 2 --context 128 --prompt 512 > engine.json

Prefill: so many prompts are read side by side, in steps of at most --rows tokens. Decode: so many sequences that hold
--context tokens each get one token a step, drawn greedily. Each figure takes at most --seconds, or one step. Prompts
are random token ids, which cost what others do. `--scheduler` times whole requests through the engine as well: all of
them come at once, and the scheduler decides. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from fairlead.engine.engine import Engine
from fairlead.engine.kv_cache import KVCache
from fairlead.engine.messages import Failed, Generate, Load, Sampling, Token
from fairlead.engine.runner import Chunk
from fairlead.engine.scheduler import Scheduler
from fairlead.kernels import PAGE_TOKENS, instruction_set, instruction_sets, set_instruction_set
from fairlead.kernels.native_runner import NativeRunner, load

Figures = dict[str, float | int]
GREEDY = Sampling(temperature=0)


class Sequences:
    """Sequences of random tokens, each with as many pages of the KV cache as it may come to need."""

    def __init__(self, runner: NativeRunner, count: int, length: int) -> None:
        self.runner = runner
        self._tokens = np.random.default_rng(0).integers(0, runner.vocab_size, (count, length)).tolist()
        pages = -(-length // PAGE_TOKENS)
        self._pages = [range(number * pages, (number + 1) * pages) for number in range(count)]

    def chunk(self, number: int, start: int, end: int, *, samples: bool = False) -> Chunk:
        """The tokens of one sequence from `start` to before `end`."""
        return Chunk(number, self._tokens[number][start:end], start, self._pages[number], samples)

    def read(self, count: int, length: int, seconds: float) -> Figures:
        """Prefill `length` tokens of `count` sequences, the same share of each in a step; no logits are computed.

        Where a step has fewer rows than there are sequences, these take turns.
        """
        rows = self.runner.max_batch_tokens
        share = max(1, rows // count)
        done, steps, began = 0, 0, time.perf_counter()
        for first, start in itertools.product(range(0, count, rows), range(0, length, share)):
            if steps and time.perf_counter() - began > seconds:
                break
            end = min(start + share, length)
            chunks = [self.chunk(number, start, end) for number in range(first, min(count, first + rows))]
            self.runner.forward(chunks)
            done += (end - start) * len(chunks)
            steps += 1
        spent = time.perf_counter() - began
        return {"tokens_per_s": round(done / spent, 1), "tokens": done, "step_ms": round(spent / steps * 1e3, 3)}

    def decode(self, count: int, start: int, steps: int, seconds: float) -> Figures:
        """Draw up to `steps` tokens for each of `count` sequences that hold `start`; the first step is not counted."""
        for number in range(count):
            self.runner.open(number, GREEDY, self._tokens[number][:start], 0, [])
        times: list[float] = []
        for at in range(start, start + steps):
            chunks = [self.chunk(number, at, at + 1, samples=True) for number in range(count)]
            began = time.perf_counter()
            draws = self.runner.forward(chunks)
            times.append(time.perf_counter() - began)
            for number, draw in enumerate(draws):
                self._tokens[number][at + 1] = draw.token
            if len(times) > 1 and sum(times) > seconds:
                break
        for number in range(count):
            self.runner.close(number)
        measured = times[1:] or times
        return {
            "tokens_per_s": round(count * len(measured) / sum(measured), 1),
            "tokens": count * len(measured),
            "step_ms": round(statistics.median(measured) * 1e3, 3),
        }


def through_scheduler(runner: NativeRunner, count: int, prompt: int, answer: int) -> Figures:
    """Whole requests that come at once; how long until each had its first token, and all of them their last."""
    scheduler = Scheduler(
        KVCache(runner.page_count, runner.page_size),
        context_length=prompt + answer,
        max_batch_tokens=runner.max_batch_tokens,
    )
    engine = Engine(scheduler, runner)
    prompts = np.random.default_rng(1).integers(0, runner.vocab_size, (count, prompt)).tolist()
    began = time.perf_counter()
    for number, tokens in enumerate(prompts):
        engine.add(Generate(id=number, tokens=tokens, sampling=GREEDY, max_tokens=answer))
    drawn: dict[int, list[float]] = {number: [] for number in range(count)}
    while engine.has_work:
        events = engine.step()
        now = time.perf_counter()
        for event in events:
            if isinstance(event, Failed):
                raise RuntimeError(event.message)
            if isinstance(event, Token):
                drawn[event.id].append(now)
    spent = time.perf_counter() - began
    first = [times[0] - began for times in drawn.values()]
    gaps = [later - sooner for times in drawn.values() for sooner, later in itertools.pairwise(times)]
    return {
        "prompt_tokens": count * prompt,
        "answer_tokens": count * answer,
        "seconds": round(spent, 3),
        "answer_tokens_per_s": round(count * answer / spent, 1),
        "first_token_ms_median": round(statistics.median(first) * 1e3, 1),
        "first_token_ms_last": round(max(first) * 1e3, 1),
        "gap_ms_median": round(statistics.median(gaps) * 1e3, 2),
        "gap_ms_longest": round(max(gaps) * 1e3, 2),
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as processors are given to this process")
    parser.add_argument("--isa", choices=instruction_sets(), default=instruction_set())
    parser.add_argument("--kv", choices=["f16", "f32", "q8"], default="f16")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--prompt", type=int, default=512, help="tokens of a prompt")
    parser.add_argument("--context", type=int, default=128, help="tokens that a sequence holds when decoding begins")
    parser.add_argument("--tokens", type=int, default=64, help="drawn for each sequence, 2 or more")
    parser.add_argument("--rows", type=int, default=512, help="most tokens of a step")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument("--scheduler", action="store_true", help="time whole requests too")
    return parser.parse_args()


def main() -> None:
    """Prints one JSON object."""
    arguments = parse()
    load_average = os.getloadavg()[0]
    set_instruction_set(arguments.isa)
    most = max(arguments.batch)
    length = max(arguments.prompt, arguments.context + 1) + arguments.tokens
    runner, loaded = load(
        Load(
            path=str(arguments.model),
            context_length=length,
            kv_tokens=most * -(-length // PAGE_TOKENS) * PAGE_TOKENS,
            kv_type=arguments.kv,
            threads=arguments.threads,
            max_batch_tokens=arguments.rows,
        ),
        lambda _done, _total: None,
    )
    sequences = Sequences(runner, most, length)
    sequences.read(1, min(arguments.rows, arguments.prompt), 0)  # pages of memory are touched for the first time
    results: list[dict[str, object]] = []
    for count in arguments.batch:
        prefill = sequences.read(count, arguments.prompt, arguments.seconds)
        sequences.read(count, arguments.context, math.inf)
        decode = sequences.decode(count, arguments.context, arguments.tokens, arguments.seconds)
        results.append({"batch": count, "prefill": prefill, "decode": decode})
        if arguments.scheduler:
            results[-1]["requests"] = through_scheduler(runner, count, arguments.prompt, arguments.tokens)
        print(results[-1], file=sys.stderr)
    about = {
        "model": arguments.model.name,
        "instruction_set": loaded.instruction_set,
        "threads": loaded.threads,
        "kv": arguments.kv,
        "prompt": arguments.prompt,
        "context": arguments.context,
        "rows": arguments.rows,
        "load_average": round(load_average, 2),  # before: what else the machine was doing
        "load_s": round(loaded.load_s, 3),
        "weight_bytes": loaded.weight_bytes,
        "kv_bytes": loaded.kv_bytes,
        "work_bytes": runner.work_bytes,
        "resident_bytes": psutil.Process().memory_info().rss,
    }
    json.dump({**about, "results": results}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
