"""The search among vectors in memory against the products of all of them, and what the first look may be off by."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead.service.approximate import built
from fairlead.service.codes import Codes
from fairlead.service.vectors import Vectors

WIDTH = 96


def rows(count: int, seed: int, alike: float) -> NDArray[np.float16]:
    """Vectors of length 1; the more alike, the nearer each other."""
    random = np.random.default_rng(seed)
    made = random.standard_normal((count, WIDTH)) + alike * random.standard_normal(WIDTH)
    lengths: NDArray[np.float64] = np.linalg.norm(made, axis=1, keepdims=True)
    scaled: NDArray[np.float64] = made / lengths
    return scaled.astype(np.float16)


@pytest.mark.parametrize("alike", [0.0, 1.0, 20.0])
def test_a_search_finds_what_all_products_find(alike: float) -> None:
    matrix = rows(3000, 1, alike)
    vectors = Vectors(np.arange(1, 1001, dtype=np.int32), matrix[:1000])
    for begin in range(1000, 3000, 500):  # past the room that there is, more than once
        vectors.append(np.arange(begin + 1, begin + 501, dtype=np.int32), matrix[begin : begin + 500], [()] * 500)
    gone = {3, 700, 2999}
    for number in gone:
        vectors.remove(number)
    for question in rows(20, 2, alike).astype(np.float32):
        products = matrix.astype(np.float32) @ question
        products[[number - 1 for number in gone]] = -np.inf
        found = vectors.near(question, 10)
        assert found.searched == 2997
        assert found.scores == pytest.approx(np.sort(products)[:-11:-1], abs=1e-5)
        assert [products[number - 1] for number in found.numbers] == pytest.approx(found.scores, abs=1e-5)


def test_the_first_look_is_off_by_no_more_than_it_says() -> None:
    matrix = rows(500, 3, 1.0)
    codes = Codes(WIDTH)
    codes.write(0, matrix, 500)
    for question in rows(20, 4, 1.0).astype(np.float32):
        rough, off_by = codes.products(question, 500)
        assert 0 < np.abs(rough - matrix.astype(np.float32) @ question).max() <= off_by < 0.1


def test_an_index_that_is_wanted_no_more_is_left() -> None:
    assert built(rows(100, 5, 0.0), np.ones(100, np.bool_), lambda: False) is None
