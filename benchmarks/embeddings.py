"""Times texts to vectors: short and long ones, by the encoder alone and through a worker, beside sentence-transformers.

    python benchmarks/embeddings.py build/home/models/all-MiniLM-L6-v2/model.safetensors --peer OTHER/bin/python

OTHER is an environment that has sentence-transformers; it runs in a process of its own, right after ours, with the same
texts, the same weights and as many threads. Rates are the best of several rounds. The share is of the arithmetic unit
that multiplies, as `fairlead bench` measures its peak: two operations for each weight of a layer and token, and for
each pair of tokens of a text in attention.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fairlead.engine.client import EngineClient
from fairlead.engine.messages import Load
from fairlead.gguf.model_file import ModelFile
from fairlead.gguf.opening import open_model
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.kernels import _native
from fairlead.kernels.native_encoder import NativeEncoder
from fairlead.models.shape import EncoderShape

ROUNDS = 6
PORTION = 128
"""Texts of one request to the worker, as the server sends them."""

PEER = """
import json, sys, time, torch
from sentence_transformers import SentenceTransformer
folder, threads, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
model = SentenceTransformer(folder, device="cpu")
model.max_seq_length = 512
found = {}
for name, texts in json.load(sys.stdin).items():
    model.encode(texts[:64])
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        model.encode(texts, batch_size=64, normalize_embeddings=True)
        times.append(time.perf_counter() - begun)
    found[name] = min(times)
json.dump(found, sys.stdout)
"""


def sentences(tokenizer: Tokenizer, count: int, words: tuple[int, int], seed: int) -> list[str]:
    """Texts of random words of the vocabulary."""
    rng = random.Random(seed)
    whole = [text[1:] for number in range(tokenizer.vocab_size) if (text := tokenizer.token_text(number))[:1] == "▁"]
    whole = [word for word in whole if word.isalpha() and word.isascii()]
    return [" ".join(rng.choices(whole, k=rng.randint(*words))) for _ in range(count)]


def operations(shape: EncoderShape, lengths: Sequence[int]) -> int:
    """Of the layers' products, and of attention."""
    weights = shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.feed_forward)
    pairs = sum(length * length for length in lengths)
    return 2 * weights * sum(lengths) + 4 * shape.layers * shape.width * pairs


def best(work: Callable[[], object]) -> float:
    """Seconds of the quickest of some rounds."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def steps(texts: Sequence[Sequence[int]], room: int) -> list[list[Sequence[int]]]:
    """Texts put together into steps."""
    found: list[list[Sequence[int]]] = [[]]
    left = room
    for text in texts:
        if len(text) > left:
            found.append([])
            left = room
        found[-1].append(text)
        left -= len(text)
    return found


async def by_a_worker(path: Path, threads: int, texts: Sequence[Sequence[int]], context: int) -> float:
    """Seconds of the quickest round through a worker process."""
    client = await EngineClient.start(Load(path=str(path), context_length=context, kv_tokens=context, threads=threads))
    times = []
    try:
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            portions = [client.embed(texts[at : at + PORTION]) for at in range(0, len(texts), PORTION)]
            await asyncio.gather(*(portion.result() for portion in portions))
            times.append(time.perf_counter() - begun)
    finally:
        await client.close()
    return min(times)


def measured(
    file: ModelFile, path: Path, threads: int, named: dict[str, list[list[int]]]
) -> dict[str, dict[str, float]]:
    """Ours, for each kind of texts."""
    shape = EncoderShape.read(file)
    encoder = NativeEncoder(file, threads=threads)
    found = {}
    for name, texts in named.items():
        batches = steps(texts, encoder.max_batch_tokens)
        alone = best(lambda batches=batches: [encoder.encode(batch) for batch in batches])  # type: ignore[misc]
        worker = asyncio.run(by_a_worker(path, threads, texts, shape.context_length))
        work = operations(shape, list(map(len, texts)))
        found[name] = {
            "tokens_per_text": sum(map(len, texts)) / len(texts),
            "texts_per_second": len(texts) / alone,
            "through_a_worker": len(texts) / worker,
            "tokens_per_second": sum(map(len, texts)) / alone,
            "tflops": work / alone / 1e12,
        }
    return found


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path, help="a checkpoint's weights, or a GGUF file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--texts", type=int, default=400, help="short ones; long ones are a twentieth of that")
    parser.add_argument("--peer", type=Path, help="a Python that has sentence-transformers")
    arguments = parser.parse_args()

    with open_model(arguments.model) as file:
        tokenizer = Tokenizer.from_metadata(file.metadata)
        texts = {
            "short": sentences(tokenizer, arguments.texts, (8, 16), 1),
            "long": sentences(tokenizer, arguments.texts // 20, (150, 300), 2),
        }
        named = {name: [tokenizer.encode(text, bos=True, eos=True) for text in some] for name, some in texts.items()}
        results: dict[str, dict[str, float]] = measured(file, arguments.model, arguments.threads, named)
    unit = "amx_bf16" if _native.instruction_set() == "amx" else _native.vector_unit()
    peak = _native.measure_peak(unit, _native.ThreadPool(arguments.threads), 0.5) / 1e12
    for result in results.values():
        result["share_of_peak"] = result["tflops"] / peak
    if arguments.peer:
        command = [arguments.peer, "-c", PEER, arguments.model.parent, str(arguments.threads), str(ROUNDS)]
        said = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True).stdout
        for name, seconds in json.loads(said).items():
            results[name]["sentence_transformers"] = len(texts[name]) / seconds
            results[name]["times_faster"] = results[name]["texts_per_second"] * seconds / len(texts[name])
    rounded = {name: {key: round(value, 3) for key, value in one.items()} for name, one in results.items()}
    json.dump(
        {"threads": arguments.threads, "unit": unit, "peak_tflops": round(peak, 2), **rounded}, sys.stdout, indent=1
    )
    print()


if __name__ == "__main__":
    main()
