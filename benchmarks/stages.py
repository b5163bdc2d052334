"""Where the time of a step goes: what each kind of stage takes of a step that decodes some sequences side by side.

    python -m benchmarks.stages MODEL.gguf --streams 1 8 --context 128

For each kind, over a step: the stages that are alike, microseconds of all of them together (the median over the steps),
and, where they read weights, GB of these a second, to be held against the bandwidth measured just before. What a step
takes beyond its stages is the last line: Python's arrays, waking the threads, and the draw.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from fairlead.engine.messages import Load, Sampling
from fairlead.engine.runner import Chunk
from fairlead.kernels import PAGE_TOKENS, _native
from fairlead.kernels.loading import load_decoder
from fairlead.kernels.native_runner import NativeRunner

STEPS = 40


def decoding(streams: int, context: int) -> list[Chunk]:
    """A step of so many sequences, each with so many tokens before it."""
    pages = context // PAGE_TOKENS + 1
    return [
        Chunk(number, [1 + number], context, range(number * pages, (number + 1) * pages), samples=True)
        for number in range(streams)
    ]


def stages(runner: NativeRunner, chunks: Sequence[Chunk]) -> list[tuple[str, int, float, int]]:
    """Each kind of stage: its name, how many there are, their seconds together, and the bytes of their weights."""
    steps = [runner.stage_times(chunks) for _ in range(STEPS)]
    seconds: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * STEPS)
    for number, step in enumerate(steps):
        for stage in step:
            seconds[stage.name][number] += stage.seconds
    return [
        (
            name,
            sum(stage.name == name for stage in steps[0]),
            statistics.median(of_steps),
            sum(stage.weight_bytes for stage in steps[0] if stage.name == name),
        )
        for name, of_steps in seconds.items()
    ]


def whole_step(runner: NativeRunner, chunks: Sequence[Chunk]) -> float:
    """Seconds of a step with its draws, as the engine has it."""
    times = []
    for _ in range(STEPS):
        began = time.perf_counter()
        runner.forward(chunks)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Prints a table for each number of streams."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as processors are given to this process")
    parser.add_argument("--isa", choices=_native.instruction_sets())
    arguments = parser.parse_args()
    if arguments.isa:
        _native.set_instruction_set(arguments.isa)
    most = max(arguments.streams)
    length = (arguments.context // PAGE_TOKENS + 1) * PAGE_TOKENS
    command = Load(
        path=str(arguments.model),
        context_length=length,
        kv_tokens=length * most,
        threads=arguments.threads,
        max_batch_tokens=max(most, 32),
    )
    runner, loaded = load_decoder(command, lambda _done, _total: None)
    bandwidth = _native.measure_read_bandwidth(_native.ThreadPool(loaded.threads), 1 << 30, 1.0)
    print(f"{loaded.instruction_set}, {loaded.threads} threads; memory {bandwidth / 1e9:.1f} GB/s")
    for number in range(most):
        runner.open(number, Sampling(temperature=0.0), [1], 0, [])
    for streams in arguments.streams:
        chunks = decoding(streams, arguments.context)
        step = whole_step(runner, chunks)
        read = 0
        print(f"\n{streams} streams: {step * 1e3:.2f} ms a step, {streams / step:.1f} tokens/s")
        left = step
        for name, count, seconds, weight_bytes in stages(runner, chunks):
            rate = f"{weight_bytes / seconds / 1e9:8.1f} GB/s" if weight_bytes else ""
            print(f"{name:24} {count:4} x {seconds / count * 1e6:8.1f} = {seconds * 1e6:9.0f} us {rate}")
            left -= seconds
            read += weight_bytes
        print(f"{'the rest':24} {'':17} {left * 1e6:9.0f} us")
        print(f"{'all':24} {'':17} {step * 1e6:9.0f} us {read / step / 1e9:8.1f} GB/s")


if __name__ == "__main__":
    main()
