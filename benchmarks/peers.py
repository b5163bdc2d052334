"""Times llama.cpp and Fairlead on the same file, with the same threads, in one run, and prints their ratios as JSON.

    python -m benchmarks.peers MODEL.gguf --threads 2

llama.cpp comes as the wheel `xllamacpp`, which is built for AVX2; its own timings are taken for the prompt and for one
stream, and the wall clock for several streams with prompts of a few tokens. It runs first, and is closed before
Fairlead begins.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.accuracy import Peer, peer
from benchmarks.engine import Sequences
from fairlead.engine.messages import Load
from fairlead.kernels import PAGE_TOKENS
from fairlead.kernels.native_runner import load

Rates = dict[str, float]
PROMPT, ANSWER, SHORT = 512, 64, 8
SECONDS = 5.0
"""The longest that one of Fairlead's figures may take."""


def rates_of_peer(path: Path, threads: int, streams: int, vocabulary: int) -> Rates:
    """Tokens/s of llama.cpp."""
    tokens = np.random.default_rng(0).integers(0, vocabulary, (streams, PROMPT)).tolist()
    with peer(path, context=PROMPT + ANSWER, threads=threads, sequences=streams) as other:
        timing = complete(other, tokens[0], ANSWER)
        with ThreadPoolExecutor(streams) as callers:
            began = time.perf_counter()
            done = list(callers.map(lambda prompt: complete(other, prompt[:SHORT], ANSWER), tokens))
            spent = time.perf_counter() - began
    return {
        f"prefill {PROMPT}": timing["prompt_per_second"],
        "one stream": timing["predicted_per_second"],
        f"{streams} streams": sum(each["predicted_n"] for each in done) / spent,
    }


def complete(other: Peer, prompt: list[int], count: int) -> Rates:
    """The timings of one answer of `count` tokens."""
    answer = other.complete(prompt, n_predict=count, ignore_eos=True, cache_prompt=False)
    timings = answer["timings"]
    assert isinstance(timings, dict)
    return timings


def rates_of_fairlead(path: Path, threads: int, streams: int) -> Rates:
    """Tokens/s of Fairlead."""
    length = PROMPT + ANSWER + PAGE_TOKENS  # whole pages for each
    command = Load(path=str(path), context_length=length, kv_tokens=length * streams, threads=threads)
    runner, _ = load(command, lambda _done, _total: None)
    sequences = Sequences(runner, streams, PROMPT + ANSWER + 1)
    sequences.read(1, PROMPT, SECONDS)  # warms up
    return {
        f"prefill {PROMPT}": sequences.read(1, PROMPT, SECONDS)["tokens_per_s"],
        "one stream": sequences.decode(1, PROMPT, ANSWER, SECONDS)["tokens_per_s"],
        f"{streams} streams": sequences.decode(streams, SHORT, ANSWER, SECONDS)["tokens_per_s"],
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--streams", type=int, default=16)
    options = parser.parse_args()
    theirs = rates_of_peer(options.model, options.threads, options.streams, vocabulary=30_000)
    ours = rates_of_fairlead(options.model, options.threads, options.streams)
    report = {
        name: {"llama.cpp": round(theirs[name], 1), "fairlead": rate, "ratio": round(rate / theirs[name], 2)}
        for name, rate in ours.items()
    }
    print(json.dumps({"model": options.model.name, "threads": options.threads, "tokens_per_s": report}, indent=1))


if __name__ == "__main__":
    main()
