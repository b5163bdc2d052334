"""A tiny BERT with random weights, as a GGUF file and as its makers would publish it.

Names, keys and the spelling of tokens in the GGUF file are those of llama.cpp's converter. The weights come from
`np.random.RandomState`, whose streams never change, so that only the golden vectors have to be kept
(`golden/make_vectors.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from string import ascii_lowercase, digits, punctuation

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fairlead.gguf.formats import Format
from fairlead.gguf.quants import quantise
from fairlead.gguf.writer import NewTensor, WritableValue, write_gguf

F32 = NDArray[np.float32]

LAYERS, WIDTH, HEADS, FEED_FORWARD, CONTEXT, EPSILON = 2, 256, 4, 512, 64, 1e-12
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = (
    *SPECIAL, *ascii_lowercase, *(f"##{letter}" for letter in ascii_lowercase), *digits, *(f"##{d}" for d in digits),
    *punctuation, "the", "ship", "##ping", "##s", "fair", "##lead", "line", "rope",
)  # fmt: skip
VOCABULARY = tuple(dict.fromkeys(VOCABULARY))

_PARTS = {  # transformers' names, llama.cpp's, outputs, inputs
    "attention.self.query": ("attn_q", WIDTH, WIDTH),
    "attention.self.key": ("attn_k", WIDTH, WIDTH),
    "attention.self.value": ("attn_v", WIDTH, WIDTH),
    "attention.output.dense": ("attn_output", WIDTH, WIDTH),
    "attention.output.LayerNorm": ("attn_output_norm", WIDTH, 0),
    "intermediate.dense": ("ffn_up", FEED_FORWARD, WIDTH),
    "output.dense": ("ffn_down", WIDTH, FEED_FORWARD),
    "output.LayerNorm": ("layer_output_norm", WIDTH, 0),
}


def weights() -> dict[str, F32]:
    """By transformers' names."""
    rng = np.random.RandomState(7)

    def drawn(*shape: int, scale: float, around: float = 0.0) -> F32:
        return (around + scale * np.asarray(rng.standard_normal(shape))).astype(np.float32)

    def module(name: str, outputs: int, inputs: int) -> dict[str, F32]:
        bias = {f"{name}.bias": drawn(outputs, scale=0.2)}
        if not inputs:
            return {f"{name}.weight": drawn(outputs, scale=0.2, around=1.0)} | bias
        gain = 1.5 if name.endswith(("query", "key")) else 1.0  # so that attention is not flat
        return {f"{name}.weight": drawn(outputs, inputs, scale=gain / math.sqrt(inputs))} | bias

    tensors = {
        "embeddings.word_embeddings.weight": drawn(len(VOCABULARY), WIDTH, scale=1.0),
        "embeddings.position_embeddings.weight": drawn(CONTEXT, WIDTH, scale=0.5),
        "embeddings.token_type_embeddings.weight": drawn(2, WIDTH, scale=0.5),
    }
    tensors |= module("embeddings.LayerNorm", WIDTH, 0)
    for layer in range(LAYERS):
        for name, (_, outputs, inputs) in _PARTS.items():
            tensors |= module(f"encoder.layer.{layer}.{name}", outputs, inputs)
    return tensors


def make_checkpoint(folder: Path, **config: object) -> Path:
    """Writes a checkpoint, with changes to `config.json`; returns the path of its weights."""
    (folder / "1_Pooling").mkdir(parents=True)
    pooled_by = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False, "word_embedding_dimension": WIDTH}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooled_by))
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    tensors: dict[str, NDArray[np.generic]] = {"embeddings.position_ids": np.arange(CONTEXT)[None]}
    save_file(
        {**tensors, **weights(), "pooler.dense.bias": np.zeros(WIDTH, np.float32)},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return folder / "model.safetensors"


def make_gguf(
    path: Path,
    format: Format = Format.F32,  # noqa: A002 - the field's word
    quantised: Collection[str] = (),
    metadata: Mapping[str, WritableValue] = {},
) -> None:
    """Writes a GGUF file: the layers' matrices in `format`, embeddings that `quantised` names in Q8_0, all else in F32.

    `metadata` is changed, by what follows `bert.` in its keys.
    """
    tensors = []
    for name, values in weights().items():
        kept = format if values.ndim == 2 and ".layer." in name else Format.F32
        kept = Format.Q8_0 if _gguf_name(name).removesuffix(".weight") in quantised else kept
        tensors.append(NewTensor(_gguf_name(name), kept, values.shape, quantise(values, kept)))
    write_gguf(path, all_metadata() | {f"bert.{key}": value for key, value in metadata.items()}, tensors)


def all_metadata() -> dict[str, WritableValue]:
    """The metadata of the GGUF file."""
    return {
        "general.architecture": "bert",
        "general.name": "Tiny bert",
        "bert.block_count": LAYERS,
        "bert.context_length": CONTEXT,
        "bert.embedding_length": WIDTH,
        "bert.feed_forward_length": FEED_FORWARD,
        "bert.attention.head_count": HEADS,
        "bert.attention.layer_norm_epsilon": EPSILON,
        "bert.attention.causal": False,
        "bert.pooling_type": 1,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "jina-v2-en",  # as the converter writes for any BERT
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.tokens": [_spelt(token) for token in VOCABULARY],
        "tokenizer.ggml.token_type": [3 if token in SPECIAL else 1 for token in VOCABULARY],
        "tokenizer.ggml.unknown_token_id": VOCABULARY.index("[UNK]"),
        "tokenizer.ggml.seperator_token_id": VOCABULARY.index("[SEP]"),
        "tokenizer.ggml.padding_token_id": VOCABULARY.index("[PAD]"),
        "tokenizer.ggml.cls_token_id": VOCABULARY.index("[CLS]"),
        "tokenizer.ggml.mask_token_id": VOCABULARY.index("[MASK]"),
    }


CONFIG: Mapping[str, object] = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": WIDTH,
    "intermediate_size": FEED_FORWARD,
    "layer_norm_eps": EPSILON,
    "max_position_embeddings": CONTEXT,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    "vocab_size": len(VOCABULARY),
}


def tokenizer_json() -> dict[str, object]:
    """What `tokenizer.json` says."""
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": VOCABULARY.index(token), "content": token, "special": True, "normalized": False}
            for token in SPECIAL
        ],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": {token: place for place, token in enumerate(VOCABULARY)},
        },
    }  # fmt: skip


def _gguf_name(name: str) -> str:
    module, _, kind = name.rpartition(".")
    outer = {
        "word_embeddings": "token_embd", "position_embeddings": "position_embd",
        "token_type_embeddings": "token_types", "LayerNorm": "token_embd_norm",
    }  # fmt: skip
    if module.startswith("embeddings."):
        return f"{outer[module.removeprefix('embeddings.')]}.{kind}"
    _, _, layer, part = module.split(".", 3)
    return f"blk.{layer}.{_PARTS[part][0]}.{kind}"


def _spelt(token: str) -> str:
    if token in SPECIAL:
        return token
    return token.removeprefix("##") if token.startswith("##") else "▁" + token
