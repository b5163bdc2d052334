from __future__ import annotations

import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.errors import ModelFileError, UnsupportedModel
from fairlead.gguf.formats import Format
from fairlead.gguf.reader import GGUFFile
from fairlead.gguf.writer import NewTensor, WritableValue, write_gguf

METADATA: dict[str, WritableValue] = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "general.file_type": 15,
    "llama.block_count": 2,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.ggml.tokens": ["a", "", "Ġé", "日本"],
    "tokenizer.ggml.scores": [0.0, -1.5, -2.0, -3.0],
    "tokenizer.ggml.token_type": [1, 3, 1, 6],
    "flags": [True, False],
    "bytes": np.arange(5, dtype=np.uint8),
    "big": np.uint64(2**63),
    "small": np.int8(-3),
    "precise": np.float64(0.1),
    "nothing": np.zeros(0, np.int32),
}
KEPT = METADATA | {
    "tokenizer.ggml.tokens": ("a", "", "Ġé", "日本"),
    "tokenizer.ggml.scores": (0.0, -1.5, -2.0, -3.0),
    "tokenizer.ggml.token_type": (1, 3, 1, 6),
    "flags": (True, False),
    "bytes": (0, 1, 2, 3, 4),
    "nothing": (),
}
U32, STRING, ARRAY = 4, 8, 9


def tensors() -> list[NewTensor]:
    rng = np.random.default_rng(0)
    shapes: list[tuple[str, Format, tuple[int, ...]]] = [
        ("token_embd.weight", Format.Q4_K, (3, 256)),
        ("blk.0.attn_q.weight", Format.F16, (5, 7)),
        ("cube.weight", Format.Q8_0, (2, 3, 32)),
        ("output_norm.weight", Format.F32, (256,)),
    ]
    return [
        NewTensor(name, kind, shape, rng.integers(0, 256, kind.bytes_for(int(np.prod(shape))), dtype=np.uint8))
        for name, kind, shape in shapes
    ]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "sound.gguf"
    write_gguf(path, METADATA, tensors())
    return path


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def header(keys: list[bytes], infos: list[bytes], version: int = 3) -> bytes:
    counts = struct.pack("<QQ", len(infos), len(keys))
    return b"GGUF" + struct.pack("<I", version) + counts + b"".join(keys) + b"".join(infos)


