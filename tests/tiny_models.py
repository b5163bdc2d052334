"""Tiny models with random weights, one for each architecture and each of its turns, as GGUF files.

Tensor names, metadata keys and the order of rows are those of llama.cpp's converter: of architecture `llama` the
rows of queries and keys are permuted so that rotary pairs lie side by side. The weights come from
`np.random.RandomState`, whose streams never change, so that only the golden logits have to be kept
(`golden/make_golden.py`). Every row of a matrix is a multiple of 256 weights, so that every format fits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead.gguf.formats import Format
from fairlead.gguf.quants import quantise
from fairlead.gguf.writer import NewTensor, WritableValue, write_gguf

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How Llama 3.1 stretches its context: the parameters of `rope_type` "llama3"."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyModel:
    """The shape of a model. `rotary` is how many of a head's dimensions are rotated."""

    architecture: str
    seed: int
    layers: int = 2
    width: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    rotary: int = 64
    feed_forward: int = 512
    context: int = 512
    epsilon: float = 1e-5
    rope_base: float = 10000.0
    rope_scaling: RopeScaling | None = None
    tied: bool = False
    fused_qkv: bool = False


MODELS = {
    "llama": TinyModel(architecture="llama", seed=1),
    "llama-tied": TinyModel(  # as SmolLM2
        architecture="llama", seed=2, layers=3, heads=8, kv_heads=2, head_dim=32, rotary=32, tied=True,
        rope_base=100000.0,
    ),
    "llama31": TinyModel(
        architecture="llama", seed=3, rope_base=500000.0, rope_scaling=RopeScaling(8.0, 1.0, 4.0, 64)
    ),
    "mistral": TinyModel(  # queries wider than the model
        architecture="llama", seed=4, head_dim=128, rotary=128, rope_base=1000000.0
    ),
    "qwen2": TinyModel(architecture="qwen2", seed=5, epsilon=1e-6, rope_base=1000000.0, tied=True),
    "phi2": TinyModel(
        architecture="phi2", seed=6, kv_heads=4, rotary=32, feed_forward=1024, fused_qkv=True
    ),
    "phi2-split": TinyModel(  # the weights of phi2, as newer files keep them
        architecture="phi2", seed=6, kv_heads=4, rotary=32, feed_forward=1024
    ),
}  # fmt: skip

_FILE_TYPES = {  # llama.cpp's numbers for files mostly of one format
    Format.F32: 0,
    Format.F16: 1,
    Format.Q4_0: 2,
    Format.Q4_1: 3,
    Format.Q8_0: 7,
    Format.Q5_0: 8,
    Format.Q5_1: 9,
    Format.Q4_K: 14,
    Format.Q5_K: 16,
    Format.Q6_K: 18,
    Format.BF16: 32,
}

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make(path: Path, name: str, format: Format = Format.F32) -> None:  # noqa: A002 - the field's word
    """Writes the model `name` of `MODELS`: matrices in `format`; norms, biases and RoPE factors in F32."""
    tensors = []
    for tensor_name, values in weights(name).items():
        kept = format if values.ndim == 2 else Format.F32
        tensors.append(NewTensor(tensor_name, kept, values.shape, quantise(values, kept)))
    write_gguf(path, metadata(name) | {"general.file_type": _FILE_TYPES[format]}, tensors)


def metadata(name: str) -> dict[str, WritableValue]:
    """The metadata of a model, its tokenizer included."""
    model = MODELS[name]
    arch = model.architecture
    values: dict[str, WritableValue] = {
        "general.architecture": arch,
        "general.type": "model",
        "general.name": f"Tiny {name}",
        "general.quantization_version": 2,
        f"{arch}.block_count": model.layers,
        f"{arch}.context_length": model.context,
        f"{arch}.embedding_length": model.width,
        f"{arch}.feed_forward_length": model.feed_forward,
        f"{arch}.attention.head_count": model.heads,
        f"{arch}.attention.head_count_kv": model.kv_heads,
    }
    norm = "layer_norm_epsilon" if arch == "phi2" else "layer_norm_rms_epsilon"
    values[f"{arch}.attention.{norm}"] = model.epsilon
    if arch != "phi2":
        values[f"{arch}.rope.freq_base"] = model.rope_base
    if arch != "qwen2":
        values[f"{arch}.rope.dimension_count"] = model.rotary
    if arch == "llama":
        values["llama.vocab_size"] = len(TOKENS)
    if model.head_dim != model.width // model.heads:
        values[f"{arch}.attention.key_length"] = model.head_dim
        values[f"{arch}.attention.value_length"] = model.head_dim
    return values | _tokenizer()


def weights(name: str) -> dict[str, F32]:
    """The tensors of a model by their GGUF names, each [outputs, inputs] or [outputs], in the rows' GGUF order."""
    model = MODELS[name]
    draw = _Draw(np.random.RandomState(model.seed))
    tensors = {"token_embd.weight": draw.matrix(len(TOKENS), model.width)}
    for layer in range(model.layers):
        block = _phi2_block(model, draw) if model.architecture == "phi2" else _llama_block(model, draw)
        tensors |= {f"blk.{layer}.{tensor}": values for tensor, values in block.items()}
    tensors["output_norm.weight"] = draw.norm(model.width)
    if model.architecture == "phi2":
        tensors["output_norm.bias"] = draw.bias(model.width)
        tensors["output.bias"] = draw.bias(len(TOKENS))
    if not model.tied:
        tensors["output.weight"] = draw.matrix(len(TOKENS), model.width)
    if model.rope_scaling:
        tensors["rope_freqs.weight"] = rope_factors(model)
    return tensors


