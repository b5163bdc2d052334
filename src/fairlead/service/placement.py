"""Where a model would go: what leaves for it, and with how long a context and how large a cache it comes.

Plain arithmetic over a model's footprint, the free memory and who is in it; the estimate that people are told and the
load itself are decided by the same figures. All sizes are in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.errors import DoesNotFit
from fairlead.service.capacity import Gpu
from fairlead.service.memory import Footprint, Plan, Wish
from fairlead.service.room import Resident, make_room


@dataclass(frozen=True, slots=True)
class Placement:
    """How a model can come in."""

    plan: Plan
    leaving: tuple[str, ...]
    """Idle models that have to be unloaded for it."""


@dataclass(frozen=True, slots=True)
class Estimated:
    """What people are told before a load."""

    name: str
    plan: Plan
    available_bytes: int
    """Free, and what idle models would give up."""
    fits: bool
    unloads: tuple[str, ...]
    largest_context: int
    gpus: tuple[Gpu, ...]


def place(footprint: Footprint, wish: Wish, free: int, residents: Sequence[Resident], now: float) -> Placement:
    """Find room for a model.

    Raises:
        DoesNotFit: there is not enough, were all idle models unloaded that are not pinned; `details` names the others.
    """
    least = footprint.least(wish)
    lacking = least.estimate.required_bytes - free
    leaving = make_room((resident for resident in residents if not resident.busy), lacking, now) if lacking > 0 else ()
    if leaving is None:
        error = footprint.does_not_fit(least, _within_reach(free, residents))
        staying = {
            "busy": [resident.name for resident in residents if resident.busy and not resident.pinned],
            "pinned": [resident.name for resident in residents if resident.pinned],
        }
        error.details.update(staying)
        for why, names in (("answering", staying["busy"]), ("pinned", staying["pinned"])):
            if names:
                error.message += f" Loaded, {why} and left alone: {', '.join(names)}."
        raise error
    freed = sum(resident.size_bytes for resident in leaving)
    return Placement(footprint.plan(wish, free + freed), tuple(resident.name for resident in leaving))


def estimated(
    name: str,
    footprint: Footprint,
    wish: Wish,
    free: int,
    residents: Sequence[Resident],
    now: float,
    gpus: tuple[Gpu, ...],
) -> Estimated:
    """What a load would come to now."""
    reach = _within_reach(free, residents)
    largest = footprint.largest_context(reach, wish.parallel or 1)
    try:
        placement = place(footprint, wish, free, residents, now)
    except DoesNotFit:
        return Estimated(name, footprint.least(wish), reach, fits=False, unloads=(), largest_context=largest, gpus=gpus)
    return Estimated(
        name, placement.plan, reach, fits=True, unloads=placement.leaving, largest_context=largest, gpus=gpus
    )


def _within_reach(free: int, residents: Sequence[Resident]) -> int:
    return free + sum(resident.size_bytes for resident in residents if not resident.busy and not resident.pinned)
