"""Prompt look-up: its search against a naive one, what it learns, and which guesses are worth their rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engine import lookup
from fairlead.engine.lookup import LEAST_CHANCE, LONGEST_MATCH, MOST_GUESSES, MOST_PLACES, Lookup, worthwhile

QUOTE = list(range(100, 160))


def match_at(tokens: Sequence[int], place: int) -> int:
    """How many tokens before `place` are equal to those at the end."""
    length = 0
    while length < min(place, LONGEST_MATCH) and tokens[place - 1 - length] == tokens[-1 - length]:
        length += 1
    return length


def continued(tokens: Sequence[int], place: int, count: int) -> list[int]:
    """How the tokens go on for `count` tokens if they do so as from `place`."""
    grown = list(tokens)
    for ahead in range(count):
        grown.append(grown[place + ahead])
    return grown[len(tokens) :]


@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.lists(st.integers(0, 3), max_size=5), max_size=12))
def test_guesses_follow_the_longest_match(prompt: list[int], answers: list[list[int]]) -> None:
    """Of those at the latest places after the same two tokens; only the match that goes on may be longer."""
    tokens = list(prompt)
    search = Lookup(tokens)
    for drawn in [[], *answers]:
        tokens += drawn
        places = [place for place in range(2, len(tokens)) if match_at(tokens, place) >= 2]
        least = max((match_at(tokens, place) for place in places[-MOST_PLACES:]), default=2)
        ways = [continued(tokens, place, 4) for place in places if match_at(tokens, place) >= least]
        guess = search.guess(4)
        assert not guess.tokens or guess.tokens in [way[: len(guess.tokens)] for way in ways]
        assert len(guess.chances) == len(guess.tokens) <= 4
        assert all(1 >= before >= after >= LEAST_CHANCE for before, after in pairwise([1.0, *guess.chances]))


@given(st.lists(st.integers(0, 3), max_size=60))
def test_whatever_was_seen_before_is_guessed_at_first(prompt: list[int]) -> None:
    seen = any(match_at(prompt, place) >= 2 for place in range(2, len(prompt)))
    assert bool(Lookup(prompt).guess().tokens) == seen


def test_the_latest_of_equal_matches_is_taken() -> None:
    assert Lookup([1, 2, 3, 0, 1, 2, 4, 0, 1, 2]).guess(1).tokens == [4]


def test_the_longest_match_is_taken_before_the_latest() -> None:
    assert Lookup([8, 9, 1, 2, 3, 0, 1, 2, 4, 8, 9, 1, 2]).guess(1).tokens == [3]


def test_a_quote_is_guessed_to_the_limit() -> None:
    tokens = [*QUOTE, 1, 2, *QUOTE[:20]]
    assert Lookup(tokens).guess(6).tokens == QUOTE[20:26]
    assert Lookup(tokens).guess().tokens == QUOTE[20 : 20 + MOST_GUESSES]


def test_a_repetition_is_guessed_to_go_on() -> None:
    assert Lookup([7, 8, 9] * 6).guess(7).tokens == [7, 8, 9, 7, 8, 9, 7]


@pytest.mark.parametrize("tokens", [[], [1], [1, 2], [1, 2, 3, 4, 5]])
def test_nothing_is_guessed_where_nothing_was_seen_before(tokens: list[int]) -> None:
    assert Lookup(tokens).guess() == ([], [])


def test_guesses_end_before_a_stop_token() -> None:
    assert Lookup([*QUOTE, 1, *QUOTE[:20]], stop_tokens=frozenset({QUOTE[22]})).guess().tokens == QUOTE[20:22]


def test_a_match_goes_on_where_its_place_is_no_longer_among_the_latest() -> None:
    """What follows the pair (1, 2) here is told apart only by what stood long before."""
    passage = [1, 2, *QUOTE[:3]]
    tokens = [50, 51, 52, *passage] + [1, 2, 60] * (2 * MOST_PLACES) + [50, 51, 52]
    search = Lookup(tokens)
    assert search.guess(2).tokens == [1, 2]
    tokens += [1, 2]
    assert search.guess(3).tokens == QUOTE[:3]


def test_a_long_prompt_is_indexed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MOST_INDEXED", 25)
    tokens = [*QUOTE, *QUOTE[:10]]
    search = Lookup(tokens)
    assert [search.guess(1).tokens for _ in range(2)] == [[QUOTE[10]]] * 2  # the quote was in the first part
    late = Lookup([*range(30), *QUOTE, *QUOTE[:10]])
    assert [late.guess(1).tokens for _ in range(3)] == [[], [QUOTE[10]], [QUOTE[10]]]


def chance_of_a_guess(search: Lookup) -> float:
    guess = search.guess(1)
    return guess.chances[0] if guess.chances else 0.0


def test_a_text_that_quotes_is_trusted_and_one_that_does_not_is_not() -> None:
    """Learned from guesses that nobody verified: only the tokens that were drawn are told."""
    quoting = QUOTE[:2] * 30
    search = Lookup(quoting)
    before = chance_of_a_guess(search)
    for number in range(60):
        quoting.append(QUOTE[number % 2])
        last = chance_of_a_guess(search)
    assert last > before
    assert last > 0.98

    deceiving = [1, 2, 0]
    search = Lookup(deceiving)
    for token in range(10, 60):
        deceiving += [1, 2]
        last = chance_of_a_guess(search)
        deceiving.append(token)
    assert last < LEAST_CHANCE


def test_tokens_after_a_wrong_one_are_nobodys_fault() -> None:
    tokens = [*QUOTE, *QUOTE[:8]]
    search = Lookup(tokens)
    search.guess()
    tokens += [*QUOTE[8:20], 1, 2, 3, 4]
    search.guess()
    others = [*QUOTE, *QUOTE[:8]]
    other = Lookup(others)
    other.guess()
    others += [*QUOTE[8:20], 1]
    other.guess()
    others += [2, 3, 4]
    other.guess()
    tail = [5, *QUOTE[:9]]
    tokens += tail
    others += tail
    assert search.guess() == other.guess()


# ---- what is worth verifying ----------------------------------------------------------------------


def memory_bound(guesses: int) -> float:
    """Seconds of a step where a further row costs a twentieth of the first."""
    return 0.02 + 0.001 * guesses


def compute_bound(guesses: int) -> float:
    """Seconds of a step of eight rows where every row costs the same."""
    return 0.01 * (8 + guesses)


def test_a_likely_quote_is_verified_where_rows_are_cheap() -> None:
    assert worthwhile([[0.9**n for n in range(1, MOST_GUESSES + 1)]], memory_bound) == [MOST_GUESSES]


def test_nothing_is_verified_where_every_row_costs_as_much() -> None:
    assert worthwhile([[0.9, 0.8], *[[]] * 7], compute_bound) == [0] * 8


def test_unlikely_guesses_are_not_worth_a_cheap_row() -> None:
    assert worthwhile([[0.06, 0.05]], memory_bound) == [0]


def test_a_step_over_a_costly_threshold_is_taken_where_what_follows_pays() -> None:
    def kernel_of_four(guesses: int) -> float:
        return 0.010 if guesses == 0 else 0.015

    assert worthwhile([[0.4]], kernel_of_four) == [0]
    assert worthwhile([[0.4, 0.39, 0.38]], kernel_of_four) == [3]


def test_the_likeliest_guesses_of_all_answers_come_first() -> None:
    def room_for_three(guesses: int) -> float:
        return 0.02 if guesses <= 3 else 1.0

    assert worthwhile([[0.5, 0.1], [], [0.9, 0.8, 0.2]], room_for_three) == [1, 0, 2]


@pytest.mark.parametrize("chances", [[], [[]], [[], []]])
def test_no_guesses_are_no_work(chances: list[list[float]]) -> None:
    def never_asked(guesses: int) -> float:
        raise AssertionError

    assert worthwhile(chances, never_asked) == [0] * len(chances)


@given(
    st.lists(st.lists(st.floats(0.05, 1), max_size=4).map(lambda some: sorted(some, reverse=True)), max_size=3),
    st.lists(st.floats(0.001, 0.01), min_size=MOST_GUESSES + 1, max_size=MOST_GUESSES + 1),
)
def test_no_other_number_of_guesses_gives_much_more(chances: list[list[float]], added: list[float]) -> None:
    def seconds(guesses: int) -> float:
        return sum(added[: guesses + 1])

    counts = worthwhile(chances, seconds)
    assert all(0 <= count <= len(some) for count, some in zip(counts, chances, strict=True))

    def rate(numbers: list[int]) -> float:
        drawn = sum(1 + sum(some[:number]) for some, number in zip(chances, numbers, strict=True))
        return drawn / seconds(sum(numbers))

    best = rate(counts)
    for answer, some in enumerate(chances):
        for number in range(len(some) + 1):
            alone = [number if other == answer else 0 for other in range(len(chances))]
            assert rate(alone) <= best * lookup.LEAST_GAIN * (1 + 1e-9)
