"""Which guesses of the running answers a step verifies along with their next tokens.

Owns the choice between guesses and the room for them; how guesses come about is `lookup.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.engine.kv_cache import KVCache
from fairlead.engine.lookup import MOST_GUESSES, Lookup, worthwhile
from fairlead.engine.request import Request
from fairlead.engine.step import Step

MOST_ANSWERS = 8
"""With more answers in a step its rows cost their full time, and nothing is guessed."""


def speculate(step: Step, answers: Sequence[Request], cache: KVCache) -> None:
    """Add the guesses to a step that make its tokens come faster, as far as pages can be had for them.

    Args:
        step: has the answers' next tokens, and reads no prompt: who reads one has better use for rows.
        answers: those of the step that may be guessed ahead.
        cache: the pages.
    """
    plain_s = step.seconds()
    if not 0 < len(answers) <= MOST_ANSWERS or plain_s <= 0:
        return
    guesses = []
    for request in answers:
        if request.lookup is None:
            request.lookup = Lookup(request.tokens, request.stop_tokens)
        # The last token that it may have is drawn, not guessed.
        guesses.append(request.lookup.guess(min(MOST_GUESSES, request.length_limit - len(request.tokens) - 1)))
    counts = worthwhile([guess.chances for guess in guesses], step.seconds)
    for request, guess, count in zip(answers, guesses, counts, strict=True):
        fits = min(count, step.free_rows)
        if fits and cache.grow(request.id, len(request.tokens) + fits):
            step.guess(request, guess.tokens[:fits])
