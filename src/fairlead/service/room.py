"""Which models leave to make room for another. Plain arithmetic: no clock, no process, no model file.

What a model is worth keeping is what loading it again would cost for each byte that its leaving frees, faded by
the time since it was last asked for: least recent use weighted by size and cost (after GreedyDual-Size; Cao and
Irani, "Cost-Aware WWW Proxy Caching Algorithms", USITS 1997).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_SHORTEST_IDLE_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in memory. Times are in seconds on the caller's clock."""

    name: str
    size_bytes: int
    """What its leaving frees."""
    reload_s: float
    """What loading it took, or will take again."""
    loaded_at: float
    used_at: float
    """When its last answer ended."""
    busy: bool = False
    """Whether an answer runs on it."""
    pinned: bool = False
    """Whether it must stay."""

    def worth(self, now: float) -> float:
        """What keeping it is worth beside others."""
        idle_s = max(now - self.used_at, _SHORTEST_IDLE_S)
        return self.reload_s / (max(self.size_bytes, 1) * idle_s)


def make_room(residents: Iterable[Resident], lacking: int, now: float) -> tuple[Resident, ...] | None:
    """The residents to give up for so many bytes, those of least worth first; None where all do not suffice.

    None of them can be left out. Pinned residents are never among them; whether busy ones are is for the caller, who
    gives or does not give them.
    """
    chosen: list[Resident] = []
    freed = 0
    for resident in sorted(residents, key=lambda resident: resident.worth(now)):
        if freed >= lacking:
            break
        if not resident.pinned:
            chosen.append(resident)
            freed += resident.size_bytes
    if freed < lacking:
        return None
    for resident in reversed(chosen.copy()):
        if freed - resident.size_bytes >= lacking:
            chosen.remove(resident)
            freed -= resident.size_bytes
    return tuple(chosen)
