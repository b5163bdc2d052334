"""Lowers a model's plan to the stages of the C++ extension, as few and as large as can be.

Products that read the same rows become one stage; a product whose result only goes into a sum is added there at once;
a norm, an activation or a selection that one stage alone reads is computed where it is read, and never held; and a
buffer is used again when its value is read no more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import zip_longest

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
    groups = _groups(plan.ops)
    lowering = _Lowering(plan, groups, target, load_weight, load_vector)
    for group in groups:
        lowering.emit(group)
    return lowering.rows[plan.logits], lowering.weights


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
        load_weight: LoadWeight,
        load_vector: LoadVector,
    ) -> None:
        self.rows: dict[ir.Value, int] = {}
        self.weights: list[_native.Weight] = []
        self._target = target
        self._load_weight = load_weight
        self._load_vector = load_vector
        self._readers: defaultdict[ir.Value, list[tuple[ir.Op, ...]]] = defaultdict(list)
        for group in groups:
            for value in {value for op in group for value in _reads(op)}:
                self._readers[value].append(group)
        self._stages_left = Counter({value: len(readers) for value, readers in self._readers.items()})
        self._stages_left[plan.logits] += 1
        self._computed: dict[ir.Value, ir.Op] = {}
        self._free: defaultdict[tuple[int, bool], list[int]] = defaultdict(list)

    def emit(self, group: tuple[ir.Op, ...]) -> None:
        """Append one stage, or leave its work to the one that reads it; free the buffers that nobody reads any more."""
        match group:
            case (ir.Linear() as linear, ir.Add() as add):
                self._add_product(linear, add)
            case (ir.Linear() as first, *_):
                products = [self._product(op, self._take(op.out)) for op in group if isinstance(op, ir.Linear)]
                self._target.products(self.rows[first.x], products)
            case (ir.Attention() as op,):
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

    def _is_read_once(self, value: ir.Value) -> bool:
        """Whether one stage alone reads these rows, and can do with rows that are not held."""
        match self._readers[value]:
            case [(ir.Linear(), *rest)]:
                return not any(isinstance(op, ir.Add) and op.a == value for op in rest)
            case [(ir.RMSNorm() | ir.LayerNorm() | ir.GELU() | ir.Select(),)]:
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
        bias = self._load_vector(op.bias) if op.bias else None
        return weight, bias, out, accumulate

    def _attend(self, op: ir.Attention) -> None:
        at = self.rows
        self._target.attention(
            self._take(op.out), at[op.q], at[op.k], at[op.v], at[op.rotations],
            layer=op.layer, heads=op.heads, scale=op.scale, rope=op.rope,
        )  # fmt: skip

    def _compute(self, op: ir.Op) -> int:
        target, at = self._target, self.rows
        match op:
            case ir.Embed():
                return target.embedding(self._weight(op.weight))
            case ir.RMSNorm():
                return target.rms_norm(at[op.x], self._vector(op.weight, op.x), op.eps)
            case ir.LayerNorm():
                return target.layer_norm(at[op.x], self._vector(op.weight, op.x), self._vector(op.bias, op.x), op.eps)
            case ir.Rotations():
                return target.rotations(op.frequencies)
            case ir.Add():
                return target.add(at[op.a], at[op.b])
            case ir.SwiGLU():
                return target.swiglu(at[op.gate], at[op.up])
            case ir.GELU():
                return target.gelu(at[op.x])
            case ir.Select():
                return target.select(at[op.x])
            case ir.Linear() | ir.Attention():
                raise AssertionError("products and attention are stages of their own")

    def _weight(self, rows: ir.Rows) -> _native.Weight:
        weight = self._load_weight(rows)
        self.weights.append(weight)
        return weight

    def _vector(self, name: str, of: ir.Value) -> NDArray[np.float32]:
        return self._load_vector(ir.Rows(name, 0, of.width))

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
