"""Products of every format in every instruction set, against NumPy in float64.

Three bounds, all relative to Σ|x||w|, the size that rounding errors grow with: float weights and integer products are
compared with the same numbers in exact arithmetic, so only fp32 summation differs; bf16 products round both factors;
and against unquantised activations an integer product may be off by half a step of each group's codes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairlead.kernels import _native, reference
from tests.kernels.weights import random_blocks

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

NUMBERS = sorted(reference.FORMATS)
QUANTISED = [number for number in NUMBERS if reference.FORMATS[number].block > 1]
SUMMATION = 1e-6
IN_TILES = [*QUANTISED, 30]
"""Formats that matrix tiles take: the others are floats with more places than bf16."""

BF16 = 2.0**-8 + 2.0**-7.5  # x to nearest, w cut after half a place was added

ALL_SETS = _native.instruction_sets() + _native.emulated_instruction_sets()
TILES = ("amx", "amx-emulated")
BYTES = ("avx-vnni", "vnni", *TILES)
MANY = 133
"""Rows enough for weights to be unpacked first in every instruction set that does so, and no whole tiles."""

TILES_FROM = 9
"""From this many rows on, these are multiplied in bf16 tiles where there are any."""
BYTES_FROM = 5
"""From this many rows on, they are multiplied in bytes where there are such products and activations may be q8."""


@dataclass(frozen=True)
class Arithmetic:
    """An instruction set, and what activations may become in it."""

    isa: str
    activations: str

    def uses_tiles(self, number: int, rows: int, inputs: int) -> bool:
        """Whether a product of this shape is made in bf16 tiles."""
        fits = number in IN_TILES and inputs % reference.GROUP == 0
        return self.isa in TILES and fits and rows >= TILES_FROM

    def seen(self, number: int, x: F32) -> F32 | F64:
        """The activations that a product of them sees where it is not made in tiles."""
        if number not in QUANTISED:
            return x
        if self.activations == "q8" and self.isa in BYTES and len(x) >= BYTES_FROM:
            return reference.quantise_rows_to_bytes(x)
        return reference.quantise_rows(x)

    def matmul(
        self,
        weight: _native.Weight,
        x: F32,
        pool: _native.ThreadPool,
        bias: F32 | None = None,
        y: F32 | None = None,
    ) -> F32:
        """The native product."""
        return _native.matmul(weight, x, pool, bias, y, self.activations)

    def alike(self, number: int) -> list[range]:
        """Numbers of rows that are multiplied in the same form."""
        bounds = [1, MANY + 1]
        if self.activations == "q8" and self.isa in BYTES and number in QUANTISED:
            bounds.append(BYTES_FROM)
        if self.isa in TILES and number in IN_TILES:
            bounds.append(TILES_FROM)
        bounds.sort()
        return [range(*pair) for pair in itertools.pairwise(bounds)]


EACH = [Arithmetic(isa, "q16") for isa in ALL_SETS] + [Arithmetic(isa, "q8") for isa in ALL_SETS if isa in BYTES]


@pytest.fixture(scope="module", params=EACH, ids=lambda each: f"{each.isa}-{each.activations}")
def arithmetic(request: pytest.FixtureRequest) -> Iterator[Arithmetic]:
    before = _native.instruction_set()
    _native.set_instruction_set(request.param.isa)
    yield request.param
    _native.set_instruction_set(before)


@pytest.fixture(scope="module")
def pool() -> _native.ThreadPool:
    return _native.ThreadPool(2)


def random_rows(generator: np.random.Generator, rows: int, inputs: int) -> F32:
    """Activations as models have them: most are small, and some groups loud."""
    x = generator.standard_normal((rows, inputs)) * np.exp(generator.standard_normal((rows, inputs)))
    return x.astype(np.float32)


def size_of_sums(weight: F32, x: F32) -> F64:
    return np.abs(x).astype(np.float64) @ np.abs(weight).astype(np.float64).T


def check(arithmetic: Arithmetic, number: int, weight: F32, x: F32, product: F32) -> None:
    """Holds a product to the bounds above."""
    sizes = size_of_sums(weight, x) + 1e-30
    if arithmetic.uses_tiles(number, len(x), x.shape[1]):
        assert (np.abs(product - reference.matmul(weight, x)) / sizes).max() < BF16
        return
    seen = arithmetic.seen(number, x)
    assert (np.abs(product - reference.matmul(weight, seen)) / sizes).max() < SUMMATION


@pytest.mark.parametrize("number", NUMBERS)
@given(data=st.data())
@settings(max_examples=12)
def test_products(number: int, arithmetic: Arithmetic, pool: _native.ThreadPool, data: st.DataObject) -> None:
    block = reference.FORMATS[number].block
    inputs = block * data.draw(st.integers(1, {1: 600, 32: 40, 256: 6}[block]), "blocks")
    outputs = data.draw(st.integers(1, 70), "outputs")
    rows = data.draw(st.one_of(st.integers(1, 12), st.integers(13, 70)), "rows")
    seed = data.draw(st.integers(0, 2**32 - 1), "seed")
    blocks = random_blocks(number, outputs, inputs, seed=seed)
    generator = np.random.default_rng(seed)
    x = random_rows(generator, rows, inputs)
    x *= np.exp(generator.uniform(-8, 8, (rows, 1))).astype(np.float32)
    product = arithmetic.matmul(_native.Weight(number, blocks, outputs, inputs, pool), x, pool)
    check(arithmetic, number, reference.dequantise(number, blocks, outputs, inputs), x, product)


@pytest.mark.parametrize("arithmetic", EACH[1:], indirect=True)  # plain C++ would take long
@pytest.mark.parametrize("number", IN_TILES)
def test_many_rows_and_long_ones(number: int, arithmetic: Arithmetic, pool: _native.ThreadPool) -> None:
    """Enough for several batches of rows and several slabs of inputs."""
    outputs, inputs, rows = 40, 9 * 1024, 300
    blocks = random_blocks(number, outputs, inputs, seed=5)
    x = random_rows(np.random.default_rng(6), rows, inputs)
    product = arithmetic.matmul(_native.Weight(number, blocks, outputs, inputs, pool), x, pool)
    check(arithmetic, number, reference.dequantise(number, blocks, outputs, inputs), x, product)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("rows", [1, 7, 33, MANY])
def test_bias_and_accumulation(number: int, rows: int, arithmetic: Arithmetic, pool: _native.ThreadPool) -> None:
    outputs, inputs = 37, 512
    generator = np.random.default_rng(rows)
    weight = _native.Weight(number, random_blocks(number, outputs, inputs, seed=3), outputs, inputs, pool)
    x = generator.standard_normal((rows, inputs)).astype(np.float32)
    bias = generator.standard_normal(outputs).astype(np.float32)
    y = generator.standard_normal((rows, outputs)).astype(np.float32)
    kept = y.copy()
    plain = arithmetic.matmul(weight, x, pool)
    np.testing.assert_allclose(arithmetic.matmul(weight, x, pool, bias), plain + bias, atol=1e-5)
    np.testing.assert_allclose(arithmetic.matmul(weight, x, pool, None, y), y + plain, atol=1e-5)
    np.testing.assert_allclose(arithmetic.matmul(weight, x, pool, bias, y), y + (plain + bias), atol=1e-5)
    np.testing.assert_array_equal(y, kept)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("rows", [3, 20])
def test_zeros_give_exact_zeros(number: int, rows: int, arithmetic: Arithmetic, pool: _native.ThreadPool) -> None:
    weight = _native.Weight(number, random_blocks(number, 20, 512, seed=4), 20, 512, pool)
    product = arithmetic.matmul(weight, np.zeros((rows, 512), np.float32), pool)
    np.testing.assert_array_equal(product, 0)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("size", [1e-42, 1e-37, 1e-30, 1e30])
@pytest.mark.parametrize("rows", [3, 20])
def test_extreme_activations(
    number: int, size: float, rows: int, arithmetic: Arithmetic, pool: _native.ThreadPool
) -> None:
    outputs, inputs = 20, 512
    blocks = random_blocks(number, outputs, inputs, seed=8)
    weight = reference.dequantise(number, blocks, outputs, inputs)
    x = (np.random.default_rng(9).standard_normal((rows, inputs)) * size).astype(np.float32)
    product = arithmetic.matmul(_native.Weight(number, blocks, outputs, inputs, pool), x, pool)
    tiles = arithmetic.uses_tiles(number, rows, inputs)
    seen = x if tiles else arithmetic.seen(number, x)
    bound = (BF16 if tiles else SUMMATION) * size_of_sums(weight, x)
    # Subnormal numbers have fewer places, and tiles take them as zeros.
    assert (np.abs(product - reference.matmul(weight, seen)) <= bound + 1e-35).all()


@pytest.mark.parametrize("number", QUANTISED)
@pytest.mark.parametrize("rows", [2, 20, MANY])
def test_extreme_scales(number: int, rows: int, arithmetic: Arithmetic, pool: _native.ThreadPool) -> None:
    outputs, inputs = 20, 512
    blocks = random_blocks(number, outputs, inputs, seed=10, largest=65504)
    weight = _native.Weight(number, blocks, outputs, inputs, pool)
    x = np.random.default_rng(11).standard_normal((rows, inputs)).astype(np.float32)
    check(
        arithmetic, number, reference.dequantise(number, blocks, outputs, inputs), x, arithmetic.matmul(weight, x, pool)
    )


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("poison", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("rows", [5, 20, MANY])
def test_poisoned_rows_say_so_and_spare_the_others(
    number: int, poison: float, rows: int, arithmetic: Arithmetic, pool: _native.ThreadPool
) -> None:
    weight = _native.Weight(number, random_blocks(number, 20, 512, seed=12), 20, 512, pool)
    x = np.random.default_rng(13).standard_normal((rows, 512)).astype(np.float32)
    clean = arithmetic.matmul(weight, x, pool)
    x[2, 100] = poison
    product = arithmetic.matmul(weight, x, pool)
    others = np.arange(rows) != 2
    np.testing.assert_array_equal(product[others], clean[others])
    assert not np.isfinite(product[2]).any()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_row_does_not_depend_on_its_neighbours(number: int, arithmetic: Arithmetic, pool: _native.ThreadPool) -> None:
    """Bit for bit, among batches that are multiplied in the same form."""
    weight = _native.Weight(number, random_blocks(number, 50, 768, seed=14), 50, 768, pool)
    x = random_rows(np.random.default_rng(15), MANY, 768)
    for rows in arithmetic.alike(number):
        together = arithmetic.matmul(weight, x[: rows[-1]], pool)
        for fewer in {rows[0], rows[len(rows) // 4], rows[len(rows) // 2]}:
            for begin in (0, rows[-1] - fewer):
                product = arithmetic.matmul(weight, x[begin : begin + fewer], pool)
                np.testing.assert_array_equal(product, together[begin : begin + fewer])


def test_threads_do_not_change_a_bit(arithmetic: Arithmetic) -> None:
    x = np.random.default_rng(16).standard_normal((MANY, 512)).astype(np.float32)
    products = []
    for threads in (1, 2, 5):
        pool = _native.ThreadPool(threads)
        weight = _native.Weight(12, random_blocks(12, 90, 512, seed=17), 90, 512, pool)
        products.append(arithmetic.matmul(weight, x, pool))
    np.testing.assert_array_equal(products[1], products[0])
    np.testing.assert_array_equal(products[2], products[0])


def test_refuses_arrays_that_do_not_fit(pool: _native.ThreadPool) -> None:
    weight = _native.Weight(2, random_blocks(2, 20, 64, seed=18), 20, 64, pool)
    x = np.zeros((3, 64), np.float32)
    with pytest.raises(ValueError, match="columns"):
        _native.matmul(weight, np.zeros((3, 32), np.float32), pool)
    with pytest.raises(ValueError, match="bias"):
        _native.matmul(weight, x, pool, np.zeros(19, np.float32))
    with pytest.raises(ValueError, match="shape of the product"):
        _native.matmul(weight, x, pool, None, np.zeros((2, 20), np.float32))
    with pytest.raises(ValueError, match="q16 or q8"):
        _native.matmul(weight, x, pool, activations="q4")
