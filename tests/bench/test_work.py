"""Shares from known figures, and what a step takes counted by hand."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.bench.machine import Limits
from fairlead.bench.work import Span, StepWork, Work, shares
from fairlead.gguf.formats import Format
from fairlead.gguf.reader import GGUFFile
from fairlead.kernels import (
    arithmetic_units,
    instruction_sets,
    packed_bytes,
    product_unit,
    set_instruction_set,
    vector_unit,
)
from fairlead.kernels.native_runner import NativeRunner
from fairlead.models import record
from tests import tiny_models

LIMITS = Limits(read_bytes_per_s=50e9, operations_per_s={"fast": 4e12, "slow": 1e12})


def test_shares_of_known_limits() -> None:
    found = shares(Work(1_000_000_000, {"fast": 10_000_000_000, "slow": 5_000_000_000}), 0.04, LIMITS)
    assert found.memory == pytest.approx(0.5)  # 1 GB at 50 GB/s: 20 ms of 40
    assert found.arithmetic == pytest.approx(0.375)  # 20 G at 4 T and 10 G at 1 T: 5 + 10 ms of 40


def test_work_adds_up() -> None:
    assert Work(1, {"fast": 2}) + Work(10, {"fast": 20, "slow": 30}) == Work(11, Counter(fast=22, slow=30))


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_token_attends_to_those_before_it_and_itself(start: int, count: int) -> None:
    assert Span(start, start + count).attended == sum(at + 1 for at in range(start, start + count))


@pytest.fixture(scope="module", params=["llama", "llama-tied", "qwen2", "phi2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / f"{request.param}.gguf"
    tiny_models.make(path, request.param, Format.Q4_K)
    return path


def test_a_step_takes_what_can_be_counted_by_hand(model: Path) -> None:
    shape = tiny_models.MODELS[model.stem]
    kv_width = shape.kv_heads * shape.head_dim
    with GGUFFile.open(model) as file:
        plan = record(file)
        runner = NativeRunner(file, threads=1, kv_tokens=64)
        tensors = dict(file.tensors)
    work = StepWork(plan, runner)

    matrices = {name: tensor for name, tensor in tensors.items() if len(tensor.shape) == 2}
    head = matrices["token_embd.weight" if shape.tied else "output.weight"]
    inner = [tensor for name, tensor in matrices.items() if name.startswith("blk.")]
    inner_bytes = sum(packed_bytes(tensor.format, *tensor.shape) for tensor in inner)
    head_bytes = packed_bytes(head.format, *head.shape)
    inner_weights = sum(tensor.shape[0] * tensor.shape[1] for tensor in inner)
    head_weights = head.shape[0] * head.shape[1]
    kv_bytes = 2 * 2 * shape.layers * kv_width
    attention = 2 * shape.layers * shape.heads * shape.head_dim

    prompt = work.of([Span(0, 20)], sampled=0)
    assert prompt.nbytes == inner_bytes + 20 * kv_bytes
    assert sum(prompt.multiply_adds.values()) == 20 * inner_weights + 210 * attention

    decode = work.of([Span(29, 30), Span(9, 10)], sampled=2)
    assert decode.nbytes == inner_bytes + head_bytes + 40 * kv_bytes
    assert sum(decode.multiply_adds.values()) == 2 * (inner_weights + head_weights) + 40 * attention


@pytest.mark.parametrize("isa", instruction_sets())
def test_each_instruction_set_names_units_that_its_processor_has(model: Path, isa: str) -> None:
    registers = {"portable": "portable", "avx2": "avx2", "avx-vnni": "avx2"}.get(isa, "avx512")
    families = {registers, isa.replace("-", "_")}
    with GGUFFile.open(model) as file:
        runner = NativeRunner(file, threads=1, kv_tokens=32)
    set_instruction_set(isa)
    try:
        assert vector_unit() == f"{registers}_fp32"
        for weight in runner.weights.values():
            for rows, activations in itertools.product((1, 8, 64, 512), ("q16", "q8")):
                unit = product_unit(weight, rows, activations)
                assert unit in arithmetic_units()
                assert unit.startswith(tuple(families))
    finally:
        set_instruction_set(instruction_sets()[-1])
