"""Checkpoints in safetensors: what is read, and that nothing hostile gets through."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from fairlead.errors import ModelFileError, UnsupportedModel
from fairlead.gguf.checkpoint import Checkpoint
from fairlead.gguf.formats import Format
from fairlead.gguf.opening import open_model
from fairlead.gguf.tokenizer import Tokenizer
from tests import tiny_encoders
from tests.strings import AWKWARD

Json = dict[str, object]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoders.make_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture
def copied(sound: Path, tmp_path: Path) -> Path:
    """A checkpoint to spoil; its weights are small."""
    weights = tiny_encoders.make_checkpoint(tmp_path / "copied")
    save_file({"embeddings.word_embeddings.weight": np.ones((3, 4), np.float32)}, weights)
    return weights


def written(path: Path, header: Json | bytes, data: bytes = b"", length: int | None = None) -> Path:
    """A safetensors file with a header of one's own."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def described(dtype: str, shape: list[int], begin: int, end: int) -> Json:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_tensors_have_llama_cpps_names_and_their_own_values(sound: Path) -> None:
    weights = tiny_encoders.weights()
    with open_model(sound) as file:
        assert isinstance(file, Checkpoint)
        assert len(file.tensors) == len(weights), "and neither position ids nor the pooler"
        for name, ours in (
            ("embeddings.word_embeddings.weight", "token_embd.weight"),
            ("encoder.layer.1.attention.output.LayerNorm.bias", "blk.1.attn_output_norm.bias"),
            ("encoder.layer.0.output.dense.weight", "blk.0.ffn_down.weight"),
        ):
            tensor = file.tensors[ours]
            assert (tensor.shape, tensor.format) == (weights[name].shape, Format.F32)
            np.testing.assert_array_equal(tensor.data.view(np.float32).reshape(tensor.shape), weights[name])
        assert (file.architecture, file.name, file.quantization) == ("bert", "tiny", "F32")
        assert file.get_int("bert.context_length") == tiny_encoders.CONTEXT


def test_halves_are_read_as_they_are_and_prefixes_left_out(copied: Path) -> None:
    values = np.linspace(-2, 2, 12, dtype=np.float16).reshape(3, 4)
    save_file({"bert.embeddings.LayerNorm.gamma": values[0], "bert.embeddings.word_embeddings.weight": values}, copied)
    with open_model(copied) as file:
        assert file.tensors["token_embd.weight"].format is Format.F16
        np.testing.assert_array_equal(file.tensors["token_embd.weight"].data.view(np.float16), values.ravel())
        assert "token_embd_norm.weight" in file.tensors


def test_its_tokenizer_is_that_of_its_makers(embedding_model: Path) -> None:
    theirs = tokenizers.Tokenizer.from_file(str(embedding_model.with_name("tokenizer.json")))
    theirs.no_padding()
    theirs.no_truncation()
    with open_model(embedding_model) as file:
        ours = Tokenizer.from_metadata(file.metadata)
    for text in AWKWARD:
        if not any(mark in text for mark in ("[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]")):
            assert ours.encode(text, bos=True, eos=True) == theirs.encode(text).ids, text
    assert ours.encode("[SEP]") == ours.encode("[ sep ]"), "marks that somebody wrote are text"


@settings(max_examples=150)
@given(text=st.text(max_size=40))
def test_its_tokenizer_is_that_of_its_makers_for_any_text(embedding_model: Path, text: str) -> None:
    both = _BOTH.setdefault(embedding_model, [])
    if not both:
        theirs = tokenizers.Tokenizer.from_file(str(embedding_model.with_name("tokenizer.json")))
        theirs.no_padding()
        theirs.no_truncation()
        with open_model(embedding_model) as file:
            ours = Tokenizer.from_metadata(file.metadata)
        both += [lambda text: ours.encode(text, bos=True, eos=True), lambda text: theirs.encode(text).ids]
    assert both[0](text) == both[1](text)


_BOTH: dict[Path, list[Callable[[str], list[int]]]] = {}


# ---- hostile weights ------------------------------------------------------------------------------

