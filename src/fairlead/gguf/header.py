"""Parses the header of a GGUF file: its metadata, and the names, shapes and places of its tensors.

A model file is input from strangers: every count, offset, length and type is checked here before it is used,
so that whoever gets a `Header` can trust its shapes and extents. What a key or a tensor means to a model is
not known here.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import dataclasses
import math
import mmap
import struct
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from fairlead.errors import ModelFileError, UnsupportedModel
from fairlead.gguf.formats import Format

Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]

DEFAULT_ALIGNMENT: Final = 32

# Far above what any model needs, and small enough that a hostile file cannot make reading it costly.
_MAX_HEADER_BYTES = 1 << 28
_MAX_ARRAY_VALUES = 1 << 22  # of all arrays together; the largest vocabularies come to 1.5 million
_MAX_KEY_BYTES = 65535
_MAX_NAME_BYTES = 255
_MAX_DIMENSIONS = 4
_MAX_ALIGNMENT = 1 << 16

_BOOL, _STRING, _ARRAY = 7, 8, 9
_NUMBERS: dict[int, np.dtype[np.number]] = {  # the other types of metadata values
    number: np.dtype(name)
    for number, name in {
        0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 10: "<u8", 11: "<i8", 12: "<f8",
    }.items()
}  # fmt: skip
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")

# For messages only: GGML's types of tensors that are not built in.
_OTHER_TYPES = {
    9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64",
    28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a file.

    Attributes:
        name: as in the file.
        shape: (outputs..., inputs), inputs running fastest.
        format: how its weights are stored.
        offset: its first byte in the file.
    """

    name: str
    shape: tuple[int, ...]
    format: Format
    offset: int
    _map: mmap.mmap

    @property
    def elements(self) -> int:
        """The number of weights."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes in the file."""
        return self.format.bytes_for(self.elements)

    @property
    def data(self) -> NDArray[np.uint8]:
        """Its bytes: a flat, read-only view of the memory map."""
        return np.frombuffer(self._map, np.uint8, self.nbytes, self.offset)


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Attributes:
        version: of the format, 2 or 3.
        metadata: every key's value; arrays as tuples.
        tensors: by name, in the order of the file.
        size: bytes that the header itself takes.
    """

    version: int
    metadata: dict[str, Value]
    tensors: dict[str, Tensor]
    size: int


def read_header(mapped: mmap.mmap, file_name: str) -> Header:
    """Reads and checks a mapped file's header; ModelFileError, with `file_name` in it, where it is wrong."""
    cursor = _Cursor(mapped, file_name)
    version = _read_version(cursor)
    tensor_count = cursor.u64("the number of tensors")
    metadata = _read_metadata(cursor)
    tensors = _read_tensors(cursor, tensor_count, _alignment(cursor, metadata))
    return Header(version, metadata, tensors, cursor.position)


