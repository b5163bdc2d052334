"""A model as its makers publish it: weights in safetensors, and beside them what its configuration and tokenizer say.

Told in GGUF's words, as llama.cpp's converter would write it, so that nobody else need know of this kind. Only BERT's
are read so. All of it is input from strangers: the `safetensors` library checks that tensors lie one after the other
within the file, and what it gives is checked again before it is used.
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import safetensors

from fairlead.errors import ModelFileError, UnsupportedModel
from fairlead.gguf.formats import Format
from fairlead.gguf.header import Tensor, Value, shown
from fairlead.gguf.model_file import ModelFile, mapped_file
from fairlead.gguf.sidecars import BertConfig, Pooling, WordPieceFile, read_sidecar

CHECKPOINT: Final = ".safetensors"

_MAX_TENSORS: Final = 1 << 16
_MAX_DIMENSIONS: Final = 4
_MAX_ELEMENTS: Final = 1 << 40
_ITEM_BYTES: Final = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4,
    "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
_FORMATS: Final = {"F32": Format.F32, "F16": Format.F16, "BF16": Format.BF16}

# The modules of BERT by transformers' names, and by llama.cpp's.
_OUTER: Final = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.LayerNorm": "token_embd_norm",
}
_LAYER: Final = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_OF_LAYER: Final = re.compile(r"encoder\.layer\.(0|[1-9][0-9]{0,5})\.(.+)", re.ASCII)


class Checkpoint(ModelFile):
    """An open safetensors file, with `config.json` and `tokenizer.json` in its folder."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Maps the weights, and reads what lies beside them.

        Raises:
            UnsupportedModel: a sound model of another kind than BERT, or with a turn that is not built in.
            ModelFileError: a file that is missing, cut short or damaged. The message names it without its folders.
        """
        mapped = mapped_file(path, "safetensors")
        try:
            tensors = _read_tensors(path, mapped)
            return cls(path.name, mapped, _read_metadata(path.parent), tensors)
        except ModelFileError:
            mapped.close()
            raise


def _read_metadata(folder: Path) -> Mapping[str, Value]:
    config = read_sidecar(folder, "config.json", BertConfig)
    pooling = read_sidecar(folder, "1_Pooling/config.json", Pooling, default=Pooling())
    tokenizer = read_sidecar(folder, "tokenizer.json", WordPieceFile)
    return {"general.name": folder.name, **config.metadata(), **pooling.metadata(), **tokenizer.metadata()}


def _read_tensors(path: Path, mapped: mmap.mmap) -> Mapping[str, Tensor]:
    """The tensors that BERT has, by llama.cpp's names."""
    tensors: dict[str, Tensor] = {}
    try:
        with safetensors.safe_open(path, "numpy") as file:
            names = file.offset_keys()
            if len(names) > _MAX_TENSORS:
                raise ModelFileError(f"{path.name} has {len(names)} tensors; at most {_MAX_TENSORS} are read")
            # The library refuses gaps and overlaps, so the last tensor ends with the file.
            described = [
                (name, piece.get_dtype(), piece.get_shape()) for name in names if (piece := file.get_slice(name))
            ]
    except safetensors.SafetensorError as error:
        raise ModelFileError(f"{path.name} is no sound safetensors file: {shown(str(error))}") from error
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error.strerror}") from error
    offset = len(mapped) - sum(_nbytes(path.name, *tensor) for tensor in described)
    if offset < 0:
        raise ModelFileError(f"{path.name}: its tensors are larger than the file")
    for name, dtype, shape in described:
        if (ours := _renamed(name)) is not None:
            if dtype not in _FORMATS:
                raise UnsupportedModel(
                    f"{path.name}: the tensor {shown(name)} is of type {dtype}, which is not built in"
                )
            if ours in tensors:
                raise ModelFileError(f"{path.name}: the tensor {shown(name)} is there twice")
            tensors[ours] = Tensor(ours, tuple(shape), _FORMATS[dtype], offset, mapped)
        offset += _nbytes(path.name, name, dtype, shape)
    return tensors


def _nbytes(file_name: str, name: str, dtype: str, shape: list[int]) -> int:
    """Bytes of a tensor of the file."""
    if dtype not in _ITEM_BYTES:
        raise UnsupportedModel(f"{file_name}: the tensor {shown(name)} is of type {dtype}, which is not built in")
    elements = math.prod(shape)
    if not 1 <= len(shape) <= _MAX_DIMENSIONS or not 0 < elements <= _MAX_ELEMENTS:
        raise ModelFileError(f"{file_name}: the tensor {shown(name)} has the impossible shape {shown(str(shape))}")
    return elements * _ITEM_BYTES[dtype]


def _renamed(name: str) -> str | None:
    """llama.cpp's name of a tensor; None for one that an encoder does not read."""
    module, _, kind = name.removeprefix("bert.").rpartition(".")
    kind = {"gamma": "weight", "beta": "bias"}.get(kind, kind)  # of norms, in checkpoints from TensorFlow
    if module in _OUTER:
        return f"{_OUTER[module]}.{kind}"
    if (match := _OF_LAYER.fullmatch(module)) and match[2] in _LAYER:
        return f"blk.{match[1]}.{_LAYER[match[2]]}.{kind}"
    return None
