"""Packing: every format is held exactly, and impossible weights are refused."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.kernels import _native, reference
from tests.kernels.weights import random_blocks

NUMBERS = sorted(reference.FORMATS)
BY_NAME = {form.name: form for form in reference.FORMATS.values()}


@pytest.fixture(scope="module")
def pool() -> _native.ThreadPool:
    return _native.ThreadPool(2)


@pytest.mark.parametrize("number", NUMBERS)
@given(data=st.data())
@settings(max_examples=15)
def test_unpacks_exactly_what_the_file_says(number: int, pool: _native.ThreadPool, data: st.DataObject) -> None:
    block = reference.FORMATS[number].block
    inputs = block * data.draw(st.integers(1, 40 if block == 32 else 5))
    outputs = data.draw(st.integers(1, 50))
    blocks = random_blocks(number, outputs, inputs, seed=data.draw(st.integers(0, 2**32 - 1)))
    weight = _native.Weight(number, blocks, outputs, inputs, pool)
    unpacked = np.stack([weight.unpack(output) for output in range(outputs)])
    by_gguf = gguf.dequantize(blocks.reshape(outputs, -1), gguf.GGMLQuantizationType(number))
    np.testing.assert_array_equal(reference.dequantise(number, blocks, outputs, inputs), by_gguf)
    np.testing.assert_array_equal(unpacked, by_gguf)
    assert weight.nbytes == _native.packed_bytes(number, outputs, inputs)
    assert (weight.outputs, weight.inputs) == (outputs, inputs)


@pytest.mark.parametrize(
    ("name", "layout", "bits"),
    [
        ("q4_0", "q4", 4.5),
        ("q4_1", "q4", 5),
        ("q4_K", "q4", 4.625),
        ("q5_0", "q8", 8.5),
        ("q5_1", "q8", 9),
        ("q5_K", "q8", 8.625),
        ("q6_K", "q8", 8.625),
        ("q8_0", "q8", 8.5),
        ("f32", "f32", 32),
        ("f16", "f16", 16),
        ("bf16", "bf16", 16),
    ],
)
def test_layouts_and_bits_of_a_weight(name: str, layout: str, bits: float, pool: _native.ThreadPool) -> None:
    number = BY_NAME[name].number
    weight = _native.Weight(number, random_blocks(number, 32, 512, seed=1), 32, 512, pool)
    assert weight.layout == layout
    assert weight.nbytes * 8 / (32 * 512) == bits


@pytest.mark.parametrize(
    ("number", "outputs", "inputs", "message"),
    [
        (2, 4, 48, "multiple of 32"),
        (12, 4, 288, "multiple of 256"),
        (12, 0, 256, "cannot have the shape"),
        (0, 4, -1, "cannot have the shape"),
        (0, 2**31, 2**31, "cannot have the shape"),
        (99, 4, 32, "format 99 are not supported"),
    ],
)
def test_refuses_impossible_shapes(
    number: int, outputs: int, inputs: int, message: str, pool: _native.ThreadPool
) -> None:
    with pytest.raises(ValueError, match=message):
        _native.packed_bytes(number, outputs, inputs)
    with pytest.raises(ValueError, match=message):
        _native.Weight(number, np.zeros(64, np.uint8), outputs, inputs, pool)


def test_refuses_data_of_another_size(pool: _native.ThreadPool) -> None:
    with pytest.raises(ValueError, match="has 72 bytes, not 71"):
        _native.Weight(2, np.zeros(71, np.uint8), 4, 32, pool)


def test_refuses_outputs_that_it_lacks(pool: _native.ThreadPool) -> None:
    weight = _native.Weight(2, np.zeros(72, np.uint8), 4, 32, pool)
    for output in (-1, 4):
        with pytest.raises(IndexError):
            weight.unpack(output)


def test_weights_that_lie_side_by_side_outlive_one_another(pool: _native.ThreadPool) -> None:
    number, outputs, inputs = BY_NAME["q4_0"].number, 40, 4096
    blocks = [random_blocks(number, outputs, inputs, seed=seed) for seed in range(6)]
    weights = {seed: _native.Weight(number, data, outputs, inputs, pool) for seed, data in enumerate(blocks)}
    del weights[0], weights[3], weights[5]
    weights[6] = _native.Weight(number, blocks[0], outputs, inputs, pool)
    for seed, weight in weights.items():
        expected = reference.dequantise(number, blocks[seed % 6], outputs, inputs)
        np.testing.assert_array_equal(np.stack([weight.unpack(output) for output in range(outputs)]), expected)