class _Cursor:
    """Reads little-endian values one after another, never past the end of the file or of a sane header."""

    def __init__(self, data: mmap.mmap, file_name: str) -> None:
        self.data = data
        self.position = 0
        self._end = min(len(data), _MAX_HEADER_BYTES)
        self._array_values = 0
        self._file_name = file_name

    def fail(self, message: str) -> NoReturn:
        raise ModelFileError(f"{self._file_name}: {message}")

    def unsupported(self, message: str) -> NoReturn:
        raise UnsupportedModel(f"{self._file_name}: {message}")

    def ends_within(self, what: str) -> NoReturn:
        if self._end < len(self.data):
            self.fail(f"its header takes more than {_MAX_HEADER_BYTES} bytes, as {what} shows")
        self.fail(f"the file is cut short within {what}, or damaged before it")

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes."""
        start = self.position
        if size > self._end - start:
            self.ends_within(what)
        self.position = start + size
        return self.data[start : self.position]

    def u32(self, what: str) -> int:
        value: int = _U32.unpack(self.take(4, what))[0]
        return value

    def u64(self, what: str) -> int:
        value: int = _U64.unpack(self.take(8, what))[0]
        return value

    def name(self, limit: int, what: str) -> str:
        """A string that names something: of at least one byte and at most `limit`."""
        size = self.u64(what)
        if not 0 < size <= limit:
            self.fail(f"{what} has {size} bytes, not 1 to {limit}")
        return self._texts([self.take(size, what)], what)[0]

    def value(self, key: str) -> Value:
        """A value of any type, its type before it."""
        kind = self.u32(key)
        if kind != _ARRAY:
            return self._values(kind, 1, key)[0]
        kind = self.u32(key)
        count = self.u64(key)
        self._array_values += count
        if self._array_values > _MAX_ARRAY_VALUES:
            self.fail(f"its arrays have more than {_MAX_ARRAY_VALUES} values, {key} alone {count}")
        return self._values(kind, count, key)

    def _values(self, kind: int, count: int, key: str) -> tuple[Scalar, ...]:
        if kind == _STRING:
            return self._strings(count, key)
        if kind == _BOOL:
            flags = self.take(count, key)
            if flags.strip(b"\0\1"):
                self.fail(f"{key} must be true or false, and is neither")
            return tuple(flag == 1 for flag in flags)
        if kind == _ARRAY:
            self.fail(f"{key} is an array of arrays, which no model needs")
        if kind not in _NUMBERS:
            self.fail(f"{key} is of type {kind}, which GGUF does not have")
        numbers = np.frombuffer(self.take(count * _NUMBERS[kind].itemsize, key), _NUMBERS[kind])
        return tuple(numbers.tolist())

    def _strings(self, count: int, key: str) -> tuple[str, ...]:
        # A vocabulary has hundreds of thousands of them: the loop does as little as can be for each.
        data, position, last = self.data, self.position, self._end - 8
        length = _U64.unpack_from
        strings = []
        for _ in range(count):
            if position > last:
                self.ends_within(key)
            start = position + 8
            position = start + length(data, position)[0]
            if position > self._end:
                self.ends_within(key)
            strings.append(data[start:position])
        self.position = position
        return self._texts(strings, key)

    def _texts(self, raw: list[bytes], what: str) -> tuple[str, ...]:
        try:
            return tuple([str(text, "utf-8") for text in raw])
        except UnicodeDecodeError:
            self.fail(f"{what} is not UTF-8")


def _read_version(cursor: _Cursor) -> int:
    if cursor.take(4, "its first four bytes") != b"GGUF":
        cursor.fail("not a GGUF file: it does not begin with GGUF")
    version = cursor.u32("the version")
    if version & 0xFFFF == 0:
        cursor.unsupported("a big-endian GGUF file; only little-endian ones can be read")
    if version not in (2, 3):
        cursor.unsupported(f"GGUF version {version}; only 2 and 3 can be read: convert the model anew")
    return version


def _read_metadata(cursor: _Cursor) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for number in range(cursor.u64("the number of metadata keys")):
        key = cursor.name(_MAX_KEY_BYTES, f"metadata key {number}")
        if key in metadata:
            cursor.fail(f"the metadata key {shown(key)} is there twice")
        metadata[key] = cursor.value(shown(key))
    return metadata


def _alignment(cursor: _Cursor, metadata: dict[str, Value]) -> int:
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        cursor.fail(f"general.alignment is no power of two of at most {_MAX_ALIGNMENT}")
    return alignment


def _read_tensors(cursor: _Cursor, count: int, alignment: int) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for number in range(count):
        tensor = _read_tensor(cursor, number, alignment)
        if tensor.name in tensors:
            cursor.fail(f"the tensor {shown(tensor.name)} is there twice")
        tensors[tensor.name] = tensor

    start = -(-cursor.position // alignment) * alignment
    tensors = {name: dataclasses.replace(tensor, offset=start + tensor.offset) for name, tensor in tensors.items()}
    end, last = start, ""
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor.offset):
        if tensor.offset < end:
            cursor.fail(f"the tensors {shown(last)} and {shown(tensor.name)} overlap")
        end, last = tensor.offset + tensor.nbytes, tensor.name
        if end > len(cursor.data):
            cursor.fail(f"the file is cut short: the tensor {shown(last)} ends at byte {end} of {len(cursor.data)}")
    return tensors


def _read_tensor(cursor: _Cursor, number: int, alignment: int) -> Tensor:
    """One tensor's description; its offset is still that from the first tensor's place."""
    name = cursor.name(_MAX_NAME_BYTES, f"the name of tensor {number}")
    tensor = f"the tensor {shown(name)}"
    dimensions = cursor.u32(tensor)
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        cursor.fail(f"{tensor} has {dimensions} dimensions, not 1 to {_MAX_DIMENSIONS}")
    shape = tuple(cursor.u64(tensor) for _ in range(dimensions))[::-1]
    kind = cursor.u32(tensor)
    offset = cursor.u64(tensor)
    try:
        weight_format = Format(kind)
    except ValueError:
        type_name = _OTHER_TYPES.get(kind, "unknown")
        cursor.unsupported(f"{tensor} is of type {type_name} ({kind}), which is not built in")
    if not 0 < math.prod(shape) <= len(cursor.data) * weight_format.block:
        cursor.fail(f"{tensor} of {shape} weights is empty or larger than the file")
    if shape[-1] % weight_format.block:
        cursor.fail(f"{tensor} has {shape[-1]} inputs, not whole blocks of {weight_format.block}")
    if offset % alignment:
        cursor.fail(f"{tensor} is at offset {offset}, not a multiple of {alignment}")
    return Tensor(name, shape, weight_format, offset, cursor.data)


def shown(value: Scalar) -> str:
    """A value of the file in a message: short, and without what a terminal would obey."""
    text = str(value)
    return text if len(text) <= 80 and text.isprintable() else repr(text[:80])
