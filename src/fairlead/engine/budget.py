"""How long a step may take: what the running answers need, and what is left for prompts."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.engine.pace import Pace
from fairlead.engine.request import Request

LEAST_S = 0.045
"""A gap in a stream that no reader sees: 50 ms, less what the way to him may add."""

USUAL_GAPS = 2.7
"""A step may take this many times what the running answers alone take: 3, less what a prediction may err."""

FEW_ANSWERS = 4
"""With more answers than these, further prompts of clients who are being answered make a step longer by no more than
what one answer takes: whoever comes meanwhile shall not wait long for its end."""

UNWATCHED_S = 1.0
"""How long a step may take that no running answer waits for: whoever comes or goes meanwhile is heard after it."""


class Budget:
    """The seconds of one step after another.

    Args:
        pace: how long steps take.
        chosen_s: how long a step may take beside running answers, where the operator has said so.

    Attributes:
        whole_s: how long the step may take at most.
        further_s: how long, as far as it reads further prompts of clients who are being answered.
    """

    def __init__(self, pace: Pace, chosen_s: float | None) -> None:
        self._pace = pace
        self._chosen_s = chosen_s
        self.whole_s = self.further_s = UNWATCHED_S

    def begin(self, answers: Sequence[Request]) -> None:
        """Begin a step, in which the next tokens of these are due."""
        if not answers:
            self.whole_s = self.further_s = UNWATCHED_S
        elif self._chosen_s is not None:
            self.whole_s = self.further_s = self._chosen_s
        else:
            context = sum(len(request.tokens) for request in answers)
            usual_s = self._pace.predict(len(answers), context)
            self.whole_s = self.further_s = max(LEAST_S, usual_s * USUAL_GAPS)
            if len(answers) > FEW_ANSWERS:
                self.further_s = max(LEAST_S, usual_s + self._pace.predict(1, context / len(answers)))
