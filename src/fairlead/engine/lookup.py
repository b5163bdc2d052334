"""Guessing how an answer goes on, from what its prompt and the answer itself said before.

Answers quote: summaries their text, edits their code, lists their own beginnings. Where the last few tokens were seen
before, those that followed then are guessed to follow now; the model verifies several guesses in one step, which costs
little where a step's time is that of reading the weights. (Saxena, "Prompt Lookup Decoding", 2023; verification so that
nothing changes but speed: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", ICML 2023.)

Owns the search (`Lookup`, one for each request) and the decision what is worth verifying (`worthwhile`); knows neither
requests nor batches.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

MOST_GUESSES = 7
"""Most guesses of a step: one stream's rows stay fewer than those that AMX rounds otherwise."""

LONGEST_MATCH = 16
"""With this many equal tokens before it a place is taken without looking for a better one."""

MOST_PLACES = 8
"""How many places with the same last two tokens are compared, the latest first."""

MOST_INDEXED = 2048
"""Most tokens that one search enters into its index, so that a long prompt delays no step: some 0.3 ms of work."""

FIRST_RATES = (0.3, 0.6, 0.85, 0.9)
"""How often a guess is expected to be right before any was seen, after a match of 2, 4, 8 and 16 tokens or more."""

RATE_STEP = 1 / 12
"""How far one outcome moves a rate: they follow the text within some tens of tokens."""

LEAST_CHANCE = 0.05
"""No row is cheap enough for a guess less likely than this."""

LEAST_GAIN = 1.03
"""Guesses are verified where they promise this many times the tokens a second; below it is the estimates' noise."""


class Guess(NamedTuple):
    """How an answer may go on.

    Attributes:
        tokens: the guessed ids in order; none where nothing like the answer's end was seen before.
        chances: for each, how likely it is that it and all before it are drawn; never rising.
    """

    tokens: list[int]
    chances: list[float]


class Lookup:
    """What one request's prompt and answer say about how it goes on.

    Pairs of tokens are chained from the latest place where they stand to the earlier ones, as in deflate (RFC 1951,
    section 4). How often guesses come true is learned by the length of the match before them, and from guesses that
    nobody verified just as well: whether they were right is seen when the token is drawn.

    Args:
        tokens: the request's prompt and answer. They are read at each call and may only grow between calls. Nothing
            is done with them before the first.
        stop_tokens: with one of these the answer ends: nothing is guessed from there on.
    """

    def __init__(self, tokens: Sequence[int], stop_tokens: Collection[int] = ()) -> None:
        self._tokens = tokens
        self._stop_tokens = stop_tokens
        self._latest: dict[tuple[int, int], int] = {}  # a pair: where the token after its latest place is
        self._earlier = array("i", (0, 0))  # for each position: the one before it after the same pair, or 0
        self._rates = list(FIRST_RATES)
        # The last guess: that the tokens from `_end` on are those from `_place` on, `_match` before both being equal.
        self._end = self._place = self._match = 0

    def guess(self, limit: int = MOST_GUESSES) -> Guess:
        """The likeliest tokens to come, at most `limit`, from the latest of the longest matches."""
        self._settle()
        self._index()
        self._search()
        tokens, chances = Guess([], [])
        if not self._match:
            return Guess(tokens, chances)
        period = self._end - self._place  # past the end of what is known, what repeated is guessed to go on repeating
        chance = 1.0
        for ahead in range(limit):
            token = self._tokens[self._place + ahead % period]
            chance *= self._rates[_rank(self._match + ahead)]
            if chance < LEAST_CHANCE or token in self._stop_tokens:
                break
            tokens.append(token)
            chances.append(chance)
        return Guess(tokens, chances)

    def _settle(self) -> None:
        """Learn from the tokens drawn since the last guess; the match goes on if all were as guessed."""
        if not self._match:
            return
        drawn = len(self._tokens) - self._end
        for ahead in range(drawn):
            right = self._tokens[self._end + ahead] == self._tokens[self._place + ahead]
            rank = _rank(self._match + ahead)
            self._rates[rank] += (right - self._rates[rank]) * RATE_STEP
            if not right:
                self._match = 0
                return
        self._place += drawn
        self._match += drawn

    def _index(self) -> None:
        """Enter the next tokens, each under the pair before it."""
        begin = len(self._earlier)
        end = min(begin - 1 + MOST_INDEXED, len(self._tokens) - 1)  # nothing has followed the last pair yet
        for position, pair in enumerate(pairwise(self._tokens[begin - 2 : end]), begin):
            self._earlier.append(self._latest.get(pair, 0))
            self._latest[pair] = position

    def _search(self) -> None:
        """Find the longest match, unless the one so far is long enough."""
        tokens = self._tokens
        self._end = end = len(tokens)
        if end < 2 or self._match >= LONGEST_MATCH:
            return
        place = self._latest.get((tokens[end - 2], tokens[end - 1]), 0)
        for _ in range(MOST_PLACES):
            if not place or self._match >= LONGEST_MATCH:
                break
            length = self._match_at(place)
            if length > self._match:
                self._place, self._match = place, length
            place = self._earlier[place]

    def _match_at(self, place: int) -> int:
        """How many tokens before `place` are those before the end; counts to the longest that is of interest."""
        tokens, end = self._tokens, self._end
        length = 2
        while length < LONGEST_MATCH and length < place and tokens[place - 1 - length] == tokens[end - 1 - length]:
            length += 1
        return length


def worthwhile(chances: Sequence[Sequence[float]], seconds: Callable[[int], float]) -> list[int]:
    """How many guesses of each answer to verify, for the most tokens a second.

    The likeliest guesses of all answers are taken first, and of these as many as pay for the time that they add.

    Args:
        chances: of the guesses of every answer that has a token drawn in the step, as in `Guess`.
        seconds: how long the step would take with so many guesses verified.
    """
    counts = [0] * len(chances)
    likeliest = sorted(((chance, answer) for answer, some in enumerate(chances) for chance in some), reverse=True)
    if not likeliest:
        return counts
    expected = float(len(chances))
    best, rate = 0, LEAST_GAIN * expected / seconds(0)
    for count, (chance, _) in enumerate(likeliest[:MOST_GUESSES], 1):
        expected += chance
        if expected / seconds(count) > rate:
            best, rate = count, expected / seconds(count)
    for _, answer in likeliest[:best]:
        counts[answer] += 1
    return counts


def _rank(match: int) -> int:
    """Which of the rates is that of guesses after so long a match."""
    return min(match, LONGEST_MATCH).bit_length() - 2
