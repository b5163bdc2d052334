"""What the metadata of all decoders, or all encoders, says in the same words, and the turns of rotary embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from fairlead.errors import ModelFileError, UnsupportedModel
from fairlead.gguf.formats import Format
from fairlead.gguf.model_file import ModelFile
from fairlead.models.plan import KVShape

_MOST = 1 << 20
"""No width, head count or layer count of a real model comes near."""


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """Sizes of a decoder-only transformer.

    Attributes:
        context_length: most positions that the model was made for.
        width: of the residual stream.
        layers: blocks one after the other.
        heads: of the queries; a multiple of `kv_heads` (grouped-query attention).
        kv_heads: of the keys and values.
        head_dim: of each head.
        feed_forward: width of the hidden layer of the MLP.
        rope_dims: dimensions of a head that rotary embedding turns, an even number.
        rope_base: of its frequencies, the longest wavelength over 2π.
    """

    context_length: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    rope_dims: int
    rope_base: float

    @classmethod
    def read(cls, file: ModelFile) -> Self:
        """From the metadata of a file; ModelFileError or UnsupportedModel name the key at fault."""
        prefix = file.architecture + "."

        def number(key: str, default: int | None = None) -> int:
            return file.get_int(prefix + key, default, minimum=1, maximum=_MOST)

        if file.get_int(prefix + "expert_count", 0) > 0:
            raise UnsupportedModel(f"{file.file_name} is a mixture of experts, which is not built in")
        width, heads = number("embedding_length"), number("attention.head_count")
        head_dim = number("attention.key_length", max(1, width // heads))
        shape = cls(
            context_length=_context_length(file, prefix),
            width=width,
            layers=number("block_count"),
            heads=heads,
            kv_heads=number("attention.head_count_kv", heads),
            head_dim=head_dim,
            feed_forward=number("feed_forward_length"),
            rope_dims=number("rope.dimension_count", head_dim),
            rope_base=file.get_float(prefix + "rope.freq_base", 10000.0),
        )
        if heads % shape.kv_heads != 0:
            raise ModelFileError(f"{file.file_name}: {heads} heads cannot share {shape.kv_heads} of keys and values")
        if number("attention.value_length", head_dim) != head_dim:
            raise UnsupportedModel(f"{file.file_name}: values are not as wide as keys, which is not built in")
        if shape.rope_dims % 2 != 0 or shape.rope_dims > head_dim or shape.rope_base <= 0:
            raise ModelFileError(f"{file.file_name}: rotary embedding of {shape.rope_dims} dimensions is impossible")
        return shape

    @property
    def kv(self) -> KVShape:
        """What the KV cache holds for each token."""
        return KVShape(self.layers, self.kv_heads, self.head_dim)


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Sizes of an encoder whose positions are learned.

    Attributes:
        context_length: the most tokens of a text, for which there are positions.
        width: of the residual stream, and of a text's vector.
        layers: blocks one after the other.
        heads: of queries, keys and values alike.
        feed_forward: width of the hidden layer of the MLP.
    """

    context_length: int
    width: int
    layers: int
    heads: int
    feed_forward: int

    @classmethod
    def read(cls, file: ModelFile) -> Self:
        """From the metadata of a file; ModelFileError or UnsupportedModel name the key at fault."""
        prefix = file.architecture + "."

        def number(key: str) -> int:
            return file.get_int(prefix + key, minimum=1, maximum=_MOST)

        if file.get_bool(prefix + "attention.causal", False):
            raise UnsupportedModel(f"{file.file_name}: causal attention in an encoder is not built in")
        shape = cls(
            context_length=number("context_length"),
            width=number("embedding_length"),
            layers=number("block_count"),
            heads=number("attention.head_count"),
            feed_forward=number("feed_forward_length"),
        )
        if shape.width % shape.heads != 0:
            raise ModelFileError(f"{file.file_name}: {shape.heads} heads cannot share a width of {shape.width}")
        return shape

    @property
    def head_dim(self) -> int:
        """Of each head."""
        return self.width // self.heads


def rope_frequencies(file: ModelFile, shape: DecoderShape) -> tuple[float, ...]:
    """Radians per position of each pair of dimensions: base^(-2i/dims), stretched as the file says.

    Linear scaling divides all by one factor (Chen et al., 2023). Llama 3.1's long-context scaling comes as a
    tensor of one factor for each pair.
    """
    pairs = shape.rope_dims // 2
    frequencies = shape.rope_base ** (-np.arange(pairs, dtype=np.float64) / pairs)
    prefix = file.architecture + ".rope.scaling."
    scaling = file.get_str(prefix + "type", "none")
    if scaling == "linear":
        factor = file.get_float(prefix + "factor")
        if factor <= 0:
            raise ModelFileError(f"{file.file_name}: {prefix}factor is {factor} and must be above 0")
        frequencies /= factor
    elif scaling not in ("none", ""):
        raise UnsupportedModel(f"{file.file_name}: rotary scaling '{scaling}' is not built in")
    factors = file.tensors.get("rope_freqs.weight")
    if factors is not None:
        if factors.format is not Format.F32 or factors.shape != (pairs,):
            raise ModelFileError(f"{file.file_name}: rope_freqs.weight must be F32 of shape [{pairs}]")
        divisors = factors.data.view(np.float32).astype(np.float64)
        if not (np.isfinite(divisors) & (divisors > 0)).all():
            raise ModelFileError(f"{file.file_name}: rope_freqs.weight holds impossible factors")
        frequencies /= divisors
    return tuple(frequencies.tolist())


def _context_length(file: ModelFile, prefix: str) -> int:
    length = file.get_int(prefix + "context_length", minimum=1)
    # Within its window, sliding-window attention is full attention; past it we do not go.
    window = file.get_int(prefix + "attention.sliding_window", 0)
    return min(length, window) if window else length
