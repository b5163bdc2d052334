"""How far engines are from exact arithmetic on the same weights, and a peer to compare them with.

    python benchmarks/accuracy.py MODEL.gguf --text tests/peers/corpus.txt --positions 512

Exact is the model's plan run by NumPy in double precision. Each engine is asked for its likeliest tokens after every
position of a text; what it leaves over is one more outcome. The divergence is Kullback and Leibler's, from exact to the
engine, over these outcomes; it is a little less than over the whole vocabulary, some twentieth.
Prints one JSON object. llama.cpp is measured too where the package `xllamacpp` is installed.

Exact arithmetic takes long, minutes for thousands of positions: with `--exact FILE.npy` its log-probabilities (8 bytes
for each position and token of the vocabulary) are kept in a file, and read from it if it is there.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from numpy.typing import NDArray

from fairlead.engine.runner import Chunk
from fairlead.gguf.reader import GGUFFile
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.kernels import PAGE_TOKENS, instruction_sets, reference_plan, set_instruction_set
from fairlead.kernels.native_runner import NativeRunner

F64 = NDArray[np.float64]

LIKELIEST = 1000
"""Tokens that engines are asked for; llama.cpp writes them all out in JSON."""

ROWS_AT_ONCE = 256
"""Of log-probabilities that are computed, in place: with a large vocabulary each takes half a megabyte."""


@dataclass(frozen=True, slots=True)
class Top:
    """The likeliest tokens at one position, likeliest first, and their natural log-probabilities."""

    ids: NDArray[np.int64]
    logprobs: F64

    @classmethod
    def of(cls, logprobs: F64, count: int) -> Top:
        """The `count` likeliest of a whole vocabulary's log-probabilities."""
        ids = np.argpartition(-logprobs, count)[:count]
        ids = ids[np.argsort(-logprobs[ids])]
        return cls(ids, logprobs[ids])

    @property
    def outcomes(self) -> F64:
        """Log-probabilities of these tokens and of all others together, [count + 1]."""
        return _with_rest(self.logprobs)

    def outcomes_of(self, logprobs: F64) -> F64:
        """The same outcomes under another distribution, given over the whole vocabulary."""
        return _with_rest(logprobs[self.ids])


def _with_rest(logprobs: F64) -> F64:
    # The peer's numbers are fp32: what is left over is known to some 1e-6 of everything.
    rest = max(1e-9, 1.0 - float(np.exp(logprobs).sum()))
    return np.append(logprobs, np.log(rest))


def log_softmax(logits: NDArray[np.floating]) -> F64:
    """Natural log-probabilities along the last axis."""
    shifted: F64 = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def divergence(p: F64, q: F64) -> float:
    """The Kullback-Leibler divergence from p to q in nats; both are log-probabilities of the same outcomes."""
    return float((np.exp(p) * (p - q)).sum())


