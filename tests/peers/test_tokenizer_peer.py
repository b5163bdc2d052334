"""Our tokens against llama.cpp's, through the wheel `xllamacpp`, on some hundreds of awkward strings.

The peer loads nothing without weights, so each vocabulary is given to it in a model of one small layer of zeros.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import tokenizers
import xllamacpp

from fairlead.gguf.formats import Format
from fairlead.gguf.reader import GGUFFile
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.gguf.writer import NewTensor, WritableValue, write_gguf
from fairlead.service.prompt import ChatTemplate, Message
from tests.strings import AWKWARD

SENTINEL = "\ufdd0"

_WIDTH = 32
_LLAMA: Mapping[str, WritableValue] = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.context_length": 64,
    "llama.embedding_length": _WIDTH,
    "llama.feed_forward_length": _WIDTH,
    "llama.attention.head_count": 1,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}
_BERT: Mapping[str, WritableValue] = {
    "general.architecture": "bert",
    "bert.block_count": 1,
    "bert.context_length": 64,
    "bert.embedding_length": _WIDTH,
    "bert.feed_forward_length": _WIDTH,
    "bert.attention.head_count": 1,
    "bert.attention.layer_norm_epsilon": 1e-12,
    "bert.attention.causal": False,
    "bert.pooling_type": 1,
    "tokenizer.ggml.token_type_count": 2,
}


class Peer:
    """llama.cpp's tokenizer for one model file."""

    def __init__(self, path: Path, *, embeds: bool = False) -> None:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 64
        parameters.n_parallel = parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
        parameters.warmup = False
        parameters.embedding = embeds
        parameters.verbosity = 0
        self._server = xllamacpp.Server(parameters)
        self._client = httpx.Client(base_url=self._server.listening_address, timeout=60)

    def encode(self, text: str, *, special: bool = False, ends: bool = False) -> list[int]:
        body = {"content": text, "parse_special": special, "add_special": ends}
        answer = self._client.post("/tokenize", json=body)
        answer.raise_for_status()
        tokens: list[int] = answer.json()["tokens"]
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        answer = self._client.post("/detokenize", json={"tokens": list(tokens)})
        answer.raise_for_status()
        text: str = answer.json()["content"]
        return text

    def prompt(self, messages: Sequence[Message]) -> str:
        """The messages in the model's own chat template."""
        body = {"messages": [{"role": message.role, "content": message.content} for message in messages]}
        answer = self._client.post("/apply-template", json=body)
        answer.raise_for_status()
        text: str = answer.json()["prompt"]
        return text

    def close(self) -> None:
        self._client.close()
        del self._server


@contextmanager
def _peer(
    path: Path, vocabulary: Mapping[str, WritableValue], model: Mapping[str, WritableValue] = _LLAMA
) -> Iterator[Peer]:
    """The peer with this vocabulary, the `tokenizer.*` keys of some metadata."""
    metadata = dict(model) | {key: value for key, value in vocabulary.items() if key.startswith("tokenizer.ggml.")}
    tokens = metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, Sequence)
    shapes = _bert_shapes(len(tokens)) if model is _BERT else _llama_shapes(len(tokens))
    write_gguf(path, metadata, [_zeros(name, shape) for name, shape in shapes.items()])
    peer = Peer(path, embeds=model is _BERT)
    try:
        yield peer
    finally:
        peer.close()


def _llama_shapes(tokens: int) -> dict[str, tuple[int, ...]]:
    square = (_WIDTH, _WIDTH)
    matrices = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    return {
        "token_embd.weight": (tokens, _WIDTH),
        "output_norm.weight": (_WIDTH,),
        "blk.0.attn_norm.weight": (_WIDTH,),
        "blk.0.ffn_norm.weight": (_WIDTH,),
        **{f"blk.0.{name}.weight": square for name in matrices},
    }


def _bert_shapes(tokens: int) -> dict[str, tuple[int, ...]]:
    matrices = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down")
    norms = ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm")
    return {
        "token_embd.weight": (tokens, _WIDTH),
        "token_types.weight": (2, _WIDTH),
        "position_embd.weight": (64, _WIDTH),
        **{f"{name}.{kind}": (_WIDTH,) for name in norms for kind in ("weight", "bias")},
        **{f"blk.0.{name}.weight": (_WIDTH, _WIDTH) for name in matrices},
        **{f"blk.0.{name}.bias": (_WIDTH,) for name in matrices},
    }


def _zeros(name: str, shape: tuple[int, ...]) -> NewTensor:
    return NewTensor(name, Format.F32, shape, np.zeros(int(np.prod(shape)) * 4, np.uint8))


