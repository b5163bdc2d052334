"""Every architecture against `transformers`, on the random weights of `tiny_models`.

`golden/make_golden.py` wrote the logits. In fp32 ours must agree within 1e-4 of the largest logit; in every other
format they must agree with the reference run in NumPy on the same weights, within what rounding the activations
costs (to bf16 in AMX tiles, elsewhere to integers of 16 bits, or of 8 where these are allowed), and not beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead.engine.runner import Chunk
from fairlead.gguf.formats import Format
from fairlead.gguf.reader import GGUFFile
from fairlead.kernels import instruction_sets, reference_plan, set_instruction_set
from fairlead.kernels.native_runner import NativeRunner
from tests.tiny_models import MODELS, make

GOLDEN = Path(__file__).parent.parent / "golden"
EXACT = (Format.F32, Format.F16)
"""Formats whose products are computed in fp32."""
ARITHMETIC = [(name, "q16") for name in instruction_sets()] + [
    (name, "q8") for name in instruction_sets() if name in ("avx-vnni", "vnni")
]
"""Instruction sets, and what activations may become in them: bytes where there are products of many rows in bytes."""


@pytest.fixture(scope="module", params=sorted(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def golden(name: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Tokens [sequences, length] and logits [sequences, length, vocabulary]."""
    with np.load(GOLDEN / f"{name.removesuffix('-split')}.npz") as arrays:
        return arrays["tokens"], arrays["logits"]


@pytest.fixture(scope="module")
def made(name: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Format], Path]:
    """The model's file in a format, written once."""
    folder = tmp_path_factory.mktemp("models")

    @cache
    def file_in(weight_format: Format) -> Path:
        make(folder / f"{weight_format.name}.gguf", name, weight_format)
        return folder / f"{weight_format.name}.gguf"

    return file_in


@pytest.fixture(scope="module")
def referenced(
    made: Callable[[Format], Path], golden: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> Callable[[Format], NDArray[np.floating]]:
    """The reference's logits of the first sequence with weights in a format, computed once."""

    @cache
    def logits_in(weight_format: Format) -> NDArray[np.floating]:
        with GGUFFile.open(made(weight_format)) as file:
            return reference_plan.logits(file, golden[0][0].tolist())

    return logits_in


@contextmanager
def runner(path: Path, kv_type: str = "f32", activations: str = "q16") -> Iterator[NativeRunner]:
    with GGUFFile.open(path) as file:
        yield NativeRunner(file, threads=2, kv_tokens=512, kv_type=kv_type, activations=activations)


def logits(run: NativeRunner, tokens: Sequence[int], first_page: int = 0) -> NDArray[np.float32]:
    return run.logits([Chunk(0, tokens, 0, range(first_page, first_page + 4), samples=False)])


def furthest(ours: NDArray[np.float32], theirs: NDArray[np.floating]) -> float:
    """The largest difference, relative to the largest logit."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def spread(ours: NDArray[np.float32], theirs: NDArray[np.floating]) -> float:
    """The difference's share of the logits, both as root mean squares."""
    return float(np.sqrt(np.square(ours - theirs).mean() / np.square(theirs).mean()))


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_fp32_logits_are_those_of_transformers(
    instruction_set: str,
    golden: tuple[NDArray[np.int64], NDArray[np.float32]],
    made: Callable[[Format], Path],
) -> None:
    best = instruction_sets()[-1]
    set_instruction_set(instruction_set)
    try:
        with runner(made(Format.F32)) as run:
            for tokens, expected in zip(*golden, strict=True):
                assert furthest(logits(run, tokens.tolist()), expected) < 1e-4
    finally:
        set_instruction_set(best)


def test_the_reference_gives_them_too(
    name: str, golden: tuple[NDArray[np.int64], NDArray[np.float32]], tmp_path: Path
) -> None:
    make(tmp_path / "tiny.gguf", name)
    with GGUFFile.open(tmp_path / "tiny.gguf") as file:
        for tokens, expected in zip(*golden, strict=True):
            assert furthest(expected, reference_plan.logits(file, tokens.tolist())) < 1e-5


@pytest.mark.parametrize(("instruction_set", "activations"), ARITHMETIC)
@pytest.mark.parametrize("weight_format", list(Format), ids=lambda f: f.name)
def test_every_format_is_as_good_as_its_weights(
    weight_format: Format,
    instruction_set: str,
    activations: str,
    golden: tuple[NDArray[np.int64], NDArray[np.float32]],
    made: Callable[[Format], Path],
    referenced: Callable[[Format], NDArray[np.floating]],
) -> None:
    expected = referenced(weight_format)
    set_instruction_set(instruction_set)
    try:
        with runner(made(weight_format), activations=activations) as run:
            ours = logits(run, golden[0][0].tolist())
    finally:
        set_instruction_set(instruction_sets()[-1])
    largest_error, error = 2e-3, 5e-4
    if weight_format not in EXACT:
        if instruction_set == "amx":
            largest_error, error = 0.05, 0.02
        elif activations == "q8":  # of so few groups as these have, no large one stands out
            largest_error, error = 0.1, 0.04
    assert furthest(ours, expected) < largest_error
    assert spread(ours, expected) < error


def test_whole_equals_chunked_and_one_by_one(
    name: str, golden: tuple[NDArray[np.int64], NDArray[np.float32]], tmp_path: Path
) -> None:
    make(tmp_path / "tiny.gguf", name)
    tokens = golden[0][0].tolist()
    with runner(tmp_path / "tiny.gguf") as run:
        whole = logits(run, tokens)
        for sizes in ([5, 1, 31, 11], [1] * 48):
            parts, start = [], 0
            for size in sizes:
                chunk = Chunk(0, tokens[start : start + size], start, [9, 4, 6], samples=False)
                parts.append(run.logits([chunk]))
                start += size
            assert furthest(np.concatenate(parts), whole) < 1e-5


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_batched_equals_alone(
    instruction_set: str, golden: tuple[NDArray[np.int64], NDArray[np.float32]], made: Callable[[Format], Path]
) -> None:
    """To the last places of fp32; with AMX, whose bf16 tiles take many rows and leave few, within their rounding."""
    first, second = (row.tolist() for row in golden[0])
    set_instruction_set(instruction_set)
    try:
        with runner(made(Format.Q8_0), "f16") as run:
            alone = [logits(run, first), logits(run, second[:7])]
            together = run.logits(
                [Chunk(0, first, 0, [5, 2], samples=False), Chunk(1, second[:7], 0, [7], samples=False)]
            )
    finally:
        set_instruction_set(instruction_sets()[-1])
    bound = 0.03 if instruction_set == "amx" else 1e-5
    assert furthest(together[:48], alone[0]) < bound
    assert furthest(together[48:], alone[1]) < bound
