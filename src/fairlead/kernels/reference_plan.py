"""Runs a recorded plan in NumPy, one sequence at a time, without pages, chunks or quantised activations.

The slow and obvious way, in double precision: what the C++ extension is compared with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead.gguf.quants import dequantise
from fairlead.gguf.reader import GGUFFile
from fairlead.models import plan as ir
from fairlead.models import record

Matrix = NDArray[np.float64]


def logits(file: GGUFFile, tokens: Sequence[int]) -> Matrix:
    """The logits after each token of one sequence, [tokens, vocabulary]."""
    plan = record(file)
    values: dict[ir.Value, Matrix] = {}
    last_reader = {value: number for number, op in enumerate(plan.ops) for value in _reads(op)}
    for number, op in enumerate(plan.ops):
        values[op.out] = _Reference(file, values, np.asarray(tokens), plan.kv).run(op)
        for value in _reads(op):
            if last_reader[value] == number:
                del values[value]
    return values[plan.logits]


def _reads(op: ir.Op) -> set[ir.Value]:
    values = {getattr(op, field.name) for field in dataclasses.fields(op) if field.name != "out"}
    return {value for value in values if isinstance(value, ir.Value)}


class _Reference:
    def __init__(
        self, file: GGUFFile, values: dict[ir.Value, Matrix], tokens: NDArray[np.int64], kv: ir.KVShape
    ) -> None:
        self._file = file
        self._at = values
        self._tokens = tokens
        self._kv = kv

    def run(self, op: ir.Op) -> Matrix:
        at = self._at
        match op:
            case ir.Embed():
                return self._rows(op.weight)[self._tokens]
            case ir.RMSNorm():
                x = at[op.x]
                return _normed(x, op.eps) * self._tensor(op.weight)
            case ir.LayerNorm():
                x = at[op.x] - at[op.x].mean(-1, keepdims=True)
                return _normed(x, op.eps) * self._tensor(op.weight) + self._tensor(op.bias)
            case ir.Linear():
                product: Matrix = at[op.x] @ self._rows(op.weight).T
                return product + self._rows(op.bias) if op.bias else product
            case ir.Rotations():
                angles = np.outer(np.arange(len(self._tokens)), op.frequencies)
                return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
            case ir.Attention():
                return self._attention(op)
            case ir.Add():
                return at[op.a] + at[op.b]
            case ir.SwiGLU():
                opened: Matrix = np.exp(-at[op.gate])
                return at[op.gate] / (1 + opened) * at[op.up]
            case ir.GELU():
                x = at[op.x]
                squashed: Matrix = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
                return x / 2 * (1 + squashed)
            case ir.Select():
                return at[op.x]

    def _attention(self, op: ir.Attention) -> Matrix:
        count, head_dim = len(self._tokens), self._kv.head_dim
        turns = self._at[op.rotations]
        q = _turn(self._at[op.q].reshape(count, op.heads, head_dim), turns, op.rope)
        k = _turn(self._at[op.k].reshape(count, self._kv.heads, head_dim), turns, op.rope)
        v = self._at[op.v].reshape(count, self._kv.heads, head_dim)
        shared_by = op.heads // self._kv.heads
        hidden = np.triu(np.full((count, count), -np.inf), 1)
        mixed = np.empty_like(q)
        for head in range(op.heads):
            scores = q[:, head] @ k[:, head // shared_by].T * op.scale + hidden
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            mixed[:, head] = weights @ v[:, head // shared_by]
        return mixed.reshape(count, -1)

    def _tensor(self, name: str) -> Matrix:
        tensor = self._file.tensors[name]
        return dequantise(tensor.data, tensor.format, tensor.shape).astype(np.float64)

    def _rows(self, rows: ir.Rows) -> Matrix:
        return self._tensor(rows.tensor)[rows.begin : rows.end]


def _normed(x: Matrix, eps: float) -> Matrix:
    normed: Matrix = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return normed


def _turn(x: Matrix, turns: Matrix, style: ir.RopeStyle) -> Matrix:
    """x: [tokens, heads, head_dim]; turns: [tokens, 2 · pairs], cosines then sines."""
    pairs = turns.shape[1] // 2
    cosines, sines = turns[:, None, :pairs], turns[:, None, pairs:]
    first, second = slice(0, pairs), slice(pairs, 2 * pairs)
    if style == "interleaved":
        first, second = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
    turned = x.copy()
    turned[..., first] = x[..., first] * cosines - x[..., second] * sines
    turned[..., second] = x[..., first] * sines + x[..., second] * cosines
    return turned