def _differences(tokenizer: Tokenizer, peer: Peer, texts: Sequence[str]) -> dict[str, tuple[list[str], list[str]]]:
    """The texts that are cut in two ways: ours and the peer's."""
    found = {}
    for text in texts:
        ours, theirs = tokenizer.encode(text), peer.encode(text)
        if ours != theirs:
            found[text] = ([tokenizer.token_text(id_) for id_ in ours], [tokenizer.token_text(id_) for id_ in theirs])
    return found


@pytest.fixture(scope="module")
def smollm(starter_model: Path) -> Mapping[str, WritableValue]:
    with GGUFFile.open(starter_model) as file:
        return dict(file.metadata)


@pytest.mark.parametrize("pre", ["smollm", "gpt-2", "phi-2", "llama-bpe", "qwen2", "default"])
def test_byte_level_bpe(tmp_path: Path, smollm: Mapping[str, WritableValue], pre: str) -> None:
    metadata = {**smollm, "tokenizer.ggml.pre": pre}
    tokenizer = Tokenizer.from_metadata(metadata)
    with _peer(tmp_path / "model.gguf", metadata) as peer:
        assert _differences(tokenizer, peer, AWKWARD) == {}
        for text in AWKWARD:
            assert tokenizer.decode(tokenizer.encode(text)) == peer.decode(peer.encode(text)), text


def test_byte_level_bpe_without_a_pretokenizers_name(tmp_path: Path, smollm: Mapping[str, WritableValue]) -> None:
    metadata = {key: value for key, value in smollm.items() if key != "tokenizer.ggml.pre"}
    tokenizer = Tokenizer.from_metadata(metadata)
    with _peer(tmp_path / "model.gguf", metadata) as peer:
        assert _differences(tokenizer, peer, AWKWARD) == {}


def test_user_defined_tokens(tmp_path: Path, smollm: Mapping[str, WritableValue]) -> None:
    """As phi-2 has them: runs of spaces and tabs, the longest of which is taken before anything is cut."""
    metadata = _with_tokens(smollm, [" " * count for count in range(2, 32)] + ["\t\t", "\t\t\t", "<tool>"], type_=4)
    tokenizer = Tokenizer.from_metadata(metadata)
    with _peer(tmp_path / "model.gguf", metadata) as peer:
        assert _differences(tokenizer, peer, AWKWARD) == {}
        # Here we differ on purpose: a text must not speak a model's markup, even what is not a control token.
        assert tokenizer.vocab_size - 1 in peer.encode("a<tool>b")
        assert tokenizer.vocab_size - 1 not in tokenizer.encode("a<tool>b")


def test_special_tokens_of_byte_level_bpe(tmp_path: Path, smollm: Mapping[str, WritableValue]) -> None:
    texts = [
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|><|im_end|><|endoftext|>",
        " <|im_end|> a  <|im_end|>  b",
        "<|im_<|im_end|>end|>",
        "<|im_end",
    ]
    tokenizer = Tokenizer.from_metadata(smollm)
    with _peer(tmp_path / "model.gguf", smollm) as peer:
        for text in texts:
            assert tokenizer.encode_marked(text, SENTINEL) == peer.encode(text, special=True)


def test_the_prompt_of_a_chat(starter_model: Path, smollm: Mapping[str, WritableValue]) -> None:
    template = ChatTemplate.from_metadata(smollm, Tokenizer.from_metadata(smollm))
    peer = Peer(starter_model)
    try:
        for text in ("Hello, how are you?", "", "  two\n\n lines\t", "Zażółć 👩‍👩‍👧‍👦 {{ x }} {% y %}"):
            messages = [Message("user", "Hi"), Message("assistant", text), Message("user", text)]
            assert template.render(messages) == peer.encode(peer.prompt(messages), special=True, ends=True)
            assert template.render([Message("system", text), *messages]) == peer.encode(
                peer.prompt([Message("system", text), *messages]), special=True, ends=True
            )
    finally:
        peer.close()


