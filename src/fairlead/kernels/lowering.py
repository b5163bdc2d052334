"""Lowers a model's plan to the stages of the C++ extension, as few and as large as can be.

Products that read the same rows become one stage; a product whose result only goes into a sum is added there at once,
and a gate's and what it gates are made into SwiGLU's on the way; a norm, an activation or a selection that one stage
alone reads is computed where it is read, and never held; and a buffer is used again when its value is read no more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead.kernels import _native
from fairlead.models import plan as ir

Held = _native.Weight | _native.Table


class Weights(Protocol):
    """Where a model's weights come from, in the forms in which stages read them."""

    def matrix(self, rows: ir.Rows) -> _native.Weight:
        """For products, or to look up rows."""

    def table(self, rows: ir.Rows) -> _native.Table | None:
        """To look up rows and nothing else; None where `matrix` has to do."""

    def vector(self, rows: ir.Rows) -> NDArray[np.float32]:
        """A norm's weight, or a bias."""


def lower(plan: ir.Plan, target: _native.Plan, weights: Weights) -> tuple[int, list[Held]]:
    """Append a plan's stages to `target`.

    Returns the buffer of the output, and what it reads, which the caller keeps as long as the target.
    """
    groups = _groups(plan.ops)
    lowering = _Lowering(plan, groups, target, weights)
    for group in groups:
        lowering.emit(group)
    return lowering.rows[plan.output], lowering.held


def _reads(op: ir.Op) -> tuple[ir.Value, ...]:
    match op:
        case ir.Embed() | ir.Rotations():
            return ()
        case ir.BidirectionalAttention():
            return (op.q, op.k, op.v)
        case ir.Attention():
            return (op.q, op.k, op.v, op.rotations)
        case ir.Add():
            return (op.a, op.b)
        case ir.SwiGLU():
            return (op.gate, op.up)
        case _:
            return (op.x,)


def _groups(ops: Sequence[ir.Op]) -> list[tuple[ir.Op, ...]]:
    """Ops that become one stage: all products of the same rows, a product and the sum behind it, or one op."""
    sharing: defaultdict[ir.Value, list[ir.Linear]] = defaultdict(list)
    for op in ops:
        if isinstance(op, ir.Linear):
            sharing[op.x].append(op)
    groups: list[tuple[ir.Op, ...]] = []
    done: set[ir.Op] = set()
    for op, following in zip_longest(ops, ops[1:]):
        if op in done:
            continue
        group: tuple[ir.Op, ...] = tuple(sharing[op.x]) if isinstance(op, ir.Linear) else (op,)
        if group == (op,) and isinstance(op, ir.Linear) and isinstance(following, ir.Add) and following.b == op.out:
            group = (op, following)
        groups.append(group)
        done.update(group)
    return groups


