"""Encoders against `transformers`: the tiny BERT of `tiny_encoders`, and all-MiniLM-L6-v2 itself.

`golden/make_vectors.py` wrote the vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead.errors import ModelFileError, UnsupportedModel
from fairlead.gguf.formats import Format
from fairlead.gguf.opening import open_model
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.kernels import instruction_sets, reference_plan, set_instruction_set
from fairlead.kernels.native_encoder import NativeEncoder
from fairlead.kernels.native_runner import NativeRunner
from fairlead.models import describe, record
from tests import tiny_encoders
from tests.tiny_models import make

F32 = NDArray[np.float32]
GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(params=instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    set_instruction_set(request.param)
    yield request.param
    set_instruction_set(instruction_sets()[-1])


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    with np.load(GOLDEN / "bert.npz") as arrays:
        return [text.tolist() for text in np.split(arrays["tokens"], np.cumsum(arrays["lengths"])[:-1])]


@pytest.fixture(scope="module")
def means() -> F32:
    with np.load(GOLDEN / "bert.npz") as arrays:
        return np.asarray(arrays["means"])


@pytest.fixture(scope="module")
def made(texts: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Format], tuple[Path, F32]]:
    """The tiny BERT's file in a format, and the reference's vectors of two texts; made once."""
    folder = tmp_path_factory.mktemp("encoders")

    @cache
    def file_in(weight_format: Format) -> tuple[Path, F32]:
        path = folder / f"{weight_format.name}.gguf"
        tiny_encoders.make_gguf(path, weight_format)
        with open_model(path) as file:
            return path, np.stack([reference_plan.vector(file, text) for text in texts[2:4]])

    return file_in


@contextmanager
def encoder(path: Path, *, exact: bool = False) -> Iterator[NativeEncoder]:
    with open_model(path) as file:
        yield NativeEncoder(file, threads=2, max_batch_tokens=128, exact=exact)


def encode(model: NativeEncoder, texts: Sequence[Sequence[int]]) -> F32:
    """Some texts in one step, the others in further ones."""
    return np.concatenate([model.encode(texts[:3]), model.encode(texts[3:6]), model.encode(texts[6:])])


def cosines(ours: F32, theirs: NDArray[np.floating]) -> NDArray[np.float64]:
    ours64, theirs64 = ours.astype(np.float64), theirs.astype(np.float64)
    lengths = np.linalg.norm(ours64, axis=1) * np.linalg.norm(theirs64, axis=1)
    found: NDArray[np.float64] = (ours64 * theirs64).sum(1) / lengths
    return found


def test_in_fp32_the_vectors_are_those_of_transformers(
    instruction_set: str, texts: list[list[int]], means: F32, tmp_path: Path
) -> None:
    tiny_encoders.make_gguf(tmp_path / "tiny.gguf")
    with encoder(tmp_path / "tiny.gguf", exact=True) as model:
        np.testing.assert_allclose(encode(model, texts), means, atol=2e-6)


def test_in_bf16_they_are_next_to_them(
    instruction_set: str, texts: list[list[int]], means: F32, tmp_path: Path
) -> None:
    tiny_encoders.make_gguf(tmp_path / "tiny.gguf")
    with encoder(tmp_path / "tiny.gguf") as model:
        vectors = encode(model, texts)
    assert cosines(vectors, means).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_reference_gives_them_too(texts: list[list[int]], means: F32, tmp_path: Path) -> None:
    tiny_encoders.make_gguf(tmp_path / "tiny.gguf")
    with open_model(tmp_path / "tiny.gguf") as file:
        for text, expected in zip(texts, means, strict=True):
            np.testing.assert_allclose(reference_plan.vector(file, text), expected, atol=1e-6)


def test_the_first_token_may_stand_for_the_text(texts: list[list[int]], tmp_path: Path) -> None:
    tiny_encoders.make_gguf(tmp_path / "tiny.gguf", metadata={"pooling_type": 2})
    with np.load(GOLDEN / "bert.npz") as arrays, encoder(tmp_path / "tiny.gguf", exact=True) as model:
        np.testing.assert_allclose(encode(model, texts), arrays["firsts"], atol=2e-6)
    with open_model(tmp_path / "tiny.gguf") as file, np.load(GOLDEN / "bert.npz") as arrays:
        np.testing.assert_allclose(reference_plan.vector(file, texts[2]), arrays["firsts"][2], atol=1e-6)


@pytest.mark.parametrize("weight_format", list(Format), ids=lambda f: f.name)
def test_every_format_is_as_good_as_its_weights(
    weight_format: Format,
    instruction_set: str,
    texts: list[list[int]],
    made: Callable[[Format], tuple[Path, F32]],
) -> None:
    path, expected = made(weight_format)
    with encoder(path) as model:
        assert cosines(model.encode(texts[2:4]), expected).min() > 0.9998


def test_a_checkpoint_and_a_gguf_file_of_one_model_are_the_same(texts: list[list[int]], tmp_path: Path) -> None:
    weights = tiny_encoders.make_checkpoint(tmp_path / "tiny")
    tiny_encoders.make_gguf(tmp_path / "tiny.gguf")
    with open_model(weights) as checkpoint, open_model(tmp_path / "tiny.gguf") as gguf:
        assert list(map(type, record(checkpoint).ops)) == list(map(type, record(gguf).ops))
        description = describe(checkpoint)
        assert (description.architecture, description.kv, description.context_length) == ("bert", None, 64)
        tokenizers = [Tokenizer.from_metadata(file.metadata) for file in (checkpoint, gguf)]
        for text in ("The ships' shipping-lines, fairlead!", "Ropes 123 [SEP] éè 北"):
            assert tokenizers[0].encode(text, bos=True, eos=True) == tokenizers[1].encode(text, bos=True, eos=True)
    with encoder(weights) as one, encoder(tmp_path / "tiny.gguf") as other:
        np.testing.assert_array_equal(one.encode(texts[:3]), other.encode(texts[:3]))


def test_a_vector_depends_on_its_own_text_alone(instruction_set: str, texts: list[list[int]], tmp_path: Path) -> None:
    """Bit for bit: whoever is beside it, wherever it stands, however few rows the step has."""
    tiny_encoders.make_gguf(tmp_path / "tiny.gguf")
    with encoder(tmp_path / "tiny.gguf") as model:
        alone = np.concatenate([model.encode([text]) for text in texts])
        np.testing.assert_array_equal(encode(model, texts), alone)
        np.testing.assert_array_equal(model.encode(texts[5:2:-1])[::-1], alone[3:6])


def test_threads_do_not_change_a_bit(texts: list[list[int]], tmp_path: Path) -> None:
    tiny_encoders.make_gguf(tmp_path / "tiny.gguf")
    with open_model(tmp_path / "tiny.gguf") as file:
        one, three = (
            NativeEncoder(file, threads=threads, max_batch_tokens=128).encode(texts[:5]) for threads in (1, 3)
        )
    np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention.causal": True}, "causal"),
        ({"pooling_type": 0}, "pooling of type 0"),
        ({"pooling_type": 4}, "pooling of type 4"),
        ({"attention.head_count": 3}, "cannot share"),
        ({"attention.head_count": 0}, "head_count is 0"),
        ({"context_length": 65}, "64 positions are too few"),
        ({"block_count": 3}, "'blk.2.attn_q.weight' is missing"),
        ({"embedding_length": 512}, "shape"),
    ],
)
def test_files_that_contradict_themselves_are_refused(
    changes: dict[str, int | bool], message: str, tmp_path: Path
) -> None:
    tiny_encoders.make_gguf(tmp_path / "tiny.gguf", metadata=changes)
    with open_model(tmp_path / "tiny.gguf") as file, pytest.raises(ModelFileError, match=message):
        record(file)


def test_each_kind_of_runner_takes_its_own_kind_of_model(tmp_path: Path) -> None:
    tiny_encoders.make_gguf(tmp_path / "tiny.gguf")
    make(tmp_path / "llama.gguf", "llama")
    with open_model(tmp_path / "tiny.gguf") as file, pytest.raises(ModelFileError, match="is an encoder"):
        NativeRunner(file, threads=1, kv_tokens=32)
    with open_model(tmp_path / "llama.gguf") as file, pytest.raises(ModelFileError, match="is no encoder"):
        NativeEncoder(file, threads=1)


def test_quantised_positions_are_refused(tmp_path: Path) -> None:
    tiny_encoders.make_gguf(tmp_path / "tiny.gguf", quantised=("position_embd",))
    with open_model(tmp_path / "tiny.gguf") as file, pytest.raises(UnsupportedModel, match="position_embd"):
        record(file)


def test_all_minilm_gives_its_makers_vectors(embedding_model: Path, instruction_set: str) -> None:
    """The whole way from text to vector."""
    with np.load(GOLDEN / "all-minilm-l6-v2.npz") as arrays:
        texts, expected = arrays["texts"].tolist(), arrays["vectors"]
    if instruction_set == "portable":
        texts, expected = texts[:-1], expected[:-1]  # the last is half of all tokens, over which plain C++ takes long
    with open_model(embedding_model) as file:
        tokenizer = Tokenizer.from_metadata(file.metadata)
        model = NativeEncoder(file, threads=2)
    vectors = np.concatenate([model.encode([tokenizer.encode(text, bos=True, eos=True)]) for text in texts])
    assert cosines(vectors, expected).min() > 0.9999
