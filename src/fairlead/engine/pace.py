"""How long a step takes, learned while running.

The time of a step depends on how many rows it computes and on how much context these attend to. In rows it is
no straight line: few rows cost little more than one, since the weights have to be read anyway, and other
kernels take over from some number on. So it is learned in classes of rows, each twice as wide as the one
before, and interpolated between them; what context adds is a regression within each class. It follows a machine that
becomes slower or faster within some ten steps of a kind, and one step that took far longer than it
should moves it little.

Owns the figures of one model on one machine; knows no requests and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

FOLLOW = 0.25
"""How far a class moves to what was measured last."""

ATTRIBUTE = 0.3
"""How much of an error is laid to context where that differs much from what the class has seen before."""

SURPRISE = 2.0
"""A step is taken to have cost at most this many times what was predicted, and at least as much less."""

FEW_ROWS = 8
"""Up to so many rows are taken to cost the same, where nothing else was seen."""

MANY_ROWS = 32
"""A step of this many rows tells how fast prompts are read."""


@dataclass(slots=True)
class _Class:
    """What was seen of steps with about so many rows.

    Attributes:
        rows: of such a step; a moving average, like the next two.
        context: how many tokens each of its rows attended to.
        seconds: how long it took.
        slope: seconds for one more token that one row attends to.
    """

    rows: float
    context: float
    seconds: float
    slope: float

    def predict(self, context: float) -> float:
        """Seconds of such a step where each row attends to so many tokens."""
        return self.seconds + self.slope * self.rows * (context - self.context)


class Pace:
    """Predicts the seconds of a step, and learns from each."""

    def __init__(self) -> None:
        self._classes: dict[int, _Class] = {}  # by the bit length of rows - 1, in ascending order

    def predict(self, rows: float, attended: float) -> float:
        """Seconds of a step that computes `rows` tokens which attend to `attended` tokens in all.

        Between classes that were seen it is interpolated; beyond them it is taken to be in proportion to the
        rows, from `FEW_ROWS` on, which for more than were ever seen is longer than it will be. 0 before
        anything was seen.
        """
        context = attended / rows
        below = above = None
        for known in self._classes.values():
            if known.rows > rows:
                above = known
                break
            below = known
        if below is None or above is None:
            nearest = below or above
            if nearest is None:
                return 0.0
            return nearest.predict(context) * max(rows, FEW_ROWS) / max(nearest.rows, FEW_ROWS)
        low = below.predict(context)
        high = max(low, above.predict(context))  # more rows are never cheaper
        return low + (high - low) * (rows - below.rows) / (above.rows - below.rows)

    def learn(self, rows: int, attended: float, seconds: float) -> None:
        """Take in how long a step took."""
        if seconds <= 0:
            return
        context = attended / rows
        number = (rows - 1).bit_length()
        known = self._classes.get(number)
        if known is None:
            nearest = min(self._classes, key=lambda other: abs(other - number), default=None)
            slope = 0.0 if nearest is None else self._classes[nearest].slope
            self._classes[number] = _Class(rows, context, seconds, slope)
            self._classes = dict(sorted(self._classes.items()))
            return
        expected = self.predict(rows, attended)
        error = min(max(seconds, expected / SURPRISE), expected * SURPRISE) - expected
        # The middle of the class moves along what is predicted, and from there by what this step shows to be wrong.
        rows_then = known.rows + FOLLOW * (rows - known.rows)
        context_then = known.context + FOLLOW * (context - known.context)
        seconds_then = self.predict(rows_then, rows_then * context_then) + FOLLOW * error
        known.slope = self._slope(known, context, error)
        known.rows, known.context, known.seconds = rows_then, context_then, seconds_then

    @staticmethod
    def _slope(known: _Class, context: float, error: float) -> float:
        """What one more token of context costs, after an error that context may explain.

        By normalised least mean squares. It is never so much that a step without context would be free.
        """
        differs = known.rows * (context - known.context)
        usual = known.rows * known.context
        slope = known.slope + ATTRIBUTE * error * differs / (differs * differs + (0.1 * usual) ** 2 + 1.0)
        return min(max(slope, 0.0), 0.9 * known.seconds / max(usual, 1.0))

    def prefill_rate(self) -> float | None:
        """Prompt tokens a second in the largest steps seen; None before one had `MANY_ROWS`."""
        largest = next(reversed(self._classes.values()), None)
        if largest is None or largest.rows < MANY_ROWS:
            return None
        return largest.rows / largest.seconds
