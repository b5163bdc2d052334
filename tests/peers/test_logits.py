"""Our logits and greedy continuations against llama.cpp's, on the starter model's real weights.

Both engines round activations to int8 before they meet a quantised weight. In a model this small that alone moves the
distribution of the next token by some 3e-3 nats, whoever does it, and moves it differently with every order of
summing: two correct engines agree no better than that on such a file. Therefore two comparisons. On the same weights
stored as fp32 nothing is rounded, and the engines must agree closely. On the file as it is, ours must be as near to
exact arithmetic as the peer is, and where continuations part, the two tokens must be about as likely.
`docs/accuracy.md` has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.accuracy import F64, Peer, Top, divergence, log_probabilities, log_softmax, peer
from fairlead.engine.messages import Sampling
from fairlead.engine.runner import Chunk
from fairlead.gguf.formats import Format
from fairlead.gguf.quants import dequantise
from fairlead.gguf.reader import GGUFFile, Tensor
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.gguf.writer import NewTensor, write_gguf
from fairlead.kernels import PAGE_TOKENS, reference_plan
from fairlead.kernels.native_runner import NativeRunner

U8 = NDArray[np.uint8]

POSITIONS = 200
LIKELIEST = 100
"""Tokens that the peer names at each position. All others count as one outcome of the divergence."""
LENGTH = 32
"""Tokens of a continuation."""
NEAR = 0.65
"""Nats. Rounding moves the gap between the two likeliest tokens by a standard deviation of 0.115 in either engine, 0.16
in both together; this is four of these. Of a wrong computation the gaps would be many nats."""
CONTEXT = 256
QUESTIONS = (
    "Write a short poem about the sea.",
    "Explain in simple words how a refrigerator works.",
    "How do I boil an egg?",
    "Tell me a story about a dragon who was afraid of the dark.",
    "Give me three tips for learning a language.",
    "Why is the sky blue?",
    "Write a letter to a friend who has moved to another town.",
    "What should I pack for a week in the mountains?",
    "Describe a busy market in the early morning.",
    "How did people tell the time before there were clocks?",
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Both engines with one file."""

    ours: NativeRunner
    theirs: Peer


@contextmanager
def _both(path: Path) -> Iterator[Pair]:
    pages = len(QUESTIONS) * CONTEXT
    with GGUFFile.open(path) as file:
        ours = NativeRunner(file, threads=2, kv_tokens=pages)
    # One thread: its threads wait by spinning, and take ten times as long on processors that have other work too.
    with peer(path, context=CONTEXT, threads=1, sequences=len(QUESTIONS)) as theirs:
        yield Pair(ours, theirs)


def _unrounded(tensor: Tensor) -> Iterator[U8]:
    yield dequantise(tensor.data, tensor.format, tensor.shape).view(np.uint8)


@pytest.fixture(scope="module")
def tokenizer(starter_model: Path) -> Tokenizer:
    with GGUFFile.open(starter_model) as file:
        return Tokenizer.from_metadata(file.metadata)


@pytest.fixture(scope="module")
def text(tokenizer: Tokenizer) -> list[int]:
    """The beginning of the corpus."""
    return tokenizer.encode((Path(__file__).parent / "corpus.txt").read_text(encoding="utf-8"))[:POSITIONS]


@pytest.fixture(scope="module")
def prompts(tokenizer: Tokenizer) -> list[list[int]]:
    """The questions, as the model was trained to see them."""
    marked = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    return [tokenizer.encode_marked(marked.format(question), "\ufdd0") for question in QUESTIONS]


@pytest.fixture(scope="module")
def exact(starter_model: Path, text: list[int]) -> F64:
    """Log-probabilities in double precision, [positions, vocabulary]."""
    with GGUFFile.open(starter_model) as file:
        return log_softmax(reference_plan.logits(file, text))


@pytest.fixture(scope="module")
def as_it_is(starter_model: Path) -> Iterator[Pair]:
    """The starter model's file, in 4 bits."""
    with _both(starter_model) as pair:
        yield pair


