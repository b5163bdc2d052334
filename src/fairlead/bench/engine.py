"""Goes through a suite on one model file, in this process.

What is timed is the runner that a worker loads, called as the worker calls it; so batches and contexts are exactly
those asked for. Left out is what the worker adds: scheduling and frames, some tens of microseconds a step.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import psutil

from fairlead.bench.machine import Meter, Tell
from fairlead.bench.suite import Suite
from fairlead.bench.timing import Decode, OutOfTime, Prefill, Timing
from fairlead.config import Activations, KVType, Settings
from fairlead.engine.messages import Load, Loaded
from fairlead.errors import DoesNotFit, InvalidRequest
from fairlead.gguf.reader import GGUFFile
from fairlead.kernels import PAGE_TOKENS
from fairlead.kernels.loading import load_decoder
from fairlead.kernels.native_runner import NativeRunner
from fairlead.models import ModelDescription, describe, record
from fairlead.service.capacity import available_bytes
from fairlead.service.memory import Footprint

_READ_AT_ONCE = 1 << 24


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """All that was measured of the engine.

    Attributes:
        description: of the model.
        file_bytes: of its file.
        load_s: to load the file from the page cache, with a KV cache of one page only.
        loaded: as the runner tells it: instruction set, threads, sizes.
        kv_type, activations: as they were set.
        resident_bytes: by which this process grew.
        left_out: figures that there was no time for.
    """

    description: ModelDescription
    file_bytes: int
    load_s: float
    loaded: Loaded
    kv_type: KVType
    activations: Activations
    resident_bytes: int
    prefill: tuple[Prefill, ...]
    decode: tuple[Decode, ...]
    left_out: tuple[str, ...]


def check(path: Path, suite: Suite, settings: Settings) -> None:
    """See that the suite can be gone through with this file.

    Raises:
        ModelFileError: the file is damaged, or of a kind that is not built in.
        InvalidRequest: the suite has sequences longer than the model's context, or more than a step takes.
        DoesNotFit: there is not memory enough for the model and the suite's KV cache.
    """
    with GGUFFile.open(path) as file:
        description = describe(file)
        footprint = Footprint.of(description, file.tensors.values(), settings)
    _check_lengths(suite, description, settings.max_batch_tokens)
    _check_memory(suite, footprint)


def measure_engine(path: Path, suite: Suite, settings: Settings, threads: int, tell: Tell) -> EngineFigures:
    """Load the file and take the suite's figures, under the KV type and the largest step of the settings.

    Raises as `check`.
    """
    check(path, suite, settings)
    with GGUFFile.open(path) as file:
        description, plan = describe(file), record(file)
    tell("loading")
    resident = psutil.Process().memory_info().rss
    load_s = _load(path, PAGE_TOKENS, settings, threads)[1].load_s
    runner, loaded = _load(path, suite.kv_tokens, settings, threads)
    timing = Timing(plan, runner, Meter(threads), seconds=suite.seconds, limit_s=suite.limit_s)
    prefill, decode, left_out = _figures(suite, timing, tell)
    return EngineFigures(
        description=description,
        file_bytes=path.stat().st_size,
        load_s=load_s,
        loaded=loaded,
        kv_type=settings.kv_type,
        activations=settings.activations,
        resident_bytes=psutil.Process().memory_info().rss - resident,
        prefill=tuple(prefill),
        decode=tuple(decode),
        left_out=tuple(left_out),
    )


def _figures(suite: Suite, timing: Timing, tell: Tell) -> tuple[list[Prefill], list[Decode], list[str]]:
    prefill: list[Prefill] = []
    decode: list[Decode] = []
    left_out: list[str] = []
    for tokens in suite.prompts:
        tell(name := f"prompt of {tokens}")
        try:
            prefill.append(timing.prefill(tokens))
        except OutOfTime:
            left_out.append(name)
    for context, batch in itertools.product(suite.contexts, suite.batches):
        tell(name := f"batch of {batch}, context {context}")
        try:
            decode.append(timing.decode(batch, context))
        except OutOfTime:
            left_out.append(name)
    return prefill, decode, left_out


def _check_lengths(suite: Suite, description: ModelDescription, most_rows: int) -> None:
    most = description.context_length
    if suite.longest > most:
        raise InvalidRequest(
            f"{description.name} is made for {most} tokens: ask for prompts and contexts no longer than that "
            f"(--prompt, --context).",
            param="context",
        )
    if max(suite.batches) > most_rows:
        raise InvalidRequest(f"A step takes {most_rows} sequences at most (--batch).", param="batch")


def _check_memory(suite: Suite, footprint: Footprint) -> None:
    required, available = footprint.estimate(suite.kv_tokens).required_bytes, available_bytes()
    if required > available:
        raise DoesNotFit(
            f"With a KV cache of {suite.kv_tokens} tokens the model needs about {required >> 20} MiB, and "
            f"{available >> 20} MiB are available: ask for fewer or shorter sequences (--batch, --context).",
            details={"required_bytes": required, "available_bytes": available},
        )


def _load(path: Path, kv_tokens: int, settings: Settings, threads: int) -> tuple[NativeRunner, Loaded]:
    with path.open("rb", buffering=0) as file:  # brings it into the page cache
        while file.read(_READ_AT_ONCE):
            pass
    command = Load(
        path=str(path),
        context_length=kv_tokens,
        kv_tokens=kv_tokens,
        kv_type=settings.kv_type,
        activations=settings.activations,
        threads=threads,
        max_batch_tokens=settings.max_batch_tokens,
    )
    return load_decoder(command, lambda _done, _total: None)
