"""Writes a GGUF file of a real model's true shape with random weights, in seconds.

    python benchmarks/shapes.py tinyllama-1.1b Q4_K_M out.gguf --vocab-from STARTER.gguf

For measuring speed and memory where the weights themselves cannot be had. The weights are drawn once as a pool of
N(0, 0.02) and repeated from another place for each tensor, so activations stay finite. Such a model's text means
nothing, and as rows repeat, so do logits. The vocabulary is another file's, cut or filled up with made-up words.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead.gguf.formats import Format
from fairlead.gguf.quants import quantise
from fairlead.gguf.reader import GGUFFile
from fairlead.gguf.writer import NewTensor, WritableValue, write_gguf

U8 = NDArray[np.uint8]

_POOL_WEIGHTS = 4099 * 256  # 4099 is prime: rows of any length repeat as late as can be
_DEVIATION = 0.02


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model, as in its published configuration."""

    architecture: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int
    context: int
    rope_base: float = 10000.0
    epsilon: float = 1e-5
    tied: bool = False
    long_rope: bool = False
    """Llama 3.1's scaling of the rotary frequencies."""

    @property
    def head_dim(self) -> int:
        """Dimensions of a head."""
        return self.width // self.heads


SHAPES = {
    "smollm2-135m": Shape("llama", 30, 576, 9, 3, 1536, 49152, 8192, 1e5, tied=True),
    "smollm2-1.7b": Shape("llama", 24, 2048, 32, 32, 8192, 49152, 8192, 1.3e5, tied=True),
    "tinyllama-1.1b": Shape("llama", 22, 2048, 32, 4, 5632, 32000, 2048),
    "qwen2.5-3b": Shape("qwen2", 36, 2048, 16, 2, 11008, 151936, 32768, 1e6, 1e-6, tied=True),
    "phi-2": Shape("phi2", 32, 2560, 32, 32, 10240, 51200, 2048),
    "mistral-7b": Shape("llama", 32, 4096, 32, 8, 14336, 32000, 32768, 1e6),
    "llama-3-8b": Shape("llama", 32, 4096, 32, 8, 14336, 128256, 8192, 5e5),
    "llama-3.1-8b": Shape("llama", 32, 4096, 32, 8, 14336, 128256, 131072, 5e5, long_rope=True),
}
_PHI2_ROTARY = 32

Q4_K_M = "Q4_K_M"
MIXTURES = (*(weight_format.name for weight_format in Format), Q4_K_M)

# What llama.cpp takes for rows that are no whole number of 256.
_SMALLER_BLOCKS = {Format.Q4_K: Format.Q5_0, Format.Q5_K: Format.Q5_1, Format.Q6_K: Format.Q8_0}


def write_shape(path: Path, shape: Shape, mixture: str, vocabulary: GGUFFile, name: str) -> None:
    """Writes a model of this shape, its matrices in a format or in llama.cpp's mixture Q4_K_M."""
    pool = _Pool()
    tensors = []
    for tensor, dimensions in tensor_shapes(shape).items():
        weight_format = format_of(tensor, dimensions, shape, mixture)
        data = pool.norm(*dimensions) if tensor.endswith("norm.weight") else pool.take(weight_format, dimensions)
        tensors.append(NewTensor(tensor, weight_format, dimensions, data))
    if shape.long_rope:
        factors = _rope_factors(shape)
        tensors.append(NewTensor("rope_freqs.weight", Format.F32, factors.shape, factors.view(np.uint8)))
    write_gguf(path, _metadata(shape, mixture, name) | _vocabulary(vocabulary, shape.vocabulary), tensors)


def tensor_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor's (outputs, inputs) or (outputs,), by llama.cpp's names."""
    width, kv_width = shape.width, shape.kv_heads * shape.head_dim
    phi2 = shape.architecture == "phi2"
    block: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (width,),
        "attn_output.weight": (width, width),
        "ffn_up.weight": (shape.feed_forward, width),
        "ffn_down.weight": (width, shape.feed_forward),
    }
    if phi2:
        block |= {"attn_norm.bias": (width,), "attn_qkv.weight": (3 * width, width), "attn_qkv.bias": (3 * width,)}
        block |= {"attn_output.bias": (width,), "ffn_up.bias": (shape.feed_forward,), "ffn_down.bias": (width,)}
    else:
        block |= {"ffn_norm.weight": (width,), "ffn_gate.weight": (shape.feed_forward, width)}
        for part, outputs in (("attn_q", width), ("attn_k", kv_width), ("attn_v", kv_width)):
            block[f"{part}.weight"] = (outputs, width)
            if shape.architecture == "qwen2":
                block[f"{part}.bias"] = (outputs,)

    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (shape.vocabulary, width)}
    for layer in range(shape.layers):
        shapes |= {f"blk.{layer}.{tensor}": dimensions for tensor, dimensions in block.items()}
    shapes["output_norm.weight"] = (width,)
    if not shape.tied:
        shapes["output.weight"] = (shape.vocabulary, width)
    if phi2:
        shapes |= {"output_norm.bias": (width,), "output.bias": (shape.vocabulary,)}
    return shapes


def format_of(tensor: str, dimensions: tuple[int, ...], shape: Shape, mixture: str) -> Format:
    """The format of a tensor in a mixture, by llama.cpp's rules."""
    if len(dimensions) == 1:
        return Format.F32
    chosen = Format.Q4_K if mixture == Q4_K_M else Format[mixture]
    head = "token_embd.weight" if shape.tied else "output.weight"
    if tensor == head and chosen.block > 1 and chosen != Format.Q8_0:
        chosen = Format.Q6_K
    elif mixture == Q4_K_M and tensor.startswith("blk."):
        _, number, part, _ = tensor.split(".")
        layer, eighth = int(number), shape.layers // 8
        finer = layer < eighth or layer >= 7 * shape.layers // 8 or (layer - eighth) % 3 == 2
        if part in {"attn_v", "ffn_down"} and finer:
            chosen = Format.Q6_K
        elif part == "attn_qkv":
            chosen = Format.Q5_K
    return _SMALLER_BLOCKS.get(chosen, chosen) if dimensions[-1] % chosen.block else chosen


