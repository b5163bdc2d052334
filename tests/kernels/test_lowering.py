"""Lowering: how many stages a layer takes, and that what is computed where it is read is read there alone."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead.gguf.reader import GGUFFile
from fairlead.kernels import _native
from fairlead.kernels.lowering import lower
from fairlead.models import plan as ir
from fairlead.models import record
from tests.tiny_models import MODELS, make


class Recorder:
    """Stands in for the extension's plan: gives out numbers for rows, and keeps the names of the stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.held: set[int] = set()
        self._rows = 0

    def buffer(self, _width: int, _selected: bool = False) -> int:
        self.held.add(self._rows)
        return self._next()

    def products(self, _x: int, products: list[tuple[object, object, int, bool]]) -> None:
        assert {out for _, _, out, _ in products} <= self.held
        self.stages.append(f"{len(products)} products" + (" added" if products[0][3] else ""))

    def gated_products(self, _x: int, *products: tuple[object, object, int, bool]) -> int:
        assert {out for _, _, out, _ in products} <= self.held
        self.stages.append(f"{len(products)} products gated")
        return self._next()

    def attention(self, *rows: int, **_shape: object) -> None:
        assert set(rows) <= self.held
        self.stages.append("attention")

    def hold(self, out: int, _x: int) -> None:
        assert out in self.held
        self.stages.append("hold")

    def __getattr__(self, _name: str) -> object:
        return lambda *_arguments: self._next()

    def _next(self) -> int:
        self._rows += 1
        return self._rows - 1


class NoWeights:
    """Stands in for a file's weights."""

    def matrix(self, _rows: ir.Rows) -> _native.Weight:
        return cast(_native.Weight, None)

    def table(self, _rows: ir.Rows) -> _native.Table | None:
        return cast(_native.Table, "a table")

    def vector(self, rows: ir.Rows) -> NDArray[np.float32]:
        return np.zeros(rows.end, np.float32)


def stages(plan: ir.Plan) -> list[str]:
    """The stages of a plan."""
    recorder = Recorder()
    lower(plan, cast(_native.Plan, recorder), NoWeights())
    return recorder.stages


GATED = ["3 products", "attention", "1 products added", "2 products gated", "1 products added"]
PARALLEL = ["4 products", "attention", "1 products added", "1 products added"]


@pytest.mark.parametrize(("name", "layer"), [("llama", GATED), ("qwen2", GATED), ("phi2", PARALLEL)])
def test_a_layer_takes_few_stages(name: str, layer: list[str], tmp_path: Path) -> None:
    assert name in MODELS
    make(tmp_path / "tiny.gguf", name)
    with GGUFFile.open(tmp_path / "tiny.gguf") as file:
        plan = record(file)
    assert stages(plan) == ["hold", "hold", *layer * MODELS[name].layers, "1 products"]


def test_a_sum_with_what_the_product_reads_is_a_stage_of_its_own() -> None:
    x, normed, first, joined, again = (ir.Value(index, 16) for index in range(5))
    weight = ir.Rows("w", 0, 16)
    ops = (
        ir.Embed(x, weight),
        ir.RMSNorm(normed, x, "n", 1e-5),
        ir.Linear(first, normed, weight, None),
        ir.Add(joined, normed, first),
        ir.Linear(again, joined, weight, None),
    )
    plan = ir.Plan(ops, ir.KVShape(1, 1, 16), again)
    assert stages(plan) == ["hold", "1 products", "hold", "1 products"]
