"""The architectures that are built in, and what a model file says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fairlead.errors import ModelFileError, UnsupportedModel
from fairlead.gguf.model_file import ModelFile
from fairlead.models import bert, llama, phi2, qwen2
from fairlead.models.plan import KVShape, Plan
from fairlead.models.shape import DecoderShape, EncoderShape

DECODERS: Mapping[str, Callable[[ModelFile], Plan]] = {
    "llama": llama.record,
    "phi2": phi2.record,
    "qwen2": qwen2.record,
}
"""By `general.architecture`: what records the plan of such a file. A new architecture is one more line here, ..."""

ENCODERS: Mapping[str, Callable[[ModelFile], Plan]] = {
    "bert": bert.record,
}
"""... or here."""

ARCHITECTURES = {**DECODERS, **ENCODERS}
"""All of them."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a file holds, told from its header alone.

    Attributes:
        architecture: as in `ARCHITECTURES`.
        name: what the model calls itself.
        parameters: number of weights.
        quantization: such as "Q4_K_M".
        context_length: most positions that the model was made for; an encoder has no more.
        width: of the residual stream.
        feed_forward: of the MLP's hidden layer.
        vocabulary: number of token ids.
        kv: what the KV cache holds for each token; None for an encoder.
    """

    architecture: str
    name: str
    parameters: int
    quantization: str
    context_length: int
    width: int
    feed_forward: int
    vocabulary: int
    kv: KVShape | None


def describe(file: ModelFile) -> ModelDescription:
    """Read and check a file's header; ModelFileError or UnsupportedModel say what is wrong with it."""
    _recorder(file)
    shape = EncoderShape.read(file) if file.architecture in ENCODERS else DecoderShape.read(file)
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise ModelFileError(f"{file.file_name} has no matrix 'token_embd.weight'")
    tokens = len(file.get_strs("tokenizer.ggml.tokens"))
    if tokens != embedding.shape[0]:
        raise ModelFileError(
            f"{file.file_name}: the tokenizer has {tokens} tokens and the embedding {embedding.shape[0]}"
        )
    return ModelDescription(
        architecture=file.architecture,
        name=file.name,
        parameters=file.parameter_count,
        quantization=file.quantization,
        context_length=shape.context_length,
        width=shape.width,
        feed_forward=shape.feed_forward,
        vocabulary=tokens,
        kv=shape.kv if isinstance(shape, DecoderShape) else None,
    )


def record(file: ModelFile) -> Plan:
    """The plan of a file's model; every tensor that it names is in the file and has the right shape."""
    return _recorder(file)(file)


def _recorder(file: ModelFile) -> Callable[[ModelFile], Plan]:
    recorder = ARCHITECTURES.get(file.architecture)
    if recorder is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedModel(
            f"{file.file_name} is of architecture '{file.architecture}', which is not built in; these are: {known}"
        )
    return recorder
