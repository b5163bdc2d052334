"""What the machine can give at most: reading memory, and each arithmetic unit that it has.

Memory is read by loops that do nothing else, arithmetic done by loops that read nothing (csrc/peaks.h). Of each figure
the best try counts: whatever else the machine does can only make it smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from fairlead.errors import DoesNotFit
from fairlead.kernels import ThreadPool, arithmetic_units, measure_peak, measure_read_bandwidth
from fairlead.service.capacity import available_bytes

Tell = Callable[[str], None]
"""Called with what is measured next."""

_CACHES = Path("/sys/devices/system/cpu")
_LEAST_BUFFER = 256 << 20
_TIMES_THE_CACHE = 4
"""A buffer so many times the last-level cache leaves little of it there from one pass to the next."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Limits of the machine, with so many threads.

    Attributes:
        threads: that the figures are for, unless they say otherwise.
        cache_bytes: of all last-level caches together; 0 where the machine does not say.
        read_bytes_per_s: from memory.
        read_bytes_per_s_of_one: from memory, by one thread.
        operations_per_s: of each arithmetic unit by its name; a multiply-add is two.
    """

    threads: int
    cache_bytes: int
    read_bytes_per_s: float
    read_bytes_per_s_of_one: float
    operations_per_s: dict[str, float]


def given_processors() -> int:
    """Processors that this process may use."""
    return len(psutil.Process().cpu_affinity())


def measure_machine(threads: int, seconds: float, tell: Tell) -> Machine:
    """Measure for about so many seconds each way of reading, and a fifth of that each unit.

    Raises:
        DoesNotFit: there is no memory for a buffer that outgrows the caches.
    """
    cache = cache_bytes()
    buffer = max(_LEAST_BUFFER, _TIMES_THE_CACHE * cache)
    if (available := available_bytes()) < buffer:
        raise DoesNotFit(
            f"Measuring memory takes a buffer of {buffer >> 20} MiB, and {available >> 20} are available.",
            details={"required_bytes": buffer, "available_bytes": available},
        )
    alone, team = ThreadPool(1), ThreadPool(threads)
    tell("memory, one thread")
    of_one = measure_read_bandwidth(alone, buffer, seconds)
    tell(f"memory, {threads} threads")
    of_all = max(of_one, measure_read_bandwidth(team, buffer, seconds))
    peaks = {}
    for unit in arithmetic_units():
        tell(unit)
        peaks[unit] = measure_peak(unit, team, seconds / 5)
    return Machine(threads, cache, of_all, of_one, peaks)


def cache_bytes(root: Path = _CACHES) -> int:
    """Of all last-level caches together, each counted once; 0 where the machine does not say."""
    found: dict[str, int] = {}
    for processor in root.glob("cpu[0-9]*"):
        caches = [cache for cache in processor.glob("cache/index*") if (cache / "size").is_file()]
        if not caches:
            continue
        last = max(caches, key=lambda cache: int((cache / "level").read_text()))
        shared_by = (last / "shared_cpu_list").read_text().strip()
        found[shared_by] = int((last / "size").read_text().strip().removesuffix("K")) << 10
    return sum(found.values())
