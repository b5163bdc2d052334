"""Runs a recorded plan in NumPy, one sequence at a time, without pages, chunks or quantised activations.

The slow and obvious way, in double precision: what the C++ extension is compared with.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead.gguf.model_file import ModelFile
from fairlead.gguf.quants import dequantise
from fairlead.models import plan as ir
from fairlead.models import record

Matrix = NDArray[np.float64]


def logits(file: ModelFile, tokens: Sequence[int]) -> Matrix:
    """A decoder's logits after each token of one sequence, [tokens, vocabulary]."""
    return _output(file, tokens, list(range(len(tokens))))


def vector(file: ModelFile, tokens: Sequence[int]) -> NDArray[np.float64]:
    """An encoder's vector of one text, [width]."""
    found: NDArray[np.float64] = _output(file, tokens, [0])[0]
    return found


def _output(file: ModelFile, tokens: Sequence[int], selected: list[int]) -> Matrix:
    plan = record(file)
    values: dict[ir.Value, Matrix] = {}
    last_reader = {value: number for number, op in enumerate(plan.ops) for value in _reads(op)}
    for number, op in enumerate(plan.ops):
        values[op.out] = _Reference(file, values, np.asarray(tokens), selected, plan.kv).run(op)
        for value in _reads(op):
            if last_reader[value] == number:
                del values[value]
    return values[plan.output]


def _reads(op: ir.Op) -> set[ir.Value]:
    values = {getattr(op, field.name) for field in dataclasses.fields(op) if field.name != "out"}
    return {value for value in values if isinstance(value, ir.Value)}


class _Reference:
    def __init__(
        self,
        file: ModelFile,
        values: dict[ir.Value, Matrix],
        tokens: NDArray[np.int64],
        selected: list[int],
        kv: ir.KVShape | None,
    ) -> None:
        self._file = file
        self._at = values
        self._tokens = tokens
        self._selected = selected
        self._kv = kv

    def run(self, op: ir.Op) -> Matrix:
        at = self._at
        match op:
            case ir.Embed():
                places = np.arange(len(self._tokens))
                index = {"token": self._tokens, "position": places, "type": 0 * places}[op.by]
                embedded: Matrix = self._rows(op.weight)[index]
                return embedded
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
                return self._causal(op)
            case ir.BidirectionalAttention():
                q, k, v = (self._at[x].reshape(len(self._tokens), op.heads, -1) for x in (op.q, op.k, op.v))
                return _attention(q, k, v, op.scale, 0)
            case ir.Add():
                return at[op.a] + at[op.b]
            case ir.SwiGLU():
                opened: Matrix = np.exp(-at[op.gate])
                return at[op.gate] / (1 + opened) * at[op.up]
            case ir.GELU():
                x = at[op.x]
                squashed: Matrix = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
                return x / 2 * (1 + squashed)
            case ir.ExactGELU():
                normal: Matrix = np.vectorize(lambda z: (1 + math.erf(z / math.sqrt(2))) / 2)(at[op.x])
                return at[op.x] * normal
            case ir.Select():
                chosen: Matrix = at[op.x][self._selected]
                return chosen
            case ir.Mean():
                mean: Matrix = at[op.x].mean(0, keepdims=True).repeat(len(self._selected), 0)
                return mean
            case ir.L2Norm():
                lengths: Matrix = np.linalg.norm(at[op.x], axis=1, keepdims=True)
                return at[op.x] / lengths

    def _causal(self, op: ir.Attention) -> Matrix:
        assert self._kv is not None  # those who have such attention have a cache
        count, head_dim = len(self._tokens), self._kv.head_dim
        turns = self._at[op.rotations]
        q = _turn(self._at[op.q].reshape(count, op.heads, head_dim), turns, op.rope)
        k = _turn(self._at[op.k].reshape(count, self._kv.heads, head_dim), turns, op.rope)
        v = self._at[op.v].reshape(count, self._kv.heads, head_dim)
        shared_by = op.heads // self._kv.heads
        hidden = np.triu(np.full((count, count), -np.inf), 1)
        return _attention(q, k.repeat(shared_by, axis=1), v.repeat(shared_by, axis=1), op.scale, hidden)

    def _tensor(self, name: str) -> Matrix:
        tensor = self._file.tensors[name]
        return dequantise(tensor.data, tensor.format, tensor.shape).astype(np.float64)

    def _rows(self, rows: ir.Rows) -> Matrix:
        return self._tensor(rows.tensor)[rows.begin : rows.end]


def _attention(q: Matrix, k: Matrix, v: Matrix, scale: float, mask: Matrix | float) -> Matrix:
    """q, k, v: [tokens, heads, head_dim]; `mask` is added to the scores of each head, [queries, keys]."""
    mixed = np.empty_like(q)
    for head in range(q.shape[1]):
        scores = q[:, head] @ k[:, head].T * scale + mask
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed[:, head] = weights @ v[:, head]
    return mixed.reshape(len(q), -1)


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
