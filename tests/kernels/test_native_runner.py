"""The runner for the CPU on real weights: drafts change the speed of an answer and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.engine.messages import Sampling
from fairlead.engine.runner import Chunk, Sampled, Scores
from fairlead.gguf.reader import GGUFFile
from fairlead.kernels import PAGE_TOKENS
from fairlead.kernels.native_runner import NativeRunner

PROMPT = list(range(1000, 1000 + PAGE_TOKENS - 5))
LENGTH = 24
"""Tokens of an answer; it crosses a page's end after the fifth."""
SAMPLINGS = {
    "greedy": Sampling(temperature=0),
    "seeded": Sampling(temperature=0.9, top_p=0.9, seed=11),
    "penalised": Sampling(temperature=0.8, top_k=40, repetition_penalty=1.3, frequency_penalty=0.4, seed=12),
    "reported": Sampling(temperature=1.2, min_p=0.05, presence_penalty=0.5, logprobs=3, seed=13),
}

Guess = Callable[[int], Sequence[int]]
"""The drafts of the step that draws so many tokens after the first of an answer."""


@pytest.fixture(scope="module")
def runner(starter_model: Path) -> NativeRunner:
    with GGUFFile.open(starter_model) as file:
        return NativeRunner(file, threads=2, kv_tokens=8 * PAGE_TOKENS)


@pytest.fixture(scope="module")
def unguessed(runner: NativeRunner) -> dict[str, list[Sampled]]:
    """What is drawn without guesses, in a step for each token."""
    plain = {name: answer(runner, sampling) for name, sampling in SAMPLINGS.items()}
    assert all(steps == LENGTH for _, steps in plain.values())
    return {name: drawn for name, (drawn, _) in plain.items()}


def no_guess(_drawn: int) -> Sequence[int]:
    return []


