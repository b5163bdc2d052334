"""Blocks of weights to float32 and back, for every `Format`, in NumPy.

The layouts are GGML's. Reading is exact: it gives what the file means, bit for bit. Writing is for tests,
benchmarks and tools; it is right in format and sensible in quality, and makes no claim to be the best.
Knows nothing of files; speed in serving is the business of the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead.gguf.formats import Format

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


def dequantise(data: U8, format: Format, shape: Sequence[int]) -> F32:  # noqa: A002 - the name it has in GGML
    """The weights as float32, exactly as the file means them.

    Args:
        data: the tensor's bytes, of any shape.
        format: how they are stored.
        shape: (outputs..., inputs), inputs running fastest.

    Returns:
        An array of that shape.

    Raises:
        ValueError: the bytes are not those of a tensor of this shape.
    """
    elements = int(np.prod(shape, dtype=np.int64))
    if data.dtype != np.uint8 or data.size != format.bytes_for(elements):
        raise ValueError(f"{data.size} × {data.dtype} are not a {format.name} tensor of {tuple(shape)}")
    blocks = np.ascontiguousarray(data).reshape(-1, format.block_bytes)
    return _DEQUANTISE[format](blocks).reshape(shape)


def quantise(values: F32, format: Format) -> U8:  # noqa: A002 - the name it has in GGML
    """Weights as blocks of a format, each rounded to the nearest that its block's scales allow.

    Args:
        values: [..., inputs], finite, within what fp16 holds where the format has fp16 scales.
        format: how to store them.

    Returns:
        The bytes, [..., bytes of a row].

    Raises:
        ValueError: the inputs are not whole blocks of the format.
    """
    row_bytes = format.bytes_for(values.shape[-1])
    blocks = np.ascontiguousarray(values, np.float32).reshape(-1, format.block)
    return _QUANTISE[format](blocks).reshape(*values.shape[:-1], row_bytes)


# ---- pieces of blocks: [blocks, bytes] to [blocks, values] ----------------------------------------


def _f16(blocks: U8) -> F32:
    return blocks.view(np.float16).astype(np.float32)


def _nibbles(packed: U8, run: int) -> U8:
    """4-bit values: for each `run` bytes first all the low halves, then all the high ones."""
    runs = packed.reshape(len(packed), -1, 1, run)
    shifts = np.array([0, 4], dtype=np.uint8).reshape(1, 1, 2, 1)
    return ((runs >> shifts) & np.uint8(15)).reshape(len(packed), -1)


def _fifth_bits(packed: U8) -> U8:
    """The fifth bits of Q5_0 and Q5_1, as 0 or 16: a little-endian word, weight i in bit i."""
    return np.unpackbits(packed, axis=1, bitorder="little") << np.uint8(4)


def _bits_by_group(packed: U8, bits: int) -> U8:
    """Values of `bits` bits of which byte j holds those of weights j, j + bytes, j + 2 bytes, …."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(1, -1, 1)
    return ((packed[:, None, :] >> shifts) & np.uint8((1 << bits) - 1)).reshape(len(packed), -1)


def _scales_and_minima(packed: U8) -> tuple[U8, U8]:
    """The eight 6-bit scales and minima of Q4_K and Q5_K out of their 12 bytes: two of [blocks, 8].

    The first four of each lie in the low six bits of bytes 0–3 and 4–7. Of the other four, the low four
    bits share bytes 8–11 and the high two bits are the top of bytes 0–7.
    """
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 6) << 4)], axis=1)
    minima = np.concatenate([second & 63, (third >> 4) | ((second >> 6) << 4)], axis=1)
    return scales, minima


# ---- blocks to weights ----------------------------------------------------------------------------


def _from_f32(blocks: U8) -> F32:
    return blocks.view(np.float32).copy()


