"""What the native products must compute, in NumPy: slow, plain, and written from the formats' definitions.

Owns the meaning of every weight format and of activations quantised to int8. Knows nothing of packed layouts,
instruction sets or threads; tests compare the extension with it.

The formats are those of GGML (`ggml-common.h` and `ggml-quants.c` of llama.cpp): blocks of 32 or 256
weights, all numbers little-endian, scales in fp16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

GROUP = 32
"""Activations that share a scale."""
MOST_CODE = np.float32(32767)
"""The largest code of an activation of 16 bits."""
MOST_BYTE = np.float32(127)
"""And of one of 8."""
MOST_TWO_BYTES = np.float32(127 * 256 + 127)
"""And of one of 8 in a loud group, which has a second byte."""
LOUD = np.float32(2)
"""How much larger the largest value of a loud group is than the groups' largest are on average."""


@dataclass(frozen=True)
class WeightFormat:
    """A format: GGML's number and name, weights and bytes of a block, and what a block means.

    `decode` takes blocks [n, block_bytes] and gives weights [n, block].
    """

    number: int
    name: str
    block: int
    block_bytes: int
    decode: Callable[[U8], F32]


def _halves(blocks: U8, begin: int) -> F32:
    """The fp16 at byte `begin` of each block, [n, 1]."""
    return np.ascontiguousarray(blocks[:, begin : begin + 2]).view(np.float16).astype(np.float32)


