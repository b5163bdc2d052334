"""Sampling against what the filters promise, on distributions small enough to count, in every instruction set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairlead.kernels import PAGE_TOKENS, instruction_sets, set_instruction_set
from fairlead.kernels._native import Draw, KvCache, Plan, Sampler, ThreadPool, Weight

F32 = NDArray[np.float32]

VOCABULARY = 40
BLOCKS = 700
"""A vocabulary that is surveyed in several blocks, the last one short."""


@pytest.fixture(params=instruction_sets(), autouse=True)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    set_instruction_set(request.param)
    yield request.param
    set_instruction_set(instruction_sets()[-1])


class Dice:
    """A plan whose logits are chosen: tokens whose embeddings are the rows of `logits`, one or several."""

    def __init__(self, logits: F32, threads: int = 1) -> None:
        self.pool = ThreadPool(threads)
        table = np.ascontiguousarray(np.atleast_2d(logits), np.float32)
        self.rows = len(table)
        self.cache = KvCache(layers=1, heads=1, head_dim=16, pages=-(-self.rows // PAGE_TOKENS))
        self.weight = Weight(0, table.view(np.uint8).ravel(), self.rows, table.shape[1], self.pool)
        self.plan = Plan(self.pool, self.cache)
        self.plan.hold(self.plan.buffer(table.shape[1]), self.plan.embedding(self.weight))

    def compute(self) -> None:
        """Hold all rows as logits."""
        rows, pages = np.arange(self.rows, dtype=np.int32), np.arange(-(-self.rows // PAGE_TOKENS), dtype=np.int32)
        self.plan.run(
            tokens=rows,
            positions=rows,
            first_row=np.array([0, len(rows)], np.int32),
            first_page=np.array([0, len(pages)], np.int32),
            pages=pages,
            selected=np.zeros(0, np.int32),
        )

    def deal(self, samplers: Sequence[Sampler], guesses: Sequence[Sequence[int]]) -> list[list[Draw]]:
        """Draws from all rows, dealt to the samplers in order."""
        self.compute()
        return self.plan.draw(0, samplers, guesses)

    def roll(self, sampler: Sampler) -> Draw:
        return self.deal([sampler], [[]])[0][0]

    def tally(self, sampler: Sampler, times: int) -> Counter[int]:
        return Counter(self.roll(sampler).token for _ in range(times))


def softmax(logits: F32, temperature: float = 1.0) -> NDArray[np.float64]:
    scaled = logits.astype(np.float64) / temperature
    weights: NDArray[np.float64] = np.exp(scaled - scaled.max())
    weights /= weights.sum()
    return weights


@pytest.fixture
def logits() -> F32:
    return np.random.default_rng(7).normal(0, 2, VOCABULARY).astype(np.float32)


def test_greedy_takes_the_likeliest_and_the_lower_id_of_equals(logits: F32) -> None:
    assert Dice(logits).roll(Sampler([], temperature=0)).token == int(logits.argmax())
    assert Dice(np.zeros(8, np.float32)).roll(Sampler([], temperature=0)).token == 0


def filtered(
    logits: F32, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> NDArray[np.float64]:
    """The distribution that is to be drawn from: top_k, then min_p and the fewest that reach a share of top_p."""
    probabilities = softmax(logits, temperature)
    order = np.lexsort((np.arange(len(logits)), -probabilities))[: top_k or None]
    kept = probabilities[order]
    before = np.cumsum(kept) - kept
    order = order[(before < top_p * kept.sum()) & (kept >= min_p * kept[0])]
    result = np.zeros(len(logits))
    result[order] = probabilities[order] / probabilities[order].sum()
    return result


@pytest.mark.parametrize("vocabulary", [VOCABULARY, BLOCKS])
@pytest.mark.parametrize(
    "filters",
    [
        {"temperature": 0.5}, {"temperature": 1.7}, {"top_k": 5}, {"top_k": 300}, {"top_p": 0.1}, {"top_p": 0.8},
        {"min_p": 0.05}, {"temperature": 1.4, "top_k": 30, "top_p": 0.7}, {"top_p": 0.6, "min_p": 0.3},
    ],
    ids=str,
)  # fmt: skip
def test_draws_follow_the_filtered_distribution(vocabulary: int, filters: dict[str, float]) -> None:
    logits = np.random.default_rng(9).normal(0, 2, vocabulary).astype(np.float32)
    times = 2000
    counts = Dice(logits).tally(Sampler([], seed=3, **filters), times)  # type: ignore[arg-type]
    for token, probability in enumerate(filtered(logits, **filters)):  # type: ignore[arg-type]
        if probability == 0:
            assert token not in counts
        spread = 5 * math.sqrt(times * probability * (1 - probability)) + 1
        assert abs(counts[token] - times * probability) < spread


def test_nothing_that_is_banned_is_drawn_where_all_else_is_unlikely() -> None:
    """A whole block of stop tokens, and weights too small for a float."""
    logits = np.full(BLOCKS, -200.0, np.float32)
    logits[-1] = 0
    for top_p in (1.0, 1.0 - 1e-7):
        sampler = Sampler([], min_tokens=1000, stop_tokens=list(range(300)), top_p=top_p)
        assert set(Dice(logits).tally(sampler, 50)) == {BLOCKS - 1}


@given(seed=st.integers(0, 2**64 - 1), k=st.integers(1, VOCABULARY))
def test_top_k_keeps_the_k_likeliest(seed: int, k: int) -> None:
    logits = np.random.default_rng(11).normal(0, 1, VOCABULARY).astype(np.float32)
    kept = set(np.argsort(-logits)[:k].tolist())
    assert set(Dice(logits).tally(Sampler([], top_k=k, seed=seed), 20)) <= kept


@given(seed=st.integers(0, 2**64 - 1), p=st.floats(0.05, 0.999), temperature=st.floats(0.2, 2.0))
def test_top_p_keeps_the_fewest_that_reach_it(seed: int, p: float, temperature: float) -> None:
    logits = np.random.default_rng(12).normal(0, 3, VOCABULARY).astype(np.float32)
    order = np.argsort(-logits)
    before = np.cumsum(softmax(logits, temperature)[order]) - softmax(logits, temperature)[order]
    kept = set(order[before < p + 1e-6].tolist())
    sampler = Sampler([], top_p=p, temperature=temperature, seed=seed)
    assert set(Dice(logits).tally(sampler, 20)) <= kept


@given(seed=st.integers(0, 2**64 - 1), share=st.floats(0.01, 1.0))
def test_min_p_keeps_those_near_the_likeliest(seed: int, share: float) -> None:
    logits = np.random.default_rng(13).normal(0, 1, VOCABULARY).astype(np.float32)
    probabilities = softmax(logits)
    kept = set(np.flatnonzero(probabilities >= share * probabilities.max() * (1 - 1e-5)).tolist())
    assert set(Dice(logits).tally(Sampler([], min_p=share, seed=seed), 20)) <= kept


def test_top_p_of_nothing_leaves_the_likeliest(logits: F32) -> None:
    assert set(Dice(logits).tally(Sampler([], top_p=1e-9, temperature=5.0), 50)) == {int(logits.argmax())}


def test_a_flat_distribution_is_cut_by_top_p_too() -> None:
    drawn = Dice(np.zeros(2000, np.float32)).tally(Sampler([], top_p=0.5, seed=1), 500)
    assert max(drawn) < 1001
    assert len(drawn) > 300


def test_the_seed_alone_decides(logits: F32) -> None:
    def draws(seed: int) -> list[int]:
        sampler, dice = Sampler([], seed=seed), Dice(logits)
        return [dice.roll(sampler).token for _ in range(20)]

    assert draws(5) == draws(5)
    assert draws(5) != draws(6)


def test_penalties_push_down_what_was_said(logits: F32) -> None:
    first, second = (int(i) for i in np.argsort(-logits)[:2])
    gap = float(logits[first] - logits[second])
    for sampler in (
        Sampler([], temperature=0, presence_penalty=gap + 0.1),
        Sampler([], temperature=0, frequency_penalty=gap + 0.1),
        Sampler([], temperature=0, repetition_penalty=100.0),
    ):
        dice = Dice(logits)
        assert dice.roll(sampler).token == first
        assert dice.roll(sampler).token == second
    assert Dice(logits).roll(Sampler([first], temperature=0, repetition_penalty=100.0)).token == second
    assert Dice(logits).roll(Sampler([first], temperature=0, presence_penalty=100.0)).token == first


def test_bias_moves_a_token_and_ignores_unknown_ones(logits: F32) -> None:
    last = int(logits.argmin())
    bias = [(last, 100.0), (10**6, 5.0), (-3, 5.0)]
    assert Dice(logits).roll(Sampler([], temperature=0, logit_bias=bias)).token == last


def test_stop_tokens_wait_for_the_least_length(logits: F32) -> None:
    first = int(logits.argmax())
    sampler, dice = Sampler([], temperature=0, min_tokens=2, stop_tokens=[first]), Dice(logits)
    assert [dice.roll(sampler).token == first for _ in range(3)] == [False, False, True]


def test_logprobs_are_the_models_own(logits: F32) -> None:
    sampler = Sampler([], temperature=0.3, top_k=1, logit_bias=[(3, 50.0)], logprobs=5)
    draw = Dice(logits).roll(sampler)
    expected = np.log(softmax(logits))
    assert draw.token == 3
    assert draw.logprob == pytest.approx(expected[3], abs=1e-5)
    assert [token for token, _ in draw.top] == np.argsort(-logits)[:5].tolist()
    assert [logprob for _, logprob in draw.top] == pytest.approx(np.sort(expected)[::-1][:5].tolist(), abs=1e-5)


def test_logits_that_are_no_numbers_are_an_error(logits: F32) -> None:
    logits[:] = np.nan
    with pytest.raises(ValueError, match="no finite logits"):
        Dice(logits).roll(Sampler([]))


# ---- guesses and teams ----------------------------------------------------------------------------


def sampler_of(kind: str) -> Sampler:
    match kind:
        case "greedy":
            return Sampler([], temperature=0)
        case "plain":
            return Sampler([], seed=4)
        case "filtered":
            return Sampler([], top_p=0.9, temperature=1.3, seed=5)
        case "penalised":
            return Sampler([1, 2, 3], top_k=20, frequency_penalty=0.5, repetition_penalty=1.2, seed=6)
        case _:
            return Sampler([], logprobs=3, presence_penalty=1.0, min_tokens=4, stop_tokens=[5, 6], seed=7)


KINDS = ["greedy", "plain", "filtered", "penalised", "reported"]


def told(draws: Sequence[Draw]) -> list[tuple[int, float, list[tuple[int, float]]]]:
    return [(draw.token, draw.logprob, draw.top) for draw in draws]


@pytest.fixture(scope="module")
def steps() -> F32:
    """Logits of six steps."""
    return np.random.default_rng(21).normal(0, 2, (6, BLOCKS)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("right", range(6))
def test_draws_with_guesses_are_those_made_one_by_one(steps: F32, kind: str, right: int) -> None:
    """Drawn are as many as there are right guesses, and one more."""
    alone = sampler_of(kind)
    expected = [Dice(row).roll(alone) for row in steps]
    guesses = [draw.token for draw in expected[:-1]]
    if right < len(guesses):
        guesses[right] = (guesses[right] + 1) % BLOCKS
    sampler = sampler_of(kind)
    drawn = Dice(steps, threads=2).deal([sampler], [guesses])[0]
    assert told(drawn) == told(expected[: right + 1])
    if right < 5:  # wrong guesses leave no trace
        assert told([Dice(steps[right + 1]).roll(sampler)]) == told(expected[right + 1 : right + 2])


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_draws_depend_neither_on_the_team_nor_on_others(steps: F32, threads: int) -> None:
    rows = np.concatenate([steps[:2], steps[:3], steps[:1]])
    alone = [sampler_of(kind) for kind in ("filtered", "reported", "plain")]
    expected = [Dice(steps).deal([sampler], [[]])[0] for sampler in alone]
    guesses = [[expected[0][0].token], [BLOCKS - 1, 0], []]
    drawn = Dice(rows, threads).deal([sampler_of(kind) for kind in ("filtered", "reported", "plain")], guesses)
    assert [told(some[:1]) for some in drawn] == [told(some) for some in expected]
    assert [len(some) for some in drawn] == [2, 1, 1]


def test_guesses_need_their_rows_and_samplers(steps: F32) -> None:
    dice = Dice(steps)
    with pytest.raises(ValueError, match="more draws than rows"):
        dice.deal([Sampler([])], [[0] * 600])
    with pytest.raises(ValueError, match="differ in number"):
        dice.deal([Sampler([])], [])


def test_logits_that_are_no_numbers_are_an_error_after_a_guess_too(steps: F32) -> None:
    rows = steps[:2].copy()
    rows[1] = np.nan
    with pytest.raises(ValueError, match="no finite logits"):
        Dice(rows, threads=2).deal([Sampler([], temperature=0)], [[int(rows[0].argmax())]])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_scores_are_log_probabilities_of_the_rows_asked_about(threads: int) -> None:
    logits = np.random.default_rng(3).normal(0, 9, (5, BLOCKS)).astype(np.float32)
    logits[2] -= 1000  # whose weights alone would be 0
    logits[3, :300] = -np.inf  # whole blocks of them
    dice = Dice(logits, threads)
    dice.compute()
    asked = [[0, BLOCKS - 1], [], [5], [200, 200, 3]]
    found = dice.plan.score(0, 1, asked)
    for row, tokens, told in zip(logits[1:], asked, found, strict=True):
        with np.errstate(divide="ignore"):
            assert told == pytest.approx(list(np.log(softmax(row))[tokens]), rel=1e-5)
    assert dice.plan.score(0, 5, []) == []


def test_scores_of_what_is_not_there_are_refused(logits: F32) -> None:
    dice = Dice(logits)
    dice.compute()
    for tokens in ([[VOCABULARY]], [[-1]]):
        with pytest.raises(ValueError, match="outside the vocabulary"):
            dice.plan.score(0, 0, tokens)
    for first in (1, -1):
        with pytest.raises(ValueError, match="more questions than rows"):
            dice.plan.score(0, first, [[0]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_not_scored(value: float) -> None:
    dice = Dice(np.full(VOCABULARY, value, np.float32))
    dice.compute()
    with pytest.raises(ValueError, match="not numbers"):
        dice.plan.score(0, 0, [[0]])