WORDS = "embeddings.word_embeddings.weight"


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b"", b""),
        (b"{", b""),
        (b"[]", b""),
        (b"\xff\xfe{}", b""),
        (b"[" * 100_000, b""),
        (b'{"a":' * 50_000, b""),
        ({WORDS: described("F32", [2, 2], 0, 16)}, b"\0" * 15),
        ({WORDS: described("F32", [2, 2], 0, 16)}, b"\0" * 17),
        ({WORDS: described("F32", [2, 2], 0, 12)}, b"\0" * 12),
        ({WORDS: described("F32", [2, 2], 8, 24)}, b"\0" * 24),
        ({WORDS: described("F32", [2, 2], 16, 0)}, b"\0" * 16),
        ({WORDS: described("F32", [-2, -2], 0, 16)}, b"\0" * 16),
        ({WORDS: described("F32", [2**63, 2], 0, 16)}, b"\0" * 16),
        ({WORDS: described("F32", [2**32, 2**32], 0, 0)}, b""),
        ({WORDS: described("F32", [2**62, 4], 0, 0)}, b""),
        ({WORDS: described("F32", [0, 4], 0, 0)}, b""),
        ({WORDS: described("F32", [], 0, 4)}, b"\0" * 4),
        ({WORDS: described("F32", [1] * 5, 0, 4)}, b"\0" * 4),
        ({WORDS: described("F32", [2, 2], 0, 2**64 - 1)}, b"\0" * 16),
        ({WORDS: described("F33", [2, 2], 0, 16)}, b"\0" * 16),
        ({WORDS: {"dtype": "F32", "shape": "22", "data_offsets": [0, 16]}}, b"\0" * 16),
        ({WORDS: {"dtype": "F32", "shape": [2, 2]}}, b"\0" * 16),
        ({WORDS: described("F32", [2, 2], 0, 16), "b": described("F32", [2, 2], 8, 24)}, b"\0" * 24),
        ({WORDS: described("F32", [2, 2], 0, 16), "b": described("F32", [2, 2], 0, 16)}, b"\0" * 16),
        ({WORDS: described("F32", [1, 1], 0, 4), f"bert.{WORDS}": described("F32", [1, 1], 4, 8)}, b"\0" * 8),
        ({WORDS: described("I64", [1, 1], 0, 8)}, b"\0" * 8),
        ({f"name{number}": described("U8", [1], number, number + 1) for number in range(70_000)}, b"\0" * 70_000),
    ],
)  # fmt: skip
def test_hostile_headers_are_refused(copied: Path, header: Json | bytes, data: bytes) -> None:
    written(copied, header, data)
    with pytest.raises(ModelFileError) as refused:
        open_model(copied)
    assert str(copied.parent) not in refused.value.message
    assert len(refused.value.message) < 400


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**31, 2**63, 2**64 - 1])
def test_headers_of_impossible_length_are_refused(copied: Path, length: int) -> None:
    written(copied, {WORDS: described("F32", [2, 2], 0, 16)}, b"\0" * 16, length)
    with pytest.raises(ModelFileError):
        open_model(copied)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 50, -1])
def test_files_that_are_cut_short_are_refused(copied: Path, kept: int) -> None:
    copied.write_bytes(copied.read_bytes()[:kept])
    with pytest.raises(ModelFileError):
        open_model(copied)


@settings(max_examples=150)
@given(data=st.data())
def test_whatever_bytes_are_changed_it_opens_or_says_why_not(sound: Path, data: st.DataObject) -> None:
    path = sound.with_name("changed.safetensors")
    save_file({WORDS: np.ones((3, 4), np.float32), "b": np.ones(5, np.int64)}, path)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        with open_model(path) as file:
            assert all(len(tensor.data) == tensor.nbytes for tensor in file.tensors.values())
    except ModelFileError:
        pass


# ---- hostile files beside them --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"model_type": 7, "model": 7}'])
def test_files_beside_the_weights_that_are_no_such_files_are_refused(copied: Path, name: str, content: bytes) -> None:
    copied.with_name(name).write_bytes(content)
    with pytest.raises(ModelFileError, match=name.replace(".", r"\.")):
        open_model(copied)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_files_that_are_not_there_are_named(copied: Path, name: str) -> None:
    copied.with_name(name).unlink()
    with pytest.raises(ModelFileError, match=f"{name}, which belongs beside the weights"):
        open_model(copied)


def test_without_a_word_on_pooling_the_mean_is_meant(copied: Path) -> None:
    (copied.parent / "1_Pooling" / "config.json").unlink()
    with open_model(copied) as file:
        assert file.get_int("bert.pooling_type") == 1


@pytest.mark.parametrize(
    ("mode", "expected"), [("mean_tokens", 1), ("cls_token", 2), ("max_tokens", None), ("lasttoken", None)]
)
def test_pooling_is_read_or_refused(copied: Path, mode: str, expected: int | None) -> None:
    chosen = {"pooling_mode_mean_tokens": False, f"pooling_mode_{mode}": True}
    (copied.parent / "1_Pooling" / "config.json").write_text(json.dumps(chosen))
    if expected is None:
        with pytest.raises(UnsupportedModel, match=mode):
            open_model(copied)
        return
    with open_model(copied) as file:
        assert file.get_int("bert.pooling_type") == expected


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "roberta"}, {"hidden_act": "relu"}, {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
    ],
)  # fmt: skip
def test_models_that_are_otherwise_are_refused(copied: Path, change: Json) -> None:
    copied.with_name("config.json").write_text(json.dumps(dict(tiny_encoders.CONFIG) | change))
    with pytest.raises(UnsupportedModel, match=r"config\.json"):
        open_model(copied)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "type"), "BPE", "only WordPiece"),
        (("model", "continuing_subword_prefix"), "@@", "uncased BERT"),
        (("model", "max_input_chars_per_word"), 50, "uncased BERT"),
        (("model", "vocab"), {"[UNK]": 0, "a": 2}, "0, 1, 2"),
        (("model", "vocab"), {"[UNK]": 0, "a": 0}, "0, 1, 2"),
        (("model", "vocab"), {"[UNK]": -1}, "0, 1, 2"),
        (("model", "vocab"), {"[UNK]": 0, "a": 1}, "no token"),
        (("model", "vocab"), {"[UNK]": "0"}, "not what it must be"),
        (("model", "unk_token"), "[WHAT]", "no token"),
        (("normalizer", "lowercase"), False, "uncased BERT"),
        (("normalizer", "type"), "NFC", "uncased BERT"),
        (("normalizer",), None, "uncased BERT"),
        (("pre_tokenizer", "type"), "Whitespace", "uncased BERT"),
    ],
)
def test_tokenizers_that_are_otherwise_are_refused(
    copied: Path, path: tuple[str, ...], value: object, message: str
) -> None:
    document = json.loads(json.dumps(tiny_encoders.tokenizer_json()))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    copied.with_name("tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(ModelFileError, match=message):
        open_model(copied)