def info(name: bytes, kind: int, shape: tuple[int, ...], offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
    return string(name) + dimensions + struct.pack("<IQ", kind, offset)


def refusal(tmp_path: Path, content: bytes) -> ModelFileError:
    """The error for these bytes, which comes quickly and names the file without its folders."""
    path = tmp_path / "strange.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        GGUFFile.open(path)
    assert str(tmp_path) not in str(caught.value)
    assert "strange.gguf" in str(caught.value)
    assert len(str(caught.value)) < 400
    return caught.value


# ---- sound files ----------------------------------------------------------------------------------


def test_reads_what_was_written(sound: Path) -> None:
    with GGUFFile.open(sound) as file:
        assert file.version == 3
        assert file.size == sound.stat().st_size
        assert dict(file.metadata) == KEPT
        assert list(file.tensors) == [tensor.name for tensor in tensors()]
        for written in tensors():
            read = file.tensors[written.name]
            assert (read.shape, read.format) == (written.shape, written.format)
            assert read.offset % 32 == 0
            assert not read.data.flags.writeable
            np.testing.assert_array_equal(read.data, np.asarray(written.data))


def test_says_what_it_is(sound: Path) -> None:
    with GGUFFile.open(sound) as file:
        assert (file.architecture, file.name, file.quantization) == ("llama", "Tiny", "Q4_K_M")
        assert file.parameter_count == 3 * 256 + 35 + 2 * 3 * 32 + 256


def test_without_a_name_or_type_it_is_named_after_file_and_weights(tmp_path: Path) -> None:
    path = tmp_path / "some.model.gguf"
    write_gguf(path, {}, tensors())
    with GGUFFile.open(path) as file:
        assert (file.name, file.quantization) == ("some.model", "Q4_K")
    write_gguf(path, {}, [])
    with GGUFFile.open(path) as file:
        assert (dict(file.tensors), file.parameter_count, file.quantization) == ({}, 0, "none")


def test_version_2_reads_as_version_3(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<I", 2) + sound.read_bytes()[8:])
    with GGUFFile.open(path) as file:
        assert file.version == 2
        assert dict(file.metadata) == KEPT


def test_another_alignment_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "aligned.gguf"
    write_gguf(path, {"general.alignment": 256}, tensors())
    with GGUFFile.open(path) as file:
        for written in tensors():
            assert file.tensors[written.name].offset % 256 == 0
            np.testing.assert_array_equal(file.tensors[written.name].data, np.asarray(written.data))


def test_views_outlive_the_file(sound: Path) -> None:
    with GGUFFile.open(sound) as file:
        data = file.tensors["output_norm.weight"].data
    np.testing.assert_array_equal(data, np.asarray(tensors()[3].data))


@pytest.mark.parametrize("which", ["sound", "starter_model"])
def test_equals_the_gguf_packages_reading(which: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(which)
    peer = gguf.GGUFReader(path)
    with GGUFFile.open(path) as file:
        keys = {key for key in peer.fields if not key.startswith("GGUF.")}
        assert set(file.metadata) == keys
        for key in keys - {"nothing"}:  # of an empty array the package reads no contents
            theirs = peer.fields[key].contents()
            assert file.metadata[key] == (tuple(theirs) if isinstance(theirs, list) else theirs), key
        assert list(file.tensors) == [tensor.name for tensor in peer.tensors]
        for tensor in peer.tensors:
            ours = file.tensors[tensor.name]
            assert ours.shape == tuple(int(size) for size in reversed(tensor.shape))
            assert int(ours.format) == int(tensor.tensor_type)
            assert ours.offset == tensor.data_offset
            assert ours.nbytes == tensor.n_bytes
        np.testing.assert_array_equal(ours.data, tensor.data.reshape(-1).view(np.uint8))


def test_a_large_vocabulary_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.gguf"
    tokens = [f"token{number}" for number in range(150_000)]
    merges = [f"to ken{number}" for number in range(300_000)]
    write_gguf(path, {"tokens": tokens, "merges": merges, "types": [1] * 150_000}, [])
    began = time.perf_counter()
    with GGUFFile.open(path) as file:
        assert time.perf_counter() - began < 2  # 0.15 s on an idle machine
        assert file.get_strs("tokens") == tuple(tokens)


# ---- typed metadata -------------------------------------------------------------------------------


def test_getters_give_what_is_asked_for(sound: Path) -> None:
    with GGUFFile.open(sound) as file:
        assert file.get_int("llama.block_count") == 2
        assert file.get_int("small", minimum=-5) == -3
        assert file.get_float("llama.rope.freq_base") == 10000.0
        assert file.get_float("llama.block_count") == 2.0
        assert file.get_bool("tokenizer.ggml.add_bos_token") is True
        assert file.get_str("general.name") == "Tiny"
        assert file.get_ints("bytes") == (0, 1, 2, 3, 4)
        assert file.get_floats("tokenizer.ggml.scores") == (0.0, -1.5, -2.0, -3.0)
        assert file.get_strs("tokenizer.ggml.tokens") == ("a", "", "Ġé", "日本")
        assert file.get_ints("nothing") == ()


def test_getters_fall_back_only_where_the_key_is_missing(sound: Path) -> None:
    with GGUFFile.open(sound) as file:
        assert file.get_int("missing", -7) == -7
        assert file.get_float("missing", 0.5) == 0.5
        assert file.get_bool("missing", False) is False
        assert file.get_str("missing", "") == ""
        assert file.get_ints("missing", ()) == ()
        assert file.get_floats("missing", (1.0,)) == (1.0,)
        assert file.get_strs("missing", ("x",)) == ("x",)
        with pytest.raises(ModelFileError, match=r"general\.name"):
            file.get_int("general.name", 3)


@pytest.mark.parametrize(
    ("read", "key"),
    [
        (lambda file: file.get_int("missing"), "missing"),
        (lambda file: file.get_strs("missing"), "missing"),
        (lambda file: file.get_int("tokenizer.ggml.add_bos_token"), "add_bos_token"),
        (lambda file: file.get_int("llama.rope.freq_base"), "freq_base"),
        (lambda file: file.get_int("small"), "small"),
        (lambda file: file.get_int("big"), "big"),
        (lambda file: file.get_int("llama.block_count", maximum=1), "block_count"),
        (lambda file: file.get_float("general.name"), r"general\.name"),
        (lambda file: file.get_float("tokenizer.ggml.add_bos_token"), "add_bos_token"),
        (lambda file: file.get_bool("llama.block_count"), "block_count"),
        (lambda file: file.get_str("llama.block_count"), "block_count"),
        (lambda file: file.get_str("tokenizer.ggml.tokens"), "tokens"),
        (lambda file: file.get_ints("llama.block_count"), "block_count"),
        (lambda file: file.get_ints("flags"), "flags"),
        (lambda file: file.get_floats("bytes"), "bytes"),
        (lambda file: file.get_strs("bytes"), "bytes"),
    ],
)
def test_getters_name_the_key_that_is_wrong(sound: Path, read: Callable[[GGUFFile], object], key: str) -> None:
    with GGUFFile.open(sound) as file, pytest.raises(ModelFileError, match=key):
        read(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_float_is_finite(tmp_path: Path, value: float) -> None:
    path = tmp_path / "file.gguf"
    write_gguf(path, {"llama.rope.freq_base": value}, [])
    with GGUFFile.open(path) as file, pytest.raises(ModelFileError, match="finite"):
        file.get_float("llama.rope.freq_base")


# ---- files from strangers -------------------------------------------------------------------------


def test_every_truncation_is_refused(sound: Path, tmp_path: Path) -> None:
    content = sound.read_bytes()
    with GGUFFile.open(sound) as file:
        last = max(tensor.offset + tensor.nbytes for tensor in file.tensors.values())
    for size in range(last):
        refusal(tmp_path, content[:size])


@settings(max_examples=400, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bits_give_a_file_or_a_refusal(sound: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(sound.read_bytes())
    with GGUFFile.open(sound) as file:
        header_bytes = min(tensor.offset for tensor in file.tensors.values())
    places = st.tuples(st.integers(0, header_bytes - 1), st.integers(1, 255))
    for position, bits in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[position] ^= bits
    path = tmp_path / "flipped.gguf"
    path.write_bytes(content)
    said = "flipped.gguf"
    tracemalloc.start()
    try:
        with GGUFFile.open(path) as file:
            for tensor in file.tensors.values():
                assert tensor.data.size == tensor.nbytes
            assert file.parameter_count >= 0
            assert file.quantization
    except ModelFileError as error:
        said = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20
    assert "flipped.gguf" in said
    assert str(tmp_path) not in said


@settings(max_examples=200, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_noise_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(tmp_path, b"GGUF\3\0\0\0" + content if len(content) < 16 else content)


KEY = string(b"key")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"GGML" + bytes(60), "not a GGUF file"),
        (header([], [], version=1), "version 1"),
        (header([], [], version=4), "version 4"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "cut short"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**64 - 1), "cut short"),
        (header([string(b"")], []), "0 bytes"),
        (header([struct.pack("<Q", 2**62)], []), f"{2**62} bytes"),
        (header([string(b"\xff\xfe")], []), "UTF-8"),
        (header([string(b"k" * 70_000)], []), "70000 bytes"),
        (header([KEY + struct.pack("<IQ", STRING, 2**64 - 1)], []), "cut short within key"),
        (header([KEY + struct.pack("<I", STRING) + string(b"\xc3\x28")], []), "UTF-8"),
        (header([KEY + struct.pack("<I", 13) + bytes(8)], []), "type 13"),
        (header([KEY + struct.pack("<IB", 7, 2)], []), "neither"),
        (header([KEY + struct.pack("<IIQ", ARRAY, U32, 2**61)], []), "more than"),
        (header([KEY + struct.pack("<IIQ", ARRAY, U32, 1_000_000)], []), "cut short within key"),
        (header([KEY + struct.pack("<IIQ", ARRAY, STRING, 1_000_000)], []), "cut short within key"),
        (header([KEY + struct.pack("<IIQQ", ARRAY, STRING, 1, 2**64 - 1)], []), "cut short within key"),
        (header([KEY + struct.pack("<IIQIQ", ARRAY, ARRAY, 1, U32, 0)], []), "array of arrays"),
        (header([KEY + struct.pack("<II", U32, 1)] * 2, []), "twice"),
        (header([string(b"a\x1b[2J") + struct.pack("<II", U32, 1)] * 2, []), r"\x1b"),
        (header([string(b"general.alignment") + struct.pack("<II", U32, 24)], []), "power of two"),
        (header([string(b"general.alignment") + struct.pack("<II", U32, 0)], []), "power of two"),
        (header([string(b"general.alignment") + struct.pack("<II", U32, 1 << 31)], []), "power of two"),
        (header([string(b"general.alignment") + struct.pack("<I", STRING) + string(b"32")], []), "power of"),
        (header([], [info(b"w", 0, ())]) + bytes(64), "0 dimensions"),
        (header([], [info(b"w", 0, (1,) * 5)]) + bytes(64), "5 dimensions"),
        (header([], [info(b"w", 0, (2, 0))]) + bytes(64), "empty"),
        (header([], [info(b"w", 0, (2**32, 2**32))]) + bytes(64), "larger than the file"),
        (header([], [info(b"w", 0, (2**63, 2, 1))]) + bytes(64), "larger than the file"),
        (header([], [info(b"w", 8, (2, 16))]) + bytes(64), "whole blocks"),
        (header([], [info(b"w", 0, (4,), 8)]) + bytes(64), "not a multiple of 32"),
        (header([], [info(b"w", 0, (4,), 2**63)]) + bytes(64), "cut short"),
        (header([], [info(b"w", 0, (4,)), info(b"w", 0, (4,), 32)]) + bytes(128), "twice"),
        (header([], [info(b"a", 0, (16,)), info(b"b", 0, (4,), 32)]) + bytes(256), "overlap"),
        (header([], [info(b"b", 0, (4,), 32), info(b"a", 0, (16,))]) + bytes(256), "a and b overlap"),
        (header([], [info(b"w" * 300, 0, (4,))]) + bytes(64), "300 bytes"),
    ],
)
def test_what_lies_about_itself_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in str(refusal(tmp_path, content))


@pytest.mark.parametrize(("kind", "name"), [(10, "Q2_K"), (20, "IQ4_NL"), (4, "unknown"), (2**31, "unknown")])
def test_an_unknown_tensor_type_is_named(tmp_path: Path, kind: int, name: str) -> None:
    error = refusal(tmp_path, header([], [info(b"blk.0.ffn_up.weight", kind, (4, 256))]) + bytes(4096))
    assert isinstance(error, UnsupportedModel)
    assert f"blk.0.ffn_up.weight is of type {name} ({kind})" in str(error)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path / "missing.gguf", tmp_path, pipe, tmp_path / "nul\0.gguf", tmp_path / ("x" * 300)):
        with pytest.raises(ModelFileError) as caught:
            GGUFFile.open(path)
        assert str(tmp_path) not in str(caught.value)