class Peer:
    """llama.cpp, through the wheel `xllamacpp`, serving one model file to this process."""

    def __init__(self, path: Path, *, context: int, threads: int, sequences: int = 1) -> None:
        xllamacpp = importlib.import_module("xllamacpp")  # not needed for the rest of this module
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx = context * sequences
        parameters.n_parallel = sequences
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
        parameters.warmup = False
        parameters.verbosity = 0
        self._server = xllamacpp.Server(parameters)
        self._sequences = sequences
        self._client = httpx.Client(base_url=self._server.listening_address, timeout=300)

    def likeliest(self, tokens: Sequence[int], count: int, start: int = 0) -> list[Top]:
        """What it expects after each of these tokens, from the one at `start` on.

        It tells no log-probabilities of prompts, so each prefix is a prompt of its own; the one before is in its
        cache, so that each costs one token's step.
        """
        return [self._after(tokens[:end], count) for end in range(start + 1, len(tokens) + 1)]

    def continuations(self, prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        """The `count` tokens that greedy decoding puts after each prompt; fewer where the model ends."""

        def continuation(prompt: Sequence[int]) -> list[int]:
            answer = self.complete(prompt, n_predict=count, return_tokens=True)
            tokens = answer["tokens"]
            assert isinstance(tokens, list)
            return tokens

        with ThreadPoolExecutor(self._sequences) as callers:
            return list(callers.map(continuation, prompts))

    def _after(self, prompt: Sequence[int], count: int) -> Top:
        answer = self.complete(prompt, n_predict=1, n_probs=count, id_slot=0)
        (position,) = _objects(answer["completion_probabilities"])
        found = _objects(position["top_logprobs"])
        return Top(np.array([entry["id"] for entry in found]), np.array([entry["logprob"] for entry in found]))

    def complete(self, prompt: Sequence[int], **options: int | bool) -> dict[str, object]:
        """Its answer to a prompt of token ids, greedily, under llama.cpp's own options."""
        body = {"prompt": list(prompt), "temperature": 0.0, "cache_prompt": True, **options}
        answer = self._client.post("/completion", json=body)
        answer.raise_for_status()
        found: dict[str, object] = answer.json()
        return found

    def close(self) -> None:
        """End the server."""
        self._client.close()
        del self._server


def _objects(value: object) -> list[dict[str, Any]]:
    assert isinstance(value, list)
    return value


@contextmanager
def peer(path: Path, *, context: int, threads: int, sequences: int = 1) -> Iterator[Peer]:
    """A peer for a while."""
    serving = Peer(path, context=context, threads=threads, sequences=sequences)
    try:
        yield serving
    finally:
        serving.close()


def log_probabilities(runner: NativeRunner, tokens: Sequence[int], rows: int) -> Iterator[F64]:
    """Our engine's over the vocabulary, after each of these tokens, computed in steps of `rows` of them.

    The runner's KV cache must hold them all. With rows for a whole prompt it is prefill that is measured, with one it
    is decoding: an instruction set may have other kernels for each.
    """
    pages = range(-(-len(tokens) // PAGE_TOKENS))
    starts = range(0, len(tokens), rows)
    for start in starts:
        chunk = Chunk(0, tokens[start : start + rows], start, pages, samples=False)
        yield from log_softmax(runner.logits([chunk]))


def exact_log_probabilities(file: GGUFFile, tokens: Sequence[int], kept: Path | None) -> F64:
    """After each of these tokens, [tokens, vocabulary]; from the file `kept` where it is there, else written to it."""
    if kept is not None and kept.exists():
        found: F64 = np.load(kept, mmap_mode="r")
        if len(found) != len(tokens):
            raise ValueError(f"{kept} is of {len(found)} positions, not of {len(tokens)}")
        return found
    exact = reference_plan.logits(file, tokens)
    for rows in np.array_split(exact, -(-len(tokens) // ROWS_AT_ONCE)):
        rows[:] = log_softmax(rows)
    if kept is not None:
        np.save(kept, exact)
    return exact


def summary(exact: F64, tops: Iterable[Top], following: Sequence[int]) -> dict[str, float]:
    """An engine's distance from exact log-probabilities [positions, vocabulary]; `following` is the text's own tokens.

    `loss` is how much less likely than exact arithmetic it found the text, in nats a token: rounding that only
    scatters costs next to nothing here, whatever the divergence. Tokens that the engine did not name are left out.
    """
    divergences, same, losses = [], [], []
    for row, top, token in zip(exact, tops, following, strict=True):
        divergences.append(divergence(top.outcomes_of(row), top.outcomes))
        same.append(top.ids[0] == row.argmax())
        named = np.flatnonzero(top.ids == token)
        losses.extend(row[token] - top.logprobs[named])
    return {
        "mean_divergence": float(f"{np.mean(divergences):.3g}"),
        "p99_divergence": float(f"{np.quantile(divergences, 0.99):.3g}"),
        "same_top_token": round(float(np.mean(same)), 4),
        "loss": round(float(np.mean(losses)), 5),
    }


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", type=Path, default=Path(__file__).parent.parent / "tests" / "peers" / "corpus.txt")
    parser.add_argument("--positions", type=int, default=512, help="of the text's beginning; one sequence")
    parser.add_argument("--threads", type=int, default=len(psutil.Process().cpu_affinity()))
    parser.add_argument("--isa", nargs="*", default=instruction_sets(), choices=instruction_sets())
    parser.add_argument("--rows", nargs="*", type=int, default=[128, 1], help="tokens of a step: prefill, decoding")
    parser.add_argument("--kv", nargs="*", default=["f16"], choices=["f16", "f32", "q8"])
    parser.add_argument("--activations", nargs="*", default=["q16"], choices=["q16", "q8"])
    parser.add_argument("--exact", type=Path, help="a file to keep the exact log-probabilities in, for another run")
    parser.add_argument("--no-peer", action="store_true", help="leave llama.cpp out")
    arguments = parser.parse_args()

    results: list[dict[str, object]] = []
    with GGUFFile.open(arguments.model) as file:
        text = Tokenizer.from_metadata(file.metadata).encode(arguments.text.read_text(encoding="utf-8"), bos=True)
        tokens, following = text[: arguments.positions], text[1 : arguments.positions + 1]
        if len(following) < arguments.positions:
            parser.error(f"the text has {len(text)} tokens only")
        exact = exact_log_probabilities(file, tokens, arguments.exact)
        for isa, kv_type, activations in itertools.product(arguments.isa, arguments.kv, arguments.activations):
            set_instruction_set(isa)
            runner = NativeRunner(
                file,
                threads=arguments.threads,
                kv_tokens=len(tokens),
                kv_type=kv_type,
                activations=activations,
                max_batch_tokens=max(arguments.rows),
            )
            of_engine = {"engine": "fairlead", "instruction_set": isa, "kv": kv_type, "activations": activations}
            for rows in arguments.rows:
                tops = (Top.of(row, LIKELIEST) for row in log_probabilities(runner, tokens, rows))
                named = {**of_engine, "rows": rows}
                results.append({**named, **summary(exact, tops, following)})
                print(results[-1], file=sys.stderr)
    if not arguments.no_peer and importlib.util.find_spec("xllamacpp"):
        with peer(arguments.model, context=len(tokens) + 8, threads=arguments.threads) as theirs:
            found = summary(exact, theirs.likeliest(tokens, LIKELIEST), following)
        results.append({"engine": "llama.cpp", "kv": "f16", "rows": 1, **found})
    about = {"model": arguments.model.name, "positions": len(tokens), "likeliest": LIKELIEST}
    json.dump({**about, "results": results}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
