"""Lowers a model's plan to the stages of the C++ extension.

What it saves over running op by op: products that read the same rows become one stage, a product whose result
only goes into a sum is added there at once, and a buffer is used again when its value is read no more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead.kernels import _native
from fairlead.models import plan as ir

LoadWeight = Callable[[ir.Rows], _native.Weight]
LoadVector = Callable[[ir.Rows], NDArray[np.float32]]


def lower(
    plan: ir.Plan, target: _native.Plan, load_weight: LoadWeight, load_vector: LoadVector
) -> tuple[int, list[_native.Weight]]:
    """Append a plan's stages to `target`.

    Returns the buffer of the logits, and the weights, which the caller keeps as long as the target.
    """
    lowering = _Lowering(plan, target, load_weight, load_vector)
    for group in _groups(plan.ops):
        lowering.emit(group)
    return lowering.buffers[plan.logits], lowering.weights


def _reads(op: ir.Op) -> tuple[ir.Value, ...]:
    match op:
        case ir.Embed() | ir.Rotations():
            return ()
        case ir.Attention():
            return (op.q, op.k, op.v, op.rotations)
        case ir.Add():
            return (op.a, op.b)
        case ir.SwiGLU():
            return (op.gate, op.up)
        case _:
            return (op.x,)


def _groups(ops: Sequence[ir.Op]) -> Iterator[tuple[ir.Op, ...]]:
    """Ops that become one stage: products of the same rows, a product and the sum behind it, or one op."""
    at = 0
    while at < len(ops):
        first, end = ops[at], at + 1
        if isinstance(first, ir.Linear):
            while end < len(ops) and isinstance(op := ops[end], ir.Linear) and op.x == first.x:
                end += 1
            following = ops[end] if end < len(ops) else None
            if end == at + 1 and isinstance(following, ir.Add) and following.b == first.out:
                end += 1
        yield tuple(ops[at:end])
        at = end


class _Lowering:
    """The buffers of values that are still read, and what is left to read."""

    def __init__(self, plan: ir.Plan, target: _native.Plan, load_weight: LoadWeight, load_vector: LoadVector) -> None:
        self.buffers: dict[ir.Value, int] = {}
        self.weights: list[_native.Weight] = []
        self._target = target
        self._load_weight = load_weight
        self._load_vector = load_vector
        self._reads_left = Counter(value for op in plan.ops for value in _reads(op))
        self._reads_left[plan.logits] += 1
        self._free: defaultdict[tuple[int, bool], list[int]] = defaultdict(list)

    def emit(self, group: tuple[ir.Op, ...]) -> None:
        """Append one stage, and free the buffers that it was the last to read."""
        match group:
            case (ir.Linear() as linear, ir.Add() as add):
                self._add_product(linear, add)
            case (ir.Linear() as first, *_):
                products = [self._product(op, self._take(op.out)) for op in group if isinstance(op, ir.Linear)]
                self._target.products(self.buffers[first.x], products)
            case (op,):
                self._emit_single(op)
            case _:
                raise AssertionError(f"no stage is made of {group}")
        for op in group:
            for value in _reads(op):
                self._release(value)

    def _add_product(self, linear: ir.Linear, add: ir.Add) -> None:
        # The sum takes over the buffer of its other operand, which must not be read again.
        if self._reads_left[add.a] == 1 and self._reads_left[linear.out] == 1:
            self.buffers[add.out] = self.buffers[add.a]
            self._reads_left[add.a] = 0
            self._reads_left[linear.out] = 0
            product = self._product(linear, self.buffers[add.out], accumulate=True)
            self._target.products(self.buffers[linear.x], [product])
            return
        self._target.products(self.buffers[linear.x], [self._product(linear, self._take(linear.out))])
        self._target.add(self._take(add.out), self.buffers[add.a], self.buffers[add.b])

    def _product(
        self, op: ir.Linear, out: int, *, accumulate: bool = False
    ) -> tuple[_native.Weight, NDArray[np.float32] | None, int, bool]:
        weight = self._weight(op.weight)
        bias = self._load_vector(op.bias) if op.bias else None
        return weight, bias, out, accumulate

    def _emit_single(self, op: ir.Op) -> None:
        target, at = self._target, self.buffers
        match op:
            case ir.Embed():
                target.embed(self._take(op.out), self._weight(op.weight))
            case ir.RMSNorm():
                target.rms_norm(self._take(op.out), at[op.x], self._vector(op.weight, op.x), op.eps)
            case ir.LayerNorm():
                weight, bias = self._vector(op.weight, op.x), self._vector(op.bias, op.x)
                target.layer_norm(self._take(op.out), at[op.x], weight, bias, op.eps)
            case ir.Rotations():
                target.rotations(self._take(op.out), op.frequencies)
            case ir.Attention():
                out = self._take(op.out)
                target.attention(
                    out, at[op.q], at[op.k], at[op.v], at[op.rotations],
                    layer=op.layer, heads=op.heads, scale=op.scale, rope=op.rope,
                )  # fmt: skip
            case ir.Add():
                target.add(self._take(op.out), at[op.a], at[op.b])
            case ir.SwiGLU():
                target.swiglu(self._take(op.out), at[op.gate], at[op.up])
            case ir.GELU():
                target.gelu(self._take(op.out), at[op.x])
            case ir.Select():
                target.select(self._take(op.out), at[op.x])
            case ir.Linear():
                raise AssertionError("products are lowered in groups")

    def _weight(self, rows: ir.Rows) -> _native.Weight:
        weight = self._load_weight(rows)
        self.weights.append(weight)
        return weight

    def _vector(self, name: str, of: ir.Value) -> NDArray[np.float32]:
        return self._load_vector(ir.Rows(name, 0, of.width))

    def _take(self, value: ir.Value) -> int:
        free = self._free[value.width, value.selected]
        self.buffers[value] = free.pop() if free else self._target.buffer(value.width, value.selected)
        return self.buffers[value]

    def _release(self, value: ir.Value) -> None:
        if self._reads_left[value] == 0:  # taken over by a sum
            return
        self._reads_left[value] -= 1
        if self._reads_left[value] == 0:
            self._free[value.width, value.selected].append(self.buffers[value])