def _nibbles(packed: U8) -> U8:
    """Bytes [..., n] to codes [..., 2n]: all low nibbles, then all high ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _fifth_bits(packed: U8) -> U8:
    """Bits of 4 bytes [n, 4] to codes [n, 32] of 0 or 16."""
    return np.unpackbits(packed, axis=-1, bitorder="little") << np.uint8(4)


def _decode_f32(blocks: U8) -> F32:
    return np.ascontiguousarray(blocks).view(np.float32)


def _decode_f16(blocks: U8) -> F32:
    return _halves(blocks, 0)


def _decode_bf16(blocks: U8) -> F32:
    return (np.ascontiguousarray(blocks).view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _decode_q8_0(blocks: U8) -> F32:
    return _halves(blocks, 0) * np.ascontiguousarray(blocks[:, 2:]).view(np.int8)


def _decode_q4_0(blocks: U8) -> F32:
    return _halves(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.float32) - 8)


def _decode_q4_1(blocks: U8) -> F32:
    return _halves(blocks, 0) * _nibbles(blocks[:, 4:]) + _halves(blocks, 2)


def _decode_q5_0(blocks: U8) -> F32:
    codes = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])
    return _halves(blocks, 0) * (codes.astype(np.float32) - 16)


def _decode_q5_1(blocks: U8) -> F32:
    codes = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])
    return _halves(blocks, 0) * codes + _halves(blocks, 2)


def _k_scales(blocks: U8) -> tuple[F32, F32]:
    """Scales and minimums of the 8 groups of Q4_K and Q5_K blocks, each [n, 8, 1].

    Bytes 4 to 15 hold 6-bit numbers: those of the first four groups in the low 6 bits of eight bytes,
    those of the last four in the nibbles of the last four bytes and the two upper bits of the first eight.
    """
    low, middle, high = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = np.concatenate([low & 63, (high & 15) | (low >> 6 << 4)], axis=1)
    minimums = np.concatenate([middle & 63, (high >> 4) | (middle >> 6 << 4)], axis=1)
    return (_halves(blocks, 0) * scales)[..., None], (_halves(blocks, 2) * minimums)[..., None]


def _k_nibbles(packed: U8) -> U8:
    """128 bytes [n, 128] to codes [n, 8, 32]: each 32 bytes are two groups, low nibbles first."""
    return _nibbles(packed.reshape(-1, 4, 32)).reshape(-1, 8, 32)


def _decode_q4_k(blocks: U8) -> F32:
    scales, minimums = _k_scales(blocks)
    return (scales * _k_nibbles(blocks[:, 16:]) - minimums).reshape(-1, 256)


def _decode_q5_k(blocks: U8) -> F32:
    scales, minimums = _k_scales(blocks)
    fifth = blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1  # a bit for each group
    return (scales * (_k_nibbles(blocks[:, 48:]) | fifth << 4) - minimums).reshape(-1, 256)


def _decode_q6_k(blocks: U8) -> F32:
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8)[:, None]
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> shifts & 3
    codes = (low | high << 4).astype(np.float32) - 32
    scales = _halves(blocks, 208) * np.ascontiguousarray(blocks[:, 192:208]).view(np.int8)
    return (codes.reshape(-1, 16, 16) * scales[..., None]).reshape(-1, 256)


FORMATS: dict[int, WeightFormat] = {
    form.number: form
    for form in (
        WeightFormat(0, "f32", 1, 4, _decode_f32),
        WeightFormat(1, "f16", 1, 2, _decode_f16),
        WeightFormat(2, "q4_0", 32, 18, _decode_q4_0),
        WeightFormat(3, "q4_1", 32, 20, _decode_q4_1),
        WeightFormat(6, "q5_0", 32, 22, _decode_q5_0),
        WeightFormat(7, "q5_1", 32, 24, _decode_q5_1),
        WeightFormat(8, "q8_0", 32, 34, _decode_q8_0),
        WeightFormat(12, "q4_K", 256, 144, _decode_q4_k),
        WeightFormat(13, "q5_K", 256, 176, _decode_q5_k),
        WeightFormat(14, "q6_K", 256, 210, _decode_q6_k),
        WeightFormat(30, "bf16", 1, 2, _decode_bf16),
    )
}


def dequantise(number: int, blocks: U8, outputs: int, inputs: int) -> F32:
    """The weights [outputs, inputs] that blocks of GGML format `number` (bytes, [n]) stand for, exactly."""
    form = FORMATS[number]
    return form.decode(blocks.reshape(-1, form.block_bytes)).reshape(outputs, inputs)


def quantise_rows(x: F32) -> F64:
    """Activations [rows, inputs] as products of words see them: 16-bit codes in groups of 32.

    The scale is max|x| / 32767. Groups whose largest magnitude is below 2⁻¹¹¹ count as zero.
    """
    groups, largest = _groups(x)
    return _rounded(groups, largest, MOST_CODE).reshape(x.shape)


def quantise_rows_to_bytes(x: F32) -> F64:
    """Activations [rows, inputs] as products of bytes see them: 8-bit codes, and two bytes in loud groups."""
    groups, largest = _groups(x)
    mean = np.add.accumulate(largest, axis=1, dtype=np.float32)[:, -1:] / np.float32(largest.shape[1])
    return _rounded(groups, largest, np.where(largest > LOUD * mean, MOST_TWO_BYTES, MOST_BYTE)).reshape(x.shape)


def _groups(x: F32) -> tuple[F32, F32]:
    """Groups [rows, groups, 32], and the largest magnitude of each, [rows, groups, 1]."""
    groups = x.reshape(x.shape[0], -1, GROUP)
    return groups, np.abs(groups).max(axis=-1, keepdims=True)


def _rounded(groups: F32, largest: F32, most: np.float32 | F32) -> F64:
    used = largest >= np.float32(2.0**-111)
    inverse = np.where(used, most / np.where(used, largest, 1), 0).astype(np.float32)
    scale = np.where(used, largest / most, 0)
    codes = np.rint(groups * inverse)
    restored: F64 = codes.astype(np.float64) * scale
    return restored


def matmul(weight: F32, x: F32 | F64, bias: F32 | None = None, y: F32 | None = None) -> F64:
    """X [rows, inputs] times weight [outputs, inputs] transposed, plus bias and y: [rows, outputs]."""
    product: F64 = x.astype(np.float64) @ weight.astype(np.float64).T
    if bias is not None:
        product += bias
    if y is not None:
        product += y
    return product