def pages_for(tokens: int) -> list[int]:
    """Pages of a sequence, out of order."""
    return [5, 2, 7, 0][: -(-tokens // PAGE_TOKENS)]


def draws(runner: NativeRunner, chunks: Sequence[Chunk]) -> list[Sampled]:
    """What is drawn where nothing is scored."""
    return [result for result in runner.forward(chunks) if isinstance(result, Sampled)]


def answer(
    runner: NativeRunner,
    sampling: Sampling,
    guess: Guess = no_guess,
    *,
    min_tokens: int = 0,
    stop_tokens: Sequence[int] = (),
) -> tuple[list[Sampled], int]:
    """What is drawn after PROMPT, at least LENGTH tokens, and in how many steps."""
    runner.open(1, sampling, PROMPT, min_tokens, stop_tokens)
    drawn = draws(runner, [Chunk(1, PROMPT, 0, pages_for(len(PROMPT)), True)])
    steps = 1
    while len(drawn) < LENGTH:
        drafts = list(guess(len(drawn)))
        start = len(PROMPT) + len(drawn) - 1
        tokens = [drawn[-1].token, *drafts]
        new = draws(runner, [Chunk(1, tokens, start, pages_for(start + len(tokens)), True, len(drafts))])
        right = next((n for n, draw in enumerate(new[:-1]) if draw.token != drafts[n]), len(new) - 1)
        assert right == len(new) - 1, "drawn after a wrong guess"
        assert len(new) > len(drafts) or new[-1].token != drafts[len(new) - 1], "a right guess was not drawn after"
        drawn += new
        steps += 1
    runner.close(1)
    return drawn, steps


@pytest.mark.parametrize("name", SAMPLINGS)
def test_right_guesses_save_steps_and_change_nothing(
    runner: NativeRunner, unguessed: dict[str, list[Sampled]], name: str
) -> None:
    expected = unguessed[name]
    tokens = [draw.token for draw in expected]
    drawn, steps = answer(runner, SAMPLINGS[name], lambda done: tokens[done : done + 7])
    assert drawn[:LENGTH] == expected
    assert steps == 1 + -(-(LENGTH - 1) // 8)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("name", SAMPLINGS)
def test_wrong_guesses_change_nothing(
    runner: NativeRunner, unguessed: dict[str, list[Sampled]], name: str, data: st.DataObject
) -> None:
    expected = unguessed[name]
    tokens = [draw.token for draw in expected]

    def mixed(done: int) -> Sequence[int]:
        right = data.draw(st.integers(0, 6))
        wrong = data.draw(st.lists(st.integers(0, runner.vocab_size - 1), max_size=6 - right))
        return tokens[done : done + right] + wrong

    drawn, _ = answer(runner, SAMPLINGS[name], mixed)
    assert drawn[:LENGTH] == expected


def test_a_stop_token_within_the_guesses_is_drawn_where_it_would_have_been(
    runner: NativeRunner, unguessed: dict[str, list[Sampled]]
) -> None:
    """Whoever asked ends there; and it is not drawn before the answer has its least length, guessed or not."""
    sampling = SAMPLINGS["greedy"]
    tokens = [draw.token for draw in unguessed["greedy"]]
    stop = tokens[10]
    first = tokens.index(stop)
    drawn, _ = answer(runner, sampling, lambda done: tokens[done : done + 5], stop_tokens=[stop])
    assert [draw.token for draw in drawn].index(stop) == first

    expected, _ = answer(runner, sampling, min_tokens=first + 4, stop_tokens=[stop])
    drawn, _ = answer(runner, sampling, lambda done: tokens[done : done + 5], min_tokens=first + 4, stop_tokens=[stop])
    assert drawn[:LENGTH] == expected
    assert stop not in [draw.token for draw in drawn[: first + 4]]


def test_drafts_stand_beside_prompts_and_other_answers(runner: NativeRunner) -> None:
    """In one step: an answer with drafts, a part of a prompt, and a prompt whose first token is drawn.

    Greedily: so many rows go through tiles where there are any, which is near enough for the likeliest token alone.
    """
    sampling = SAMPLINGS["greedy"]
    expected, _ = answer(runner, sampling)
    tokens = [draw.token for draw in expected]
    other = list(range(3000, 3020))
    for number, prompt in enumerate([PROMPT, other, other[:7]]):
        runner.open(number, sampling, prompt, 0, ())
    first = draws(runner, [Chunk(0, PROMPT, 0, [5], True)])
    drawn = runner.forward(
        [
            Chunk(1, other[:9], 0, [3], False),
            Chunk(0, tokens[:4], len(PROMPT), [5], True, 3),
            Chunk(2, other[:7], 0, [1], True),
        ]
    )
    assert [draw.request_id for draw in drawn] == [0] * 4 + [2]
    assert first + drawn[:4] == [Sampled(0, token) for token in tokens[:5]]
    alone = draws(runner, [Chunk(1, other[9:], 9, [3], True)])
    for number in range(3):
        runner.close(number)
    runner.open(1, sampling, other, 0, ())
    assert draws(runner, [Chunk(1, other, 0, [4], True)]) == alone
    runner.close(1)


def test_the_times_of_stages_cover_a_step_and_name_its_weights(runner: NativeRunner) -> None:
    chunk = Chunk(1, PROMPT, 0, pages_for(len(PROMPT)), True)
    stages = runner.stage_times([chunk])
    assert sum(stage.weight_bytes for stage in stages) == runner.weight_bytes
    assert {stage.name.split(" ")[0] for stage in stages} == {"hold", "products", "gated", "attention"}
    assert all(stage.seconds > 0 for stage in stages)


def test_branches_score_as_whole_sequences_do(runner: NativeRunner) -> None:
    """Behind a prefix whose last page is copied for each: as the logits of prefix and continuation in one piece say."""
    continuations = [[400, 28, 3000], [700], [400, 29]]
    runner.open(1, SAMPLINGS["greedy"], PROMPT, 0, ())
    (first,) = runner.forward([Chunk(1, PROMPT, 0, [5], False, scores=[[ids[0] for ids in continuations]])])
    chunks = []
    for number, (ids, pages) in enumerate(zip(continuations, ([2, 7], [], [0]), strict=True)):
        if pages:
            runner.copy_page(5, pages[0])
            wanted = [[token] for token in ids[1:]]
            chunks.append(Chunk(1, ids[:-1], len(PROMPT), pages, False, scores=wanted, branch=number))
    further = iter(runner.forward(chunks))
    runner.close(1)
    assert isinstance(first, Scores)
    for ids, begin in zip(continuations, first.logprobs[0], strict=True):
        found = [begin]
        if len(ids) > 1:
            scores = next(further)
            assert isinstance(scores, Scores)
            found += [logprob for (logprob,) in scores.logprobs]
        logits = runner.logits([Chunk(1, [*PROMPT, *ids], 0, [3, 6], False)])[len(PROMPT) - 1 : -1].astype(np.float64)
        whole = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        assert found == pytest.approx([whole[place, token] for place, token in enumerate(ids)], abs=0.05)
