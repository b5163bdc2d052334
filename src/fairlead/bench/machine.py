"""What the machine can give at most: reading memory, and each arithmetic unit that it has.

Memory is read by loops that do nothing else, arithmetic done by loops that read nothing (csrc/peaks.h). Of each figure
the best try counts: whatever else the machine does can only make it smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

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
class Limits:
    """What holds work up, at a time.

    Attributes:
        read_bytes_per_s: from memory.
        operations_per_s: of arithmetic units by their names; a multiply-add is two.
    """

    read_bytes_per_s: float
    operations_per_s: Mapping[str, float]

    @classmethod
    def usual(cls, measured: Sequence[Limits]) -> Limits:
        """The median of each, all being of the same units."""
        return cls(
            median(limits.read_bytes_per_s for limits in measured),
            {
                unit: median(limits.operations_per_s[unit] for limits in measured)
                for unit in measured[0].operations_per_s
            },
        )


@dataclass(frozen=True, slots=True)
class Machine:
    """Limits of the machine, with so many threads.

    Attributes:
        threads: that the limits are for.
        cache_bytes: of all last-level caches together; 0 where the machine does not say.
        read_bytes_per_s_of_one: from memory, by one thread.
        limits: with all threads, of all units.
    """

    threads: int
    cache_bytes: int
    read_bytes_per_s_of_one: float
    limits: Limits


class Meter:
    """Measures limits again and again: a machine that is shared has others from minute to minute.

    Raises:
        DoesNotFit: there is no memory for a buffer that outgrows the caches.
    """

    def __init__(self, threads: int) -> None:
        self._team = ThreadPool(threads)
        self._buffer = max(_LEAST_BUFFER, _TIMES_THE_CACHE * cache_bytes())
        if (available := available_bytes()) < self._buffer:
            raise DoesNotFit(
                f"Measuring memory takes a buffer of {self._buffer >> 20} MiB, and {available >> 20} are available.",
                details={"required_bytes": self._buffer, "available_bytes": available},
            )

    def reading(self, seconds: float) -> float:
        """Bytes a second from memory, measured for about so long."""
        return measure_read_bandwidth(self._team, self._buffer, seconds)

    def computing(self, unit: str, seconds: float) -> float:
        """Operations a second of a unit, measured for about so long."""
        return measure_peak(unit, self._team, seconds)

    def limits(self, units: Iterable[str], seconds: float) -> Limits:
        """Of memory and of these units, measured for about so long each."""
        return Limits(self.reading(seconds), {unit: self.computing(unit, seconds) for unit in units})


def given_processors() -> int:
    """Processors that this process may use."""
    return len(psutil.Process().cpu_affinity())


def measure_machine(threads: int, seconds: float, tell: Tell) -> Machine:
    """Measure for about so many seconds each way of reading, and a fifth of that each unit.

    Raises:
        DoesNotFit: there is no memory for a buffer that outgrows the caches.
    """
    team = Meter(threads)
    tell("memory, one thread")
    of_one = Meter(1).reading(seconds)
    tell(f"memory, {threads} threads")
    of_all = max(of_one, team.reading(seconds))
    peaks = {}
    for unit in arithmetic_units():
        tell(unit)
        peaks[unit] = team.computing(unit, seconds / 5)
    return Machine(threads, cache_bytes(), of_one, Limits(of_all, peaks))


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