@pytest.fixture(scope="module")
def unrounded(starter_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The same weights as fp32, which holds them exactly."""
    path = tmp_path_factory.mktemp("unrounded") / "model.gguf"
    with GGUFFile.open(starter_model) as file:
        tensors = [NewTensor(name, Format.F32, t.shape, _unrounded(t)) for name, t in file.tensors.items()]
        write_gguf(path, dict(file.metadata), tensors)
    with _both(path) as pair:
        path.unlink()  # half a gigabyte, which both have read or mapped
        yield pair


def test_log_probabilities_on_unrounded_weights(unrounded: Pair, text: list[int]) -> None:
    ours = log_probabilities(unrounded.ours, text, rows=POSITIONS)
    theirs = unrounded.theirs.likeliest(text, LIKELIEST)
    assert _mean_divergence(theirs, ours) < 1e-5
    furthest = [np.abs(top.logprobs[:5] - row[top.ids[:5]]).max() for top, row in zip(theirs, ours, strict=True)]
    assert max(furthest) < 0.05


def test_greedy_continuations_on_unrounded_weights(unrounded: Pair, prompts: list[list[int]]) -> None:
    ours = _continuations(unrounded.ours, prompts)
    theirs = unrounded.theirs.continuations(prompts, LENGTH)
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= 8


def test_log_probabilities_of_the_file_as_it_is(as_it_is: Pair, text: list[int], exact: F64) -> None:
    theirs = as_it_is.theirs.likeliest(text, LIKELIEST)
    their_error = _mean_divergence(theirs, exact)
    for rows in (POSITIONS, 1):  # prefill and decoding, which may have kernels of their own
        ours = log_probabilities(as_it_is.ours, text, rows)
        our_error = _mean_divergence([Top.of(row, LIKELIEST) for row in ours], exact)
        assert our_error < 1.5 * their_error
        assert _mean_divergence(theirs, ours) < 1.5 * (our_error + their_error)


def test_where_greedy_continuations_of_the_file_as_it_is_part(as_it_is: Pair, prompts: list[list[int]]) -> None:
    ours = _continuations(as_it_is.ours, prompts)
    theirs = as_it_is.theirs.continuations(prompts, LENGTH)
    for prompt, our, their in zip(prompts, ours, theirs, strict=True):
        parted = next((n for n, (a, b) in enumerate(zip(our, their, strict=True)) if a != b), None)
        if parted is None:
            continue
        common = [*prompt, *our[:parted]]
        (top,) = as_it_is.theirs.likeliest(common, LIKELIEST, start=len(common) - 1)
        (at_our_token,) = top.logprobs[top.ids == our[parted]]
        assert top.logprobs[0] - at_our_token < NEAR


def _mean_divergence(tops: Sequence[Top], logprobs: F64) -> float:
    """From distributions of which the likeliest tokens are known to whole ones, [positions, vocabulary]."""
    pairs = zip(tops, logprobs, strict=True)
    return float(np.mean([divergence(top.outcomes, top.outcomes_of(row)) for top, row in pairs]))


def _continuations(runner: NativeRunner, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """What greedy decoding puts after each prompt, all of them side by side."""
    pages = CONTEXT // PAGE_TOKENS
    tables = [range(number * pages, (number + 1) * pages) for number in range(len(prompts))]
    for number, prompt in enumerate(prompts):
        runner.open(number, Sampling(temperature=0), prompt, 0, [])
    chunks = [Chunk(number, prompt, 0, tables[number], samples=True) for number, prompt in enumerate(prompts)]
    answers: list[list[int]] = [[] for _ in prompts]
    for _ in range(LENGTH):
        for draw in runner.forward(chunks):
            answers[draw.request_id].append(draw.token)
        chunks = [
            Chunk(number, answer[-1:], len(prompts[number]) + len(answer) - 1, tables[number], samples=True)
            for number, answer in enumerate(answers)
        ]
    for number in range(len(prompts)):
        runner.close(number)
    return answers