class _Lowering:
    """The rows that stand for values, held or computed where they are read, and what is left to read of each."""

    def __init__(
        self,
        plan: ir.Plan,
        groups: Sequence[tuple[ir.Op, ...]],
        target: _native.Plan,
        weights: Weights,
    ) -> None:
        self.rows: dict[ir.Value, int] = {}
        self.held: list[Held] = []
        self._target = target
        self._weights = weights
        self._multiplied = {op.weight for op in plan.ops if isinstance(op, ir.Linear)}
        self._readers: defaultdict[ir.Value, list[tuple[ir.Op, ...]]] = defaultdict(list)
        for group in groups:
            for value in {value for op in group for value in _reads(op)}:
                self._readers[value].append(group)
        self._stages_left = Counter({value: len(readers) for value, readers in self._readers.items()})
        self._stages_left[plan.output] += 1
        self._computed: dict[ir.Value, ir.Op] = {}
        self._gated: dict[ir.Value, int] = {}  # by the gate, the rows of its SwiGLU
        self._free: defaultdict[tuple[int, bool], list[int]] = defaultdict(list)

    def emit(self, group: tuple[ir.Op, ...]) -> None:
        """Append one stage, or leave its work to the one that reads it; free the buffers that nobody reads any more."""
        match group:
            case (ir.Linear() as linear, ir.Add() as add):
                self._add_product(linear, add)
            case (ir.Linear() as first, *_):
                products = [self._product(op, self._take(op.out)) for op in group if isinstance(op, ir.Linear)]
                if self._is_gated(group):
                    self._gated[first.out] = self._target.gated_products(self.rows[first.x], *products)
                else:
                    self._target.products(self.rows[first.x], products)
            case (ir.Attention() | ir.BidirectionalAttention() as op,):
                self._attend(op)
            case (op,) if self._is_read_once(op.out):
                self.rows[op.out] = self._compute(op)
                self._computed[op.out] = op  # what it reads is released with it
                return
            case (op,):
                computed = self._compute(op)
                self._target.hold(self._take(op.out), computed)
            case _:
                raise AssertionError(f"no stage is made of {group}")
        self._release(group)

    def _is_gated(self, group: tuple[ir.Op, ...]) -> bool:
        """Whether these are a gate and what it gates, which SwiGLU alone reads."""
        readers = [self._readers[op.out] for op in group]
        match readers[0]:
            case [(ir.SwiGLU() as op,)]:
                return [op.gate, op.up] == [linear.out for linear in group] and readers[1] == readers[0]
            case _:
                return False

    def _is_read_once(self, value: ir.Value) -> bool:
        """Whether one stage alone reads these rows, and can do with rows that are not held."""
        match self._readers[value]:
            case [(ir.Linear(), *rest)]:
                return not any(isinstance(op, ir.Add) and op.a == value for op in rest)
            case [(ir.RMSNorm() | ir.LayerNorm() | ir.GELU() | ir.ExactGELU() | ir.Select() | ir.L2Norm(),)]:
                return True
            case _:
                return False

    def _add_product(self, linear: ir.Linear, add: ir.Add) -> None:
        # The sum takes over the buffer of its other operand, which nothing else may read.
        x, a = self.rows[linear.x], self.rows[add.a]
        alone = self._stages_left[add.a] == 1 and linear.x != add.a
        if alone and self._readers[linear.out] == [(linear, add)]:
            del self._stages_left[add.a], self._stages_left[linear.out]
            self.rows[add.out] = a
            self._target.products(x, [self._product(linear, a, accumulate=True)])
            return
        self._target.products(x, [self._product(linear, self._take(linear.out))])
        computed = self._target.add(a, self.rows[linear.out])
        self._target.hold(self._take(add.out), computed)

    def _product(
        self, op: ir.Linear, out: int, *, accumulate: bool = False
    ) -> tuple[_native.Weight, NDArray[np.float32] | None, int, bool]:
        weight = self._weight(op.weight)
        bias = self._weights.vector(op.bias) if op.bias else None
        return weight, bias, out, accumulate

    def _attend(self, op: ir.Attention | ir.BidirectionalAttention) -> None:
        at = self.rows
        if isinstance(op, ir.BidirectionalAttention):
            rows = at[op.q], at[op.k], at[op.v]
            self._target.bidirectional_attention(self._take(op.out), *rows, heads=op.heads, scale=op.scale)
            return
        self._target.attention(
            self._take(op.out), at[op.q], at[op.k], at[op.v], at[op.rotations],
            layer=op.layer, heads=op.heads, scale=op.scale, rope=op.rope,
        )  # fmt: skip

    def _compute(self, op: ir.Op) -> int:
        target, at = self._target, self.rows
        match op:
            case ir.Embed():
                return self._embed(op)
            case ir.RMSNorm():
                return target.rms_norm(at[op.x], self._vector(op.weight, op.x), op.eps)
            case ir.LayerNorm():
                return target.layer_norm(at[op.x], self._vector(op.weight, op.x), self._vector(op.bias, op.x), op.eps)
            case ir.Rotations():
                return target.rotations(op.frequencies)
            case ir.Add():
                return target.add(at[op.a], at[op.b])
            case ir.SwiGLU():
                gated = self._gated.pop(op.gate, None)
                return target.swiglu(at[op.gate], at[op.up]) if gated is None else gated
            case ir.GELU():
                return target.gelu(at[op.x])
            case ir.ExactGELU():
                return target.exact_gelu(at[op.x])
            case ir.Select():
                return target.select(at[op.x])
            case ir.Mean():
                return target.mean(at[op.x])
            case ir.L2Norm():
                return target.l2_norm(at[op.x])
            case ir.Linear() | ir.Attention() | ir.BidirectionalAttention():
                raise AssertionError("products and attention are stages of their own")

    def _embed(self, op: ir.Embed) -> int:
        table = None if op.weight in self._multiplied else self._weights.table(op.weight)
        if table is None:
            return self._target.embedding(self._weight(op.weight))
        self.held.append(table)
        return self._target.table(table, op.by)

    def _weight(self, rows: ir.Rows) -> _native.Weight:
        weight = self._weights.matrix(rows)
        self.held.append(weight)
        return weight

    def _vector(self, name: str, of: ir.Value) -> NDArray[np.float32]:
        return self._weights.vector(ir.Rows(name, 0, of.width))

    def _take(self, value: ir.Value) -> int:
        free = self._free[value.width, value.selected]
        self.rows[value] = free.pop() if free else self._target.buffer(value.width, value.selected)
        return self.rows[value]

    def _release(self, group: tuple[ir.Op, ...]) -> None:
        """Count a stage's reads as done."""
        for value in {value for op in group for value in _reads(op)}:
            if value not in self._stages_left:  # taken over by a sum
                continue
            self._stages_left[value] -= 1
            if self._stages_left[value] > 0:
                continue
            if op := self._computed.pop(value, None):
                self._release((op,))
            else:
                self._free[value.width, value.selected].append(self.rows[value])