def _from_bf16(blocks: U8) -> F32:
    return (blocks.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _from_q4_0(blocks: U8) -> F32:
    return _f16(blocks[:, :2]) * (_nibbles(blocks[:, 2:], 16).astype(np.float32) - 8)


def _from_q4_1(blocks: U8) -> F32:
    return _f16(blocks[:, :2]) * _nibbles(blocks[:, 4:], 16).astype(np.float32) + _f16(blocks[:, 2:4])


def _from_q5_0(blocks: U8) -> F32:
    weights = _nibbles(blocks[:, 6:], 16) | _fifth_bits(blocks[:, 2:6])
    return _f16(blocks[:, :2]) * (weights.astype(np.float32) - 16)


def _from_q5_1(blocks: U8) -> F32:
    weights = _nibbles(blocks[:, 8:], 16) | _fifth_bits(blocks[:, 4:8])
    return _f16(blocks[:, :2]) * weights.astype(np.float32) + _f16(blocks[:, 2:4])


def _from_q8_0(blocks: U8) -> F32:
    return _f16(blocks[:, :2]) * blocks[:, 2:].view(np.int8).astype(np.float32)


def _from_groups(blocks: U8, weights: U8) -> F32:
    """Q4_K and Q5_K: eight groups of 32 with a scale and a minimum each."""
    scales, minima = _scales_and_minima(blocks[:, 4:16])
    scale = (_f16(blocks[:, :2]) * scales.astype(np.float32))[:, :, None]
    minimum = (_f16(blocks[:, 2:4]) * minima.astype(np.float32))[:, :, None]
    return scale * weights.reshape(-1, 8, 32).astype(np.float32) - minimum


def _from_q4_k(blocks: U8) -> F32:
    return _from_groups(blocks, _nibbles(blocks[:, 16:], 32))


def _from_q5_k(blocks: U8) -> F32:
    return _from_groups(blocks, _nibbles(blocks[:, 48:], 32) | (_bits_by_group(blocks[:, 16:48], 1) << np.uint8(4)))


def _from_q6_k(blocks: U8) -> F32:
    halves = len(blocks) * 2  # each of 128 weights: 64 bytes of low parts, 32 of high ones
    low = blocks[:, :128].reshape(halves, 64)
    high = _bits_by_group(blocks[:, 128:192].reshape(halves, 32), 2)
    weights = (_bits_by_group(low, 4) | (high << np.uint8(4))).astype(np.float32) - 32
    scales = _f16(blocks[:, 208:210]) * blocks[:, 192:208].view(np.int8).astype(np.float32)
    return scales[:, :, None] * weights.reshape(-1, 16, 16)


_DEQUANTISE: dict[Format, Callable[[U8], F32]] = {
    Format.F32: _from_f32,
    Format.F16: _f16,
    Format.BF16: _from_bf16,
    Format.Q4_0: _from_q4_0,
    Format.Q4_1: _from_q4_1,
    Format.Q5_0: _from_q5_0,
    Format.Q5_1: _from_q5_1,
    Format.Q8_0: _from_q8_0,
    Format.Q4_K: _from_q4_k,
    Format.Q5_K: _from_q5_k,
    Format.Q6_K: _from_q6_k,
}


# ---- pieces of blocks, written --------------------------------------------------------------------


def _to_f16(values: F32) -> U8:
    return values.astype(np.float16).view(np.uint8)


def _pack_bits(values: U8, bits: int) -> U8:
    """What `_bits_by_group` reads, of [blocks, values]."""
    groups = values.reshape(len(values), 8 // bits, -1)
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(1, -1, 1)
    packed: U8 = np.bitwise_or.reduce(groups << shifts, axis=1)
    return packed


def _pack_nibbles(values: U8, run: int) -> U8:
    """What `_nibbles` reads."""
    return _pack_bits(values.reshape(-1, 2 * run), 4).reshape(len(values), -1)


def _pack_fifth_bits(values: U8) -> U8:
    """What `_fifth_bits` reads, of 5-bit values."""
    return np.packbits(values >> np.uint8(4), axis=1, bitorder="little")


def _pack_scales_and_minima(scales: U8, minima: U8) -> U8:
    """What `_scales_and_minima` reads."""
    high = np.uint8(4)
    first = scales[:, :4] | (scales[:, 4:] >> high << np.uint8(6))
    second = minima[:, :4] | (minima[:, 4:] >> high << np.uint8(6))
    third = (scales[:, 4:] & np.uint8(15)) | (minima[:, 4:] << high)
    return np.concatenate([first, second, third], axis=1)


def _ratio(numerator: F32, denominator: F32) -> F32:
    """Their quotient, 0 where the denominator, which may be broadcast, is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def _rounded(values: F32, low: int, high: int) -> U8:
    return np.clip(np.rint(values), low, high).astype(np.int8).view(np.uint8)


# ---- weights to blocks ----------------------------------------------------------------------------


def _to_bf16(values: F32) -> U8:
    bits = values.view(np.uint32)
    nearest_even = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (nearest_even >> np.uint32(16)).astype(np.uint16).view(np.uint8)


def _symmetric(values: F32, bits: int) -> tuple[F32, U8]:
    """Scales and unsigned values with their zero in the middle, the largest weight at the lowest value."""
    half = 1 << (bits - 1)
    extreme = np.take_along_axis(values, np.abs(values).argmax(axis=1, keepdims=True), axis=1)
    scale = (extreme / -half).astype(np.float16).astype(np.float32)
    return scale, _rounded(_ratio(values, scale) + half, 0, 2 * half - 1)


def _asymmetric(values: F32, bits: int) -> tuple[F32, F32, U8]:
    """Scales, minima and unsigned values from the least weight to the largest."""
    top = (1 << bits) - 1
    minimum = values.min(axis=1, keepdims=True).astype(np.float16).astype(np.float32)
    scale = ((values.max(axis=1, keepdims=True) - minimum) / top).astype(np.float16).astype(np.float32)
    return scale, minimum, _rounded(_ratio(values - minimum, scale), 0, top)


def _to_q4_0(values: F32) -> U8:
    scale, weights = _symmetric(values, 4)
    return np.concatenate([_to_f16(scale), _pack_nibbles(weights, 16)], axis=1)


def _to_q4_1(values: F32) -> U8:
    scale, minimum, weights = _asymmetric(values, 4)
    return np.concatenate([_to_f16(scale), _to_f16(minimum), _pack_nibbles(weights, 16)], axis=1)


def _to_q5_0(values: F32) -> U8:
    scale, weights = _symmetric(values, 5)
    nibbles = _pack_nibbles(weights & np.uint8(15), 16)
    return np.concatenate([_to_f16(scale), _pack_fifth_bits(weights), nibbles], axis=1)


def _to_q5_1(values: F32) -> U8:
    scale, minimum, weights = _asymmetric(values, 5)
    nibbles = _pack_nibbles(weights & np.uint8(15), 16)
    return np.concatenate([_to_f16(scale), _to_f16(minimum), _pack_fifth_bits(weights), nibbles], axis=1)


def _to_q8_0(values: F32) -> U8:
    scale = (np.abs(values).max(axis=1, keepdims=True) / 127).astype(np.float16).astype(np.float32)
    weights = _rounded(_ratio(values, scale), -127, 127)
    return np.concatenate([_to_f16(scale), weights], axis=1)


def _to_groups(values: F32, bits: int) -> tuple[U8, U8]:
    """The first 16 bytes of Q4_K and Q5_K, and the unsigned values: eight groups of 32 in a block."""
    groups = values.reshape(-1, 8, 32)
    top = (1 << bits) - 1
    depth = np.maximum(-groups.min(axis=2), 0)  # a minimum is stored as how far it lies below zero
    reach = (groups.max(axis=2) + depth) / top
    heads, exact = [], []
    for extents in (reach, depth):
        head = (extents.max(axis=1, keepdims=True) / 63).astype(np.float16).astype(np.float32)
        heads.append(_to_f16(head))
        exact.append((head, _rounded(_ratio(extents, head), 0, 63)))
    (scale_head, scales), (minimum_head, minima) = exact
    scale = (scale_head * scales.astype(np.float32))[:, :, None]
    minimum = (minimum_head * minima.astype(np.float32))[:, :, None]
    weights = _rounded(_ratio(groups + minimum, scale), 0, top)
    first = np.concatenate([*heads, _pack_scales_and_minima(scales, minima)], axis=1)
    return first, weights.reshape(len(values), 256)


def _to_q4_k(values: F32) -> U8:
    first, weights = _to_groups(values, 4)
    return np.concatenate([first, _pack_nibbles(weights, 32)], axis=1)


def _to_q5_k(values: F32) -> U8:
    first, weights = _to_groups(values, 5)
    fifth = _pack_bits(weights >> np.uint8(4), 1)
    return np.concatenate([first, fifth, _pack_nibbles(weights & np.uint8(15), 32)], axis=1)


def _to_q6_k(values: F32) -> U8:
    groups = values.reshape(-1, 16, 16)
    extreme = np.take_along_axis(groups, np.abs(groups).argmax(axis=2, keepdims=True), axis=2)[:, :, 0]
    scales = extreme * np.float32(-1 / 32)
    head = (np.abs(scales).max(axis=1, keepdims=True) / 127).astype(np.float16).astype(np.float32)
    parts = _rounded(_ratio(scales, head), -127, 127)
    scale = (head * parts.view(np.int8).astype(np.float32))[:, :, None]
    weights = _rounded(_ratio(groups, scale) + 32, 0, 63)
    halves = weights.reshape(len(values) * 2, 128)
    low = _pack_bits(halves & np.uint8(15), 4).reshape(len(values), 128)
    high = _pack_bits(halves >> np.uint8(4), 2).reshape(len(values), 64)
    return np.concatenate([low, high, parts, _to_f16(head)], axis=1)


_QUANTISE: dict[Format, Callable[[F32], U8]] = {
    Format.F32: lambda values: values.view(np.uint8),
    Format.F16: _to_f16,
    Format.BF16: _to_bf16,
    Format.Q4_0: _to_q4_0,
    Format.Q4_1: _to_q4_1,
    Format.Q5_0: _to_q5_0,
    Format.Q5_1: _to_q5_1,
    Format.Q8_0: _to_q8_0,
    Format.Q4_K: _to_q4_k,
    Format.Q5_K: _to_q5_k,
    Format.Q6_K: _to_q6_k,
}
