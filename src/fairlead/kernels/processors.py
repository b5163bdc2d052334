"""How many processors this process is really given: threads beyond them only wait for each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import psutil

from fairlead import control_groups


def given_processors(
    root: Path = control_groups.ROOT, membership: Path = control_groups.MEMBERSHIP, affinity: int | None = None
) -> int:
    """Those it may run on, or as many as its control groups' quotas of processor time come to, rounded up.

    Args:
        root: where control groups are mounted.
        membership: the list of those that hold this process.
        affinity: processors it may run on; None asks the system.
    """
    if affinity is None:
        affinity = len(psutil.Process().cpu_affinity())
    return max(1, min([affinity, *map(math.ceil, _quotas(root, membership))]))


def _quotas(root: Path, membership: Path) -> Iterator[float]:
    """Processor time over time, for each group that is limited."""
    limits = itertools.chain(
        (control_groups.words(folder / "cpu.max") for folder in control_groups.unified(root, membership)),
        (
            control_groups.words(folder / "cpu.cfs_quota_us") + control_groups.words(folder / "cpu.cfs_period_us")
            for folder in control_groups.of_controller("cpu", root, membership)
        ),
    )
    for limit in limits:
        match limit:
            case [quota, period] if quota.isdigit() and period.isdigit() and int(period) > 0:
                yield int(quota) / int(period)
