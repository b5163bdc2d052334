"""How far a load or a download is, told at a pace that people can follow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load is. `done` and `total` are bytes, `eta_s` seconds."""

    phase: str
    """Of the download, as `gguf.staging` names it, or "loading"."""
    done: int
    total: int | None
    eta_s: float | None


Watcher = Callable[[Progress], None]

_TELL_S = 0.1
"""Progress is told no more often than this."""


class Pace:
    """Turns counts of bytes into `Progress` with the time left, and keeps reports apart."""

    def __init__(self) -> None:
        self._phase = ""
        self._began = (0.0, 0)
        self._told_at = 0.0

    def progress(self, phase: str, done: int, total: int | None) -> Progress | None:
        """What to tell now; None where it is too soon after the last time."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._began = phase, (now, done)
        elif now - self._told_at < _TELL_S and done != total:
            return None
        self._told_at = now
        since, at = self._began
        rate = (done - at) / (now - since) if now > since else 0.0
        eta = (total - done) / rate if total is not None and rate > 0 else None
        return Progress(phase, done, total, eta)
