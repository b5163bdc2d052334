"""Whether a worker gets on, and when one that died is started again. Plain: times come from the caller, in seconds."""

from __future__ import annotations

from typing import Final

PROVEN_S: Final = 60.0
"""A worker that lived for so long was no failed start."""
RESTART_AFTER_S: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The waits before each try in a row; when they are used up, the model has failed."""
COMPUTING: Final = 10
"""How many times longer a worker may go without a step while it uses the processor: a step may be long."""


class Restarts:
    """The deaths of a model's workers."""

    def __init__(self) -> None:
        self.deaths = 0
        """In a row."""
        self._began: float | None = None

    def came_up(self, now: float) -> None:
        """A worker has loaded the model."""
        self._began = now

    def wait_after_death(self, now: float) -> float | None:
        """How long to wait before the next try; None where there shall be none."""
        if self._began is not None and now - self._began >= PROVEN_S:
            self.deaths = 0
        self._began = None
        self.deaths += 1
        return RESTART_AFTER_S[self.deaths - 1] if self.deaths <= len(RESTART_AFTER_S) else None


class Pulse:
    """The signs of progress of one worker."""

    def __init__(self, now: float) -> None:
        self._steps = -1
        self._cpu_s = -1.0
        self._stepped_at = self._stirred_at = now

    def note(self, now: float, *, busy: bool, steps: int, cpu_s: float) -> None:
        """What was seen: whether it has work, its steps so far, and the processor time that it used so far."""
        if not busy or steps != self._steps:
            self._stepped_at = self._stirred_at = now
        elif cpu_s != self._cpu_s:
            self._stirred_at = now
        self._steps, self._cpu_s = steps, cpu_s

    def stalled_s(self, now: float) -> float:
        """For how long it has shown no progress: a stopped worker counts in full, one that computes on by a share."""
        return max(now - self._stirred_at, (now - self._stepped_at) / COMPUTING)
