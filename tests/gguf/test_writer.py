from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead.gguf.formats import Format
from fairlead.gguf.reader import GGUFFile
from fairlead.gguf.writer import NewTensor, WritableValue, write_gguf


def test_the_gguf_package_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "file.gguf"
    weights = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    tensor = NewTensor("w", Format.F32, weights.shape, weights.view(np.uint8))
    write_gguf(path, {"general.architecture": "llama", "n": 7, "x": 0.5, "names": ["a", "ü"]}, [tensor])
    peer = gguf.GGUFReader(path)
    assert peer.fields["n"].types == [gguf.GGUFValueType.UINT32]
    assert peer.fields["x"].types == [gguf.GGUFValueType.FLOAT32]
    assert peer.fields["names"].contents() == ["a", "ü"]
    np.testing.assert_array_equal(peer.tensors[0].data, weights)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "u8", "i8", "f8", ">u4"])
def test_numpy_values_keep_their_type(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "file.gguf"
    array = np.array([1, 100], dtype)
    write_gguf(path, {"array": array, "scalar": array[1]}, [])
    with GGUFFile.open(path) as file:
        assert dict(file.metadata) == {"array": (1, 100), "scalar": 100}


def test_data_may_come_in_pieces_when_its_turn_has_come(tmp_path: Path) -> None:
    path = tmp_path / "file.gguf"
    asked: list[str] = []

    def pieces(name: str) -> Iterator[NDArray[np.uint8]]:
        for number in range(3):
            asked.append(name)
            yield np.full(8, number, np.uint8)

    write_gguf(path, {}, [NewTensor(name, Format.F32, (6,), pieces(name)) for name in "ab"])
    assert asked == ["a"] * 3 + ["b"] * 3
    with GGUFFile.open(path) as file:
        for tensor in file.tensors.values():
            np.testing.assert_array_equal(tensor.data, np.repeat([0, 1, 2], 8))


def test_data_of_another_size_is_refused(tmp_path: Path) -> None:
    for size in (0, 23, 25):
        with pytest.raises(ValueError, match=f"w has {size} bytes"):
            write_gguf(tmp_path / "file.gguf", {}, [NewTensor("w", Format.F32, (6,), np.zeros(size, np.uint8))])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mixed", ["a", 1]),
        ("complex", np.zeros(2, np.complex64)),
        ("half", np.float16(1)),
        ("general.alignment", "32"),
    ],
)
def test_what_gguf_cannot_say_is_refused(tmp_path: Path, key: str, value: WritableValue) -> None:
    with pytest.raises(TypeError):
        write_gguf(tmp_path / "file.gguf", {key: value}, [])
