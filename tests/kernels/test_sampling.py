"""Sampling against what the filters promise, on distributions small enough to count."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairlead.kernels._native import Draw, KvCache, Plan, Sampler, ThreadPool, Weight

VOCABULARY = 40


class Dice:
    """A plan whose logits are chosen: one token whose embedding is the logits."""

    def __init__(self, logits: NDArray[np.float32]) -> None:
        self.pool = ThreadPool(1)
        self.cache = KvCache(layers=1, heads=1, head_dim=16, pages=1)
        table = np.ascontiguousarray(logits, np.float32).reshape(1, -1)
        self.weight = Weight(0, table.view(np.uint8).ravel(), 1, table.shape[1], self.pool)
        self.plan = Plan(self.pool, self.cache)
        self.plan.embed(self.plan.buffer(table.shape[1]), self.weight)

    def roll(self, sampler: Sampler) -> Draw:
        zero, one, none = np.zeros(1, np.int32), np.array([0, 1], np.int32), np.zeros(0, np.int32)
        pages = np.zeros(1, np.int32)
        self.plan.run(tokens=zero, positions=zero, first_row=one, first_page=one, pages=pages, selected=none)
        return self.plan.draw(0, [sampler], [[]])[0][0]

    def tally(self, sampler: Sampler, times: int) -> Counter[int]:
        return Counter(self.roll(sampler).token for _ in range(times))


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    scaled = logits.astype(np.float64) / temperature
    weights: NDArray[np.float64] = np.exp(scaled - scaled.max())
    weights /= weights.sum()
    return weights


@pytest.fixture
def logits() -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(0, 2, VOCABULARY).astype(np.float32)


def test_greedy_takes_the_likeliest_and_the_lower_id_of_equals(logits: NDArray[np.float32]) -> None:
    assert Dice(logits).roll(Sampler([], temperature=0)).token == int(logits.argmax())
    assert Dice(np.zeros(8, np.float32)).roll(Sampler([], temperature=0)).token == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_draws_follow_the_distribution(logits: NDArray[np.float32], temperature: float) -> None:
    times = 4000
    counts = Dice(logits).tally(Sampler([], temperature=temperature, seed=3), times)
    expected = softmax(logits, temperature)
    for token, probability in enumerate(expected):
        spread = 5 * math.sqrt(times * probability * (1 - probability)) + 1
        assert abs(counts[token] - times * probability) < spread


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


def test_a_flat_distribution_is_cut_by_top_p_too() -> None:
    drawn = Dice(np.zeros(2000, np.float32)).tally(Sampler([], top_p=0.5, seed=1), 500)
    assert max(drawn) < 1001
    assert len(drawn) > 300


def test_the_seed_alone_decides(logits: NDArray[np.float32]) -> None:
    def draws(seed: int) -> list[int]:
        sampler, dice = Sampler([], seed=seed), Dice(logits)
        return [dice.roll(sampler).token for _ in range(20)]

    assert draws(5) == draws(5)
    assert draws(5) != draws(6)


def test_penalties_push_down_what_was_said(logits: NDArray[np.float32]) -> None:
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


def test_bias_moves_a_token_and_ignores_unknown_ones(logits: NDArray[np.float32]) -> None:
    last = int(logits.argmin())
    bias = [(last, 100.0), (10**6, 5.0), (-3, 5.0)]
    assert Dice(logits).roll(Sampler([], temperature=0, logit_bias=bias)).token == last


def test_stop_tokens_wait_for_the_least_length(logits: NDArray[np.float32]) -> None:
    first = int(logits.argmax())
    sampler, dice = Sampler([], temperature=0, min_tokens=2, stop_tokens=[first]), Dice(logits)
    assert [dice.roll(sampler).token == first for _ in range(3)] == [False, False, True]


def test_logprobs_are_the_models_own(logits: NDArray[np.float32]) -> None:
    sampler = Sampler([], temperature=0.3, top_k=1, logit_bias=[(3, 50.0)], logprobs=5)
    draw = Dice(logits).roll(sampler)
    expected = np.log(softmax(logits))
    assert draw.token == 3
    assert draw.logprob == pytest.approx(expected[3], abs=1e-5)
    assert [token for token, _ in draw.top] == np.argsort(-logits)[:5].tolist()
    assert [logprob for _, logprob in draw.top] == pytest.approx(np.sort(expected)[::-1][:5].tolist(), abs=1e-5)


def test_logits_that_are_no_numbers_are_an_error(logits: NDArray[np.float32]) -> None:
    logits[:] = np.nan
    with pytest.raises(ValueError, match="no finite logits"):
        Dice(logits).roll(Sampler([]))