@pytest.fixture(scope="module")
def sentencepiece() -> Mapping[str, WritableValue]:
    """A vocabulary like Llama 2's: control tokens, 256 bytes, pieces in the order of merging, then characters."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=2500, show_progress=False)
    # The peer ends a token's text at its first NUL.
    model.train_from_iterator([text for text in AWKWARD if not {"\0", "<", ">"} & set(text)], trainer)
    learnt = json.loads(model.to_str())["model"]
    pieces = ["".join(pair) for pair in learnt["merges"]] + ["▁" * count for count in (2, 4, 8, 16, 3, 5, 6, 7)]
    characters = [text for text in learnt["vocab"] if len(text) == 1]
    learnt = dict.fromkeys([*pieces, *characters])
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *learnt),
        "tokenizer.ggml.token_type": (2, 3, 3) + (6,) * 256 + (1,) * len(learnt),
        "tokenizer.ggml.scores": (0.0,) * 259 + tuple(-float(rank) for rank in range(len(learnt))),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


@pytest.mark.parametrize("prefix", [None, True, False])
def test_sentencepiece_bpe(tmp_path: Path, sentencepiece: Mapping[str, WritableValue], prefix: bool | None) -> None:
    metadata = {**sentencepiece, **({} if prefix is None else {"tokenizer.ggml.add_space_prefix": prefix})}
    texts = ["<s>[INST] Hi [/INST]", "<s> Hi", "<s>", "Hi</s> there", "</s>\n<|assistant|>\n", "<s></s> ", "a<unk>b"]
    tokenizer = Tokenizer.from_metadata(metadata)
    with _peer(tmp_path / "model.gguf", metadata) as peer:
        assert _differences(tokenizer, peer, AWKWARD) == {}
        for text in texts:
            assert tokenizer.encode_marked(text, SENTINEL) == peer.encode(text, special=True)
            assert tokenizer.encode(text, bos=True, eos=True) == peer.encode(text, ends=True)


def test_where_the_peer_reads_special_tokens_out_of_plain_text(
    tmp_path: Path, sentencepiece: Mapping[str, WritableValue]
) -> None:
    """It merges pieces to any token of the vocabulary, where SentencePiece itself merges to ordinary pieces alone."""
    metadata = _with_tokens(sentencepiece, ["s>", "/s>", "2>", "42>", "x42>", "0x42>"], type_=1)
    tokenizer = Tokenizer.from_metadata(metadata)
    with _peer(tmp_path / "model.gguf", metadata) as peer:
        for text, token in {"a<s>b": "<s>", "a</s>b": "</s>", "<0x42>": "<0x42>"}.items():
            assert token in map(tokenizer.token_text, peer.encode(text))
            assert token not in map(tokenizer.token_text, tokenizer.encode(text))
            assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.fixture(scope="module")
def wordpiece() -> Mapping[str, WritableValue]:
    model = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    model.normalizer = tokenizers.normalizers.BertNormalizer()
    model.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=2000, show_progress=False, special_tokens=names)
    model.train_from_iterator([text for text in AWKWARD[::2] if not {"▁", "\0"} & set(text)], trainer)
    learnt = sorted(model.get_vocab(), key=model.get_vocab().__getitem__)[len(names) :]
    pieces = [text.removeprefix("##") if text.startswith("##") else "▁" + text for text in learnt]
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": (*names, *pieces),
        "tokenizer.ggml.token_type": (3, 2, 3, 3, 3) + (1,) * len(pieces),
        "tokenizer.ggml.scores": (0.0,) * (len(names) + len(pieces)),
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
    }


def test_wordpiece(tmp_path: Path, wordpiece: Mapping[str, WritableValue]) -> None:
    tokenizer = Tokenizer.from_metadata(wordpiece)
    texts = [text for text in AWKWARD if not any(map(_peer_errs_in_wordpiece, text))]
    assert len(texts) > 0.9 * len(AWKWARD)
    with _peer(tmp_path / "model.gguf", wordpiece, _BERT) as peer:
        assert _differences(tokenizer, peer, texts) == {}
        assert tokenizer.encode("a b", bos=True, eos=True) == peer.encode("a b", ends=True)


def _peer_errs_in_wordpiece(character: str) -> bool:
    """Where the peer does other than BERT's own tokenizer.

    BERT drops, with the accents, marks of category Mn; the peer those of Mc and Me too, which are vowels in the
    scripts of India and Burma. BERT drops control characters; the peer cuts words at some of them. The peer takes
    a "▁" in a text for its own mark at the beginning of words.
    """
    category = unicodedata.category(character)
    return (
        category in ("Mc", "Me")
        or (category == "Cc" and character.isspace() and character not in "\t\n\r")
        or character == "▁"
    )


def _with_tokens(
    metadata: Mapping[str, WritableValue], added: Sequence[str], *, type_: int
) -> Mapping[str, WritableValue]:
    """A vocabulary with more tokens at its end; in SentencePiece, merged after all others."""
    key = "tokenizer.ggml."
    tokens, types, scores = (metadata.get(key + name, ()) for name in ("tokens", "token_type", "scores"))
    assert isinstance(tokens, tuple)
    assert isinstance(types, tuple)
    assert isinstance(scores, tuple)
    more = {key + "tokens": (*tokens, *added), key + "token_type": types + (type_,) * len(added)}
    if scores:
        more[key + "scores"] = scores + tuple(min(scores) - 1.0 - rank for rank in range(len(added)))
    return {**metadata, **more}
