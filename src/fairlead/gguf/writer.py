"""Writes GGUF files (version 3): for tests, benchmarks and tools.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairlead.gguf.formats import Format
from fairlead.gguf.header import DEFAULT_ALIGNMENT

U8 = NDArray[np.uint8]
Item = bool | int | float | str | np.number
WritableValue = Item | Sequence[Item] | NDArray[np.number]
"""A NumPy scalar or array keeps its type. Of Python's, an integer becomes u32 (in an array i32) and a float
f32, as in the files of llama.cpp's converters."""

_BOOL, _STRING, _ARRAY = 7, 8, 9
_NUMBERS = {"u1": 0, "i1": 1, "u2": 2, "i2": 3, "u4": 4, "i4": 5, "f4": 6, "u8": 10, "i8": 11, "f8": 12}


class NewTensor(NamedTuple):
    """A tensor to be written: `shape` is (outputs..., inputs), `data` its bytes, whole or in pieces."""

    name: str
    format: Format
    shape: tuple[int, ...]
    data: U8 | Iterable[U8]


def write_gguf(path: Path, metadata: Mapping[str, WritableValue], tensors: Sequence[NewTensor]) -> None:
    """Writes a file, tensor after tensor; pieces of a tensor's data are asked for only when their turn comes.

    `general.alignment` in the metadata is honoured.

    Raises:
        ValueError: a tensor's data is not of the size that its shape needs; the file is then left unfinished.
        TypeError: a metadata value of a type that GGUF does not have.
    """
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int):
        raise TypeError(f"general.alignment is {alignment!r}, not an integer")
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
        for key, value in metadata.items():
            file.write(_string(key) + _value(value))
        offset = 0
        for tensor in tensors:
            size = tensor.format.bytes_for(math.prod(tensor.shape))
            file.write(_string(tensor.name) + struct.pack("<I", len(tensor.shape)))
            file.write(struct.pack(f"<{len(tensor.shape)}Q", *reversed(tensor.shape)))
            file.write(struct.pack("<IQ", tensor.format, offset))
            offset += size + -size % alignment
        file.write(bytes(-file.tell() % alignment))
        for tensor in tensors:
            size = tensor.format.bytes_for(math.prod(tensor.shape))
            written = sum(file.write(piece) for piece in _pieces(tensor.data))
            if written != size:
                raise ValueError(f"{tensor.name} has {written} bytes of data, and its shape needs {size}")
            file.write(bytes(-size % alignment))


def _pieces(data: U8 | Iterable[U8]) -> Iterator[memoryview]:
    for piece in [data] if isinstance(data, np.ndarray) else data:
        yield np.ascontiguousarray(piece).data


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: WritableValue) -> bytes:
    if isinstance(value, bool | int | float | str | np.number):
        kind, raw = _items([value], "<u4")
        return struct.pack("<I", kind) + raw
    kind, raw = _numbers(value) if isinstance(value, np.ndarray) else _items(value, "<i4")
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + raw


def _items(items: Sequence[Item], integer: str) -> tuple[int, bytes]:
    """The GGUF type of values that are all of one type, and their bytes; `integer` is what an int becomes."""
    kinds = {type(item) for item in items}
    if len(kinds) > 1:
        raise TypeError(f"an array of different types: {kinds}")
    if kinds <= {str}:
        return _STRING, b"".join(_string(str(item)) for item in items)
    if kinds == {bool}:
        return _BOOL, bytes(bool(item) for item in items)
    if kinds == {int}:
        return _numbers(np.array(items, integer))
    return _numbers(np.array(items, "<f4" if kinds == {float} else None))


def _numbers(numbers: NDArray[np.number]) -> tuple[int, bytes]:
    name = numbers.dtype.str[1:]
    if name not in _NUMBERS:
        raise TypeError(f"GGUF has no type for {numbers.dtype}")
    return _NUMBERS[name], numbers.astype(numbers.dtype.newbyteorder("<")).tobytes()
