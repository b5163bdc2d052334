"""The figures as people read them and as programs do. The keys of the JSON are told of in docs/operations.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import fairlead
from fairlead.bench.engine import EngineFigures
from fairlead.bench.machine import Machine
from fairlead.bench.timing import Decode, Prefill
from fairlead.bench.work import shares

JSON = dict[str, object]
Row = Sequence[str]


def as_json(machine: Machine, engine: EngineFigures) -> JSON:
    """Everything, in seconds, bytes and operations; shares of 1."""
    loaded, model = engine.loaded, engine.description
    return {
        "fairlead": fairlead.__version__,
        "model": {
            "name": model.name,
            "architecture": model.architecture,
            "quantization": model.quantization,
            "parameters": model.parameters,
            "file_bytes": engine.file_bytes,
        },
        "instruction_set": loaded.instruction_set,
        "threads": loaded.threads,
        "kv_type": engine.kv_type,
        "activations": engine.activations,
        "machine": {
            "cache_bytes": machine.cache_bytes,
            "read_bytes_per_s": machine.limits.read_bytes_per_s,
            "read_bytes_per_s_of_one_thread": machine.read_bytes_per_s_of_one,
            "operations_per_s": dict(machine.limits.operations_per_s),
        },
        "load": {
            "seconds": engine.load_s,
            "bytes_per_s": engine.file_bytes / engine.load_s,
            "memory_share": _load_share(machine, engine),
        },
        "memory": {
            "resident_bytes": engine.resident_bytes,
            "weight_bytes": loaded.weight_bytes,
            "kv_bytes": loaded.kv_bytes,
            "work_bytes": loaded.work_bytes,
        },
        "prefill": [{"tokens": figure.tokens, **_speed(figure)} for figure in engine.prefill],
        "decode": [{"batch": figure.batch, "context": figure.context, **_speed(figure)} for figure in engine.decode],
        "left_out": list(engine.left_out),
    }


def machine_rows(machine: Machine) -> Iterator[Row]:
    """The machine's limits as a table, its header first."""
    yield ("MACHINE", "1 THREAD", f"{machine.threads} THREADS")
    yield ("memory", _gigabytes(machine.read_bytes_per_s_of_one), _gigabytes(machine.limits.read_bytes_per_s))
    for unit, rate in machine.limits.operations_per_s.items():
        yield (unit, "", f"{rate / 1e12:.2f} TOPS")


def engine_rows(machine: Machine, engine: EngineFigures) -> Iterator[Row]:
    """The engine's figures as a table, its header first. A share tells what limit it is of: the one that is nearer."""
    yield ("MODEL", "TOKENS/S", "TIME", "OF MEMORY", "OF ARITHMETIC")
    for prefill in engine.prefill:
        yield (f"prompt of {prefill.tokens}", *_speed_cells(prefill))
    for decode in engine.decode:
        yield (f"batch of {decode.batch}, context {decode.context}", *_speed_cells(decode))
    yield ("load", "", f"{engine.load_s:.2f} s", _percent(_load_share(machine, engine)), "")


def memory_line(engine: EngineFigures) -> str:
    """What the model took, and of what that consists."""
    loaded = engine.loaded
    parts = {"weights": loaded.weight_bytes, "KV cache": loaded.kv_bytes, "activations": loaded.work_bytes}
    listed = ", ".join(f"{size / 1e6:,.0f} MB {part}" for part, size in parts.items())
    return f"{engine.resident_bytes / 1e6:,.0f} MB resident: {listed}"


def _speed(figure: Prefill | Decode) -> JSON:
    found = shares(figure.work, figure.seconds, figure.limits)
    return {
        "seconds": figure.seconds,
        "tokens_per_s": figure.tokens_per_s,
        "bytes": figure.work.nbytes,
        "multiply_adds": dict(figure.work.multiply_adds),
        "read_bytes_per_s": figure.limits.read_bytes_per_s,
        "operations_per_s": dict(figure.limits.operations_per_s),
        "memory_share": found.memory,
        "arithmetic_share": found.arithmetic,
    }


def _speed_cells(figure: Prefill | Decode) -> Row:
    found = shares(figure.work, figure.seconds, figure.limits)
    return (
        f"{figure.tokens_per_s:,.1f}",
        f"{figure.seconds * 1e3:,.2f} ms",
        _percent(found.memory),
        _percent(found.arithmetic),
    )


def _load_share(machine: Machine, engine: EngineFigures) -> float:
    """Of the shortest time in which the file could be read and the packed weights written."""
    nbytes = engine.file_bytes + engine.loaded.weight_bytes
    return nbytes / machine.limits.read_bytes_per_s / engine.load_s


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _gigabytes(rate: float) -> str:
    return f"{rate / 1e9:.1f} GB/s"
