"""Times matrix products alone: each format, number of rows and instruction set, one weight shape.

    python benchmarks/kernels.py --threads 2 --formats q4_0 q4_K > kernels.json

The weight is repeated until it outgrows the caches, so that it comes from memory as in a model. Rates count
the packed weight's bytes once and two operations for each weight and row. The time includes packing the rows
and the array that the product goes to. `ms` is the median, `best` the least that was seen: on a machine with
other work, the latter tells more about the kernels.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from fairlead.kernels import _native
from fairlead.kernels.reference import FORMATS

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def random_weight(number: int, outputs: int, inputs: int, pool: _native.ThreadPool) -> _native.Weight:
    """Blocks of random bytes; scales may be anything, since no product takes longer for it."""
    form = FORMATS[number]
    count = outputs * inputs // form.block * form.block_bytes
    data = np.random.default_rng(0).integers(0, 60, count, dtype=np.uint8)
    return _native.Weight(number, data, outputs, inputs, pool)


def time_product(
    weights: list[_native.Weight], rows: int, activations: str, pool: _native.ThreadPool, least: float
) -> tuple[float, float]:
    """Median and minimum, in seconds, over rounds that last at least `least` seconds together."""
    x = np.random.default_rng(1).standard_normal((rows, weights[0].inputs)).astype(np.float32)
    _native.matmul(weights[0], x, pool, activations=activations)
    times: list[float] = []
    while sum(times) < least or len(times) < 3 * len(weights):
        start = time.perf_counter()
        _native.matmul(weights[len(times) % len(weights)], x, pool, activations=activations)
        times.append(time.perf_counter() - start)
    return float(np.median(times)), min(times)


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--outputs", type=int, default=5632)
    parser.add_argument("--inputs", type=int, default=2048)
    parser.add_argument("--formats", nargs="*", default=[form.name for form in FORMATS.values()])
    parser.add_argument("--rows", nargs="*", type=int, default=list(ROWS))
    parser.add_argument("--isa", nargs="*", default=_native.instruction_sets())
    parser.add_argument("--activations", default="q16", choices=["q16", "q8"])
    parser.add_argument("--seconds", type=float, default=0.2, help="for each product")
    parser.add_argument("--footprint", type=int, default=256, help="MB of weights to go through")
    arguments = parser.parse_args()

    pool = _native.ThreadPool(arguments.threads)
    results: list[dict[str, object]] = []
    for number, form in FORMATS.items():
        if form.name not in arguments.formats:
            continue
        first = random_weight(number, arguments.outputs, arguments.inputs, pool)
        copies = max(1, arguments.footprint * 1_000_000 // first.nbytes)
        weights = [first] + [
            random_weight(number, arguments.outputs, arguments.inputs, pool) for _ in range(copies - 1)
        ]
        for isa in arguments.isa:
            _native.set_instruction_set(isa)
            for rows in arguments.rows:
                seconds, best = time_product(weights, rows, arguments.activations, pool, arguments.seconds)
                results.append(
                    {
                        "format": form.name,
                        "isa": isa,
                        "rows": rows,
                        "ms": round(seconds * 1e3, 4),
                        "best": round(best * 1e3, 4),
                        "GB/s": round(first.nbytes / seconds / 1e9, 2),
                        "GOPS": round(2 * rows * arguments.outputs * arguments.inputs / seconds / 1e9, 1),
                    }
                )
                print(results[-1], file=sys.stderr)
    shape = {"threads": arguments.threads, "outputs": arguments.outputs, "inputs": arguments.inputs}
    json.dump({**shape, "results": results}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
