"""A model file, of whatever kind: its metadata in the types that callers expect, and its tensors in a memory map.

All kinds speak GGUF's words for keys and tensors: whoever describes a network need not know which kind he reads. What
a key or a tensor means to a model is not known here.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from fairlead.errors import ModelFileError
from fairlead.gguf.formats import Format
from fairlead.gguf.header import Scalar, Tensor, Value, shown

__all__ = ["ModelFile", "Tensor", "Value", "mapped_file"]

# llama.cpp's names for mixtures of formats, by `general.file_type`.
_MIXTURES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 14: "Q4_K_S", 15: "Q4_K_M",
    16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip


class ModelFile:
    """An open model file; a context manager.

    Attributes:
        file_name: the file's name without its folders.
        size: bytes of the file.
        metadata: every key's value; arrays as tuples.
        tensors: by name, in the order of the file.
    """

    def __init__(
        self, file_name: str, mapped: mmap.mmap, metadata: Mapping[str, Value], tensors: Mapping[str, Tensor]
    ) -> None:
        self.file_name = file_name
        self.size = len(mapped)
        self.metadata = metadata
        self.tensors = tensors
        self._map = mapped

    def close(self) -> None:
        """Unmaps the file, at once or when the last view of a tensor's data is gone."""
        with contextlib.suppress(BufferError):  # there are views: the last of them unmaps
            self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def architecture(self) -> str:
        """`general.architecture`, such as "llama"; ModelFileError where there is none."""
        return self.get_str("general.architecture")

    @property
    def name(self) -> str:
        """What the model calls itself, or the file's name without its ending."""
        return self.get_str("general.name", "") or Path(self.file_name).stem

    @property
    def parameter_count(self) -> int:
        """The number of weights in all tensors."""
        return sum(tensor.elements for tensor in self.tensors.values())

    @property
    def quantization(self) -> str:
        """The mixture that the file says it is, such as "Q4_K_M", or the format of most of its weights."""
        mixture = self.metadata.get("general.file_type")
        if isinstance(mixture, int) and mixture in _MIXTURES:
            return _MIXTURES[mixture]
        weights: Counter[Format] = Counter()
        for tensor in self.tensors.values():
            weights[tensor.format] += tensor.elements
        return weights.most_common(1)[0][0].name if weights else "none"

    # ---- metadata of the type that the caller expects -------------------------------------------------
    # A key without a default must be there. All raise ModelFileError, naming the key.

    def get_int(self, key: str, default: int | None = None, *, minimum: int = 0, maximum: int = 2**31 - 1) -> int:
        """An integer within [minimum, maximum]."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            self._refuse(key, "an integer")
        if key in self.metadata and not minimum <= value <= maximum:
            self._refuse(key, f"within {minimum} to {maximum}")
        return value

    def get_float(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self._refuse(key, "a finite number")
        return float(value)

    def get_bool(self, key: str, default: bool | None = None) -> bool:
        """A truth value."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            self._refuse(key, "true or false")
        return value

    def get_str(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._get(key, default)
        if not isinstance(value, str):
            self._refuse(key, "a string")
        return value

    def get_ints(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """An array of integers."""
        values = self._get_array(key, default)
        integers = tuple(value for value in values if isinstance(value, int) and not isinstance(value, bool))
        if len(integers) != len(values):
            self._refuse(key, "an array of integers")
        return integers

    def get_floats(self, key: str, default: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """An array of floating-point numbers, NaN and infinities included."""
        values = self._get_array(key, default)
        floats = tuple(value for value in values if isinstance(value, float))
        if len(floats) != len(values):
            self._refuse(key, "an array of floating-point numbers")
        return floats

    def get_strs(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """An array of strings."""
        values = self._get_array(key, default)
        strings = tuple(value for value in values if isinstance(value, str))
        if len(strings) != len(values):
            self._refuse(key, "an array of strings")
        return strings

    def _get(self, key: str, default: Value | None) -> Value:
        value = self.metadata.get(key, default)
        if value is None:
            raise ModelFileError(f"{self.file_name} has no {key}, which this model needs")
        return value

    def _get_array(self, key: str, default: Value | None) -> tuple[Scalar, ...]:
        values = self._get(key, default)
        if not isinstance(values, tuple):
            self._refuse(key, "an array")
        return values

    def _refuse(self, key: str, expected: str) -> NoReturn:
        value = self.metadata[key]
        found = f"an array of {len(value)}" if isinstance(value, tuple) else shown(value)
        raise ModelFileError(f"{self.file_name}: {key} is {found} and must be {expected}")


def mapped_file(path: Path, kind: str) -> mmap.mmap:
    """A file in memory, to be read only; ModelFileError, with the kind that it should be, where that cannot be."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            raise ModelFileError(f"{path.name} is not a regular file")
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:  # of mmap for a file without a byte, of stat for a NUL in the path
        raise ModelFileError(f"{path.name!r} is not a {kind} file: it is empty") from error