class _Pool:
    """Random weights in every format that is asked for, drawn once and quantised once."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._values = self._rng.normal(0, _DEVIATION, _POOL_WEIGHTS).astype(np.float32)
        self._blocks: dict[Format, U8] = {}

    def take(self, weight_format: Format, dimensions: tuple[int, ...]) -> Iterator[U8]:
        """Blocks for a tensor, from a random place of the pool on and round it as often as needed."""
        if weight_format not in self._blocks:
            self._blocks[weight_format] = quantise(self._values, weight_format)
        blocks = self._blocks[weight_format]
        start = int(self._rng.integers(_POOL_WEIGHTS // weight_format.block)) * weight_format.block_bytes
        return _around(blocks, start, weight_format.bytes_for(math.prod(dimensions)))

    def norm(self, width: int) -> U8:
        """Weights of a norm."""
        return self._rng.normal(1, 0.1, width).astype(np.float32).view(np.uint8)


def _around(blocks: U8, start: int, size: int) -> Iterator[U8]:
    while size > 0:
        piece = blocks[start : start + size]
        yield piece
        size -= piece.size
        start = 0


def _rope_factors(shape: Shape) -> NDArray[np.float32]:
    """Llama 3.1's: factor 8 for waves longer than 8192 tokens, 1 for those shorter than a quarter of that."""
    frequencies = shape.rope_base ** -(np.arange(0, shape.head_dim, 2) / shape.head_dim)
    smooth = np.clip((8192 * frequencies / (2 * math.pi) - 1) / (4 - 1), 0, 1)
    return np.asarray(1 / ((1 - smooth) / 8 + smooth), dtype=np.float32)


def _metadata(shape: Shape, mixture: str, name: str) -> dict[str, WritableValue]:
    arch = shape.architecture
    norm = "layer_norm_epsilon" if arch == "phi2" else "layer_norm_rms_epsilon"
    values: dict[str, WritableValue] = {
        "general.architecture": arch,
        "general.type": "model",
        "general.name": f"Random {name}",
        "general.quantization_version": 2,
        f"{arch}.block_count": shape.layers,
        f"{arch}.context_length": shape.context,
        f"{arch}.embedding_length": shape.width,
        f"{arch}.feed_forward_length": shape.feed_forward,
        f"{arch}.attention.head_count": shape.heads,
        f"{arch}.attention.head_count_kv": shape.kv_heads,
        f"{arch}.attention.{norm}": shape.epsilon,
        f"{arch}.rope.freq_base": shape.rope_base,
        f"{arch}.rope.dimension_count": _PHI2_ROTARY if arch == "phi2" else shape.head_dim,
    }
    if arch == "llama":
        values["llama.vocab_size"] = shape.vocabulary
    if mixture == Q4_K_M:
        values["general.file_type"] = 15
    return values


def _vocabulary(source: GGUFFile, size: int) -> dict[str, WritableValue]:
    """Another file's byte-level BPE tokenizer, cut to `size` tokens or filled up with made-up words."""
    tokens = list(source.get_strs("tokenizer.ggml.tokens")[:size])
    types = list(source.get_ints("tokenizer.ggml.token_type")[:size])
    kept = set(tokens)
    merges = [
        merge
        for merge in source.get_strs("tokenizer.ggml.merges")
        if kept.issuperset(merge.split(" ")) and merge.replace(" ", "") in kept
    ]
    made_up = range(len(tokens), size)
    copied: dict[str, WritableValue] = {
        key: value
        for key, value in source.metadata.items()
        if key.startswith("tokenizer.") and not (isinstance(value, int) and value >= size)
    }
    return copied | {
        "tokenizer.ggml.tokens": tokens + [f"Ġword{number}" for number in made_up],
        "tokenizer.ggml.token_type": types + [1 for _ in made_up],
        "tokenizer.ggml.merges": merges,
    }


def main() -> None:
    """Reads the command line and writes the file."""
    parser = argparse.ArgumentParser(description="Write a random-weight GGUF file of a real model's shape.")
    parser.add_argument("model", choices=SHAPES)
    parser.add_argument("format", choices=MIXTURES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--vocab-from", type=Path, required=True, help="a GGUF file with byte-level BPE")
    arguments = parser.parse_args()
    with GGUFFile.open(arguments.vocab_from) as vocabulary:
        write_shape(arguments.out, SHAPES[arguments.model], arguments.format, vocabulary, arguments.model)
    with GGUFFile.open(arguments.out) as written:
        print(f"{arguments.out}: {written.parameter_count:,} weights, {written.size:,} bytes")


if __name__ == "__main__":
    main()