def rope_factors(model: TinyModel) -> F32:
    """By what each rotary frequency is divided, [rotary / 2]: Llama 3.1's `rope_type` "llama3".

    Waves shorter than the original context / `high_freq_factor` are kept, those longer than the original
    context / `low_freq_factor` stretched by `factor`, those between by something between.
    """
    scaling = model.rope_scaling
    assert scaling is not None
    frequencies = model.rope_base ** -(np.arange(0, model.rotary, 2) / model.rotary)
    turns = scaling.original_context * frequencies / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / scaling.factor + smooth)).astype(np.float32)


class _Draw:
    """Random tensors of sizes that keep activations near 1."""

    def __init__(self, rng: np.random.RandomState) -> None:
        self._rng = rng

    def _normal(self, *shape: int) -> NDArray[np.float64]:
        return np.asarray(self._rng.standard_normal(shape))

    def matrix(self, outputs: int, inputs: int, gain: float = 1.0) -> F32:
        return (self._normal(outputs, inputs) * (gain / math.sqrt(inputs))).astype(np.float32)

    def norm(self, width: int) -> F32:
        return (1 + 0.2 * self._normal(width)).astype(np.float32)

    def bias(self, width: int) -> F32:
        return (0.2 * self._normal(width)).astype(np.float32)


def _llama_block(model: TinyModel, draw: _Draw) -> dict[str, F32]:
    """A layer of llama, or of qwen2 with its three biases."""
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    block = {
        "attn_norm.weight": draw.norm(model.width),
        "attn_q.weight": draw.matrix(queries, model.width, gain=1.5),  # so that attention is not flat
        "attn_k.weight": draw.matrix(keys, model.width, gain=1.5),
        "attn_v.weight": draw.matrix(keys, model.width),
        "attn_output.weight": draw.matrix(model.width, queries),
        "ffn_norm.weight": draw.norm(model.width),
        "ffn_gate.weight": draw.matrix(model.feed_forward, model.width),
        "ffn_up.weight": draw.matrix(model.feed_forward, model.width),
        "ffn_down.weight": draw.matrix(model.width, model.feed_forward),
    }
    if model.architecture == "qwen2":
        block["attn_q.bias"] = draw.bias(queries)
        block["attn_k.bias"] = draw.bias(keys)
        block["attn_v.bias"] = draw.bias(keys)
    return block


def _phi2_block(model: TinyModel, draw: _Draw) -> dict[str, F32]:
    """A layer of phi2: every matrix has a bias; attention and MLP share one norm."""
    block = {"attn_norm.weight": draw.norm(model.width), "attn_norm.bias": draw.bias(model.width)}
    parts = {
        "attn_q": (model.width, model.width, 1.5),
        "attn_k": (model.width, model.width, 1.5),
        "attn_v": (model.width, model.width, 1.0),
        "attn_output": (model.width, model.width, 1.0),
        "ffn_up": (model.feed_forward, model.width, 1.0),
        "ffn_down": (model.width, model.feed_forward, 1.0),
    }
    for part, (outputs, inputs, gain) in parts.items():
        block[f"{part}.weight"] = draw.matrix(outputs, inputs, gain)
        block[f"{part}.bias"] = draw.bias(outputs)
    if model.fused_qkv:
        for kind in ("weight", "bias"):
            block[f"attn_qkv.{kind}"] = np.concatenate([block.pop(f"attn_{part}.{kind}") for part in "qkv"])
    return block


# ---- tokenizer: byte-level BPE of 256 bytes, 56 merges and 8 special tokens -----------------------


def _byte_characters() -> list[str]:
    """GPT-2's character for each byte: itself where printable, else the next free one from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable}
    characters |= {byte: chr(256 + place) for place, byte in enumerate(others)}
    return [characters[byte] for byte in range(256)]


_SPACE = _byte_characters()[ord(" ")]
_MERGES = [(_SPACE, letter) for letter in "abcdefghijklmnopqrstuvwxyz"]
_MERGES += [(vowel, consonant) for vowel in "aeiou" for consonant in "dlnrst"]
_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(5))]
TOKENS = [*_byte_characters(), *(first + second for first, second in _MERGES), *_SPECIAL]


def _tokenizer() -> dict[str, WritableValue]:
    ordinary, control = 1, 3
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [control if token in _SPECIAL else ordinary for token in TOKENS],
        "tokenizer.ggml.merges": [f"{first} {second}" for first, second in _MERGES],
        "tokenizer.ggml.bos_token_id": TOKENS.index("<|endoftext|>"),
        "tokenizer.ggml.eos_token_id": TOKENS.index("<|im_end|>"),
        "tokenizer.ggml.unknown_token_id": TOKENS.index("<|endoftext|>"),
        "tokenizer.ggml.padding_token_id": TOKENS.index("<|endoftext|>"),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }
