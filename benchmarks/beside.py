"""How much of its idle speed decoding keeps beside busy processes.

    python -m benchmarks.beside MODEL.gguf --streams 1 16 --rounds 5

Rounds of equal length alternate between an idle machine and one where as many processes compute as processors are given
to this one; what is reported is each loaded round over the mean of the idle ones beside it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.stages import decoding
from fairlead.engine.messages import Load, Sampling
from fairlead.engine.runner import Chunk
from fairlead.kernels import PAGE_TOKENS
from fairlead.kernels.loading import load_decoder
from fairlead.kernels.native_runner import NativeRunner

SPIN = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"


@contextmanager
def busy(count: int, seconds: float) -> Iterator[None]:
    """So many processes that compute; they end by themselves too, a little later than they have to."""
    started = [subprocess.Popen([sys.executable, "-c", SPIN, str(seconds + 5)]) for _ in range(count)]
    time.sleep(0.3)
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def steps_per_second(runner: NativeRunner, chunks: list[Chunk], seconds: float) -> float:
    """Over about so many seconds."""
    began, steps = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        runner.forward(chunks)
        steps += 1
    return steps / passed


def main() -> None:
    """Prints a line for each round, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round")
    arguments = parser.parse_args()
    most = max(arguments.streams)
    length = (arguments.context // PAGE_TOKENS + 1) * PAGE_TOKENS
    command = Load(
        path=str(arguments.model), context_length=length, kv_tokens=length * most, max_batch_tokens=max(most, 32)
    )
    runner, loaded = load_decoder(command, lambda _done, _total: None)
    print(f"{loaded.instruction_set}, {loaded.threads} threads")
    for number in range(most):
        runner.open(number, Sampling(temperature=0.0), [1], 0, [])
    for streams in arguments.streams:
        chunks = decoding(streams, arguments.context)
        steps_per_second(runner, chunks, 0.5)
        idle = [steps_per_second(runner, chunks, arguments.seconds)]
        kept = []
        for _ in range(arguments.rounds):
            with busy(loaded.threads, arguments.seconds):
                beside = steps_per_second(runner, chunks, arguments.seconds)
            idle.append(steps_per_second(runner, chunks, arguments.seconds))
            kept.append(beside / statistics.mean(idle[-2:]))
            print(f"{streams:3} streams: {beside * streams:8.1f} of {idle[-1] * streams:8.1f} tokens/s, {kept[-1]:.0%}")
        print(f"{streams:3} streams keep {statistics.median(kept):.0%} ({min(kept):.0%} to {max(kept):.0%})")


if __name__ == "__main__":
    main()
