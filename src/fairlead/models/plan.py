"""Plans: what a model computes in one step, recorded once at load.

An architecture's file describes its network by calling the ops of a `Graph`; each call appends one frozen op.
The finished `Plan` is plain data — no weights, no arrays, no hardware — which a runner lowers to its own
kernels. Values are matrices of rows, one row for each token of the step; after `select` or `mean`, one for each
row that is selected: of a decoder each token whose logits are wanted, of an encoder the first token of each text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fairlead.errors import ModelFileError, UnsupportedModel
from fairlead.gguf.model_file import ModelFile, Tensor

RopeStyle = Literal["halves", "interleaved"]
EmbeddedBy = Literal["token", "position", "type"]
"""What of a row chooses its embedding: its token, its place in its text, or its text's place in a pair, which is 0."""


@dataclass(frozen=True, slots=True)
class Value:
    """The rows that one op writes: `width` floats each; `selected` where there is one for each selected row."""

    index: int
    width: int
    selected: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive outputs of a tensor, as a weight of their own."""

    tensor: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Embed:
    """out[r] = weight[token of row r], or by what else `by` says."""

    out: Value
    weight: Rows
    by: EmbeddedBy = "token"


@dataclass(frozen=True, slots=True)
class RMSNorm:
    """out = x / sqrt(mean(x²) + eps) · weight."""

    out: Value
    x: Value
    weight: str
    eps: float


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """out = (x - mean(x)) / sqrt(var(x) + eps) · weight + bias."""

    out: Value
    x: Value
    weight: str
    bias: str
    eps: float


@dataclass(frozen=True, slots=True)
class Linear:
    """out = x Wᵀ + bias."""

    out: Value
    x: Value
    weight: Rows
    bias: Rows | None


@dataclass(frozen=True, slots=True)
class Rotations:
    """The angles position · frequency of rotary embedding, shared by all layers; out.width is twice their count."""

    out: Value
    frequencies: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Attention:
    """Causal attention over the KV cache, with q and k turned by the rotations before.

    q: [rows, heads · head_dim]; k, v: [rows, kv_heads · head_dim]; out like q.
    """

    out: Value
    q: Value
    k: Value
    v: Value
    rotations: Value
    rope: RopeStyle
    layer: int
    heads: int
    scale: float


@dataclass(frozen=True, slots=True)
class BidirectionalAttention:
    """Attention of every token of a text to all of them. The step holds whole texts; nothing is kept of them.

    q, k, v and out: [rows, heads · head_dim].
    """

    out: Value
    q: Value
    k: Value
    v: Value
    heads: int
    scale: float


@dataclass(frozen=True, slots=True)
class Add:
    """out = a + b."""

    out: Value
    a: Value
    b: Value


@dataclass(frozen=True, slots=True)
class SwiGLU:
    """out = gate · sigmoid(gate) · up."""

    out: Value
    gate: Value
    up: Value


@dataclass(frozen=True, slots=True)
class GELU:
    """The tanh form."""

    out: Value
    x: Value


@dataclass(frozen=True, slots=True)
class ExactGELU:
    """out = x Φ(x), Φ being the normal distribution's."""

    out: Value
    x: Value


@dataclass(frozen=True, slots=True)
class Select:
    """The selected rows of x."""

    out: Value
    x: Value


@dataclass(frozen=True, slots=True)
class Mean:
    """For each selected row, the mean of all rows of its text."""

    out: Value
    x: Value


@dataclass(frozen=True, slots=True)
class L2Norm:
    """out = x / |x|."""

    out: Value
    x: Value


Op = (
    Embed | RMSNorm | LayerNorm | Linear | Rotations | Attention | BidirectionalAttention | Add | SwiGLU | GELU
    | ExactGELU | Select | Mean | L2Norm
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class KVShape:
    """What the KV cache holds for each token: keys and values of [layers, heads, head_dim]."""

    layers: int
    heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A model's step.

    Attributes:
        ops: in the order in which they are computed.
        kv: what the KV cache holds; None for an encoder, which has none.
        output: of the selected rows: of a decoder logits [rows, vocabulary], of an encoder vectors [rows, width].
    """

    ops: tuple[Op, ...]
    kv: KVShape | None
    output: Value


class Graph:
    """Records a plan, and checks on the way that each tensor exists in the file and has the shape its use needs.

    All ops raise `ModelFileError` that names the tensor. Names are given without their ".weight" or ".bias".
    """

    def __init__(self, file: ModelFile) -> None:
        self._file = file
        self._ops: list[Op] = []
        self._values = 0

    def embed(self, name: str, by: EmbeddedBy = "token") -> Value:
        """Rows of an embedding. Raises `UnsupportedModel` for a quantised one that is not by token."""
        tensor = self._matrix(name + ".weight")
        if by != "token" and tensor.format.block > 1:
            raise UnsupportedModel(f"tensor '{name}.weight' is {tensor.format.name}, and must be F32, F16 or BF16")
        rows, width = tensor.shape
        return self._record(Embed(self._value(width), Rows(name + ".weight", 0, rows), by))

    def rms_norm(self, x: Value, name: str, eps: float) -> Value:
        """Root-mean-square norm (Zhang and Sennrich, 2019)."""
        self._vector(name + ".weight", x.width)
        return self._record(RMSNorm(self._like(x), x, name + ".weight", eps))

    def layer_norm(self, x: Value, name: str, eps: float) -> Value:
        """Layer norm with weight and bias (Ba et al., 2016)."""
        self._vector(name + ".weight", x.width)
        self._vector(name + ".bias", x.width)
        return self._record(LayerNorm(self._like(x), x, name + ".weight", name + ".bias", eps))

    def linear(
        self, x: Value, name: str, *, width: int, bias: bool = False, outputs: tuple[int, int] | None = None
    ) -> Value:
        """X times a weight of `width` outputs, or a range of a tensor that holds several weights."""
        tensor = self._matrix(name + ".weight")
        begin, end = outputs or (0, tensor.shape[0])
        if tensor.shape[1] != x.width or end > tensor.shape[0] or end - begin != width:
            needed = f"[{width}, {x.width}]" + (f" from output {begin}" if begin else "")
            raise ModelFileError(f"tensor '{name}.weight' has shape {list(tensor.shape)}; the model needs {needed}")
        if bias:
            self._vector(name + ".bias", tensor.shape[0])
        out = Value(self._next(), width, x.selected)
        added = Rows(name + ".bias", begin, end) if bias else None
        return self._record(Linear(out, x, Rows(name + ".weight", begin, end), added))

    def rotations(self, frequencies: tuple[float, ...]) -> Value:
        """The turns of rotary position embedding (Su et al., 2021), for `attention`."""
        return self._record(Rotations(self._value(2 * len(frequencies)), frequencies))

    def attention(
        self,
        q: Value,
        k: Value,
        v: Value,
        rotations: Value,
        rope: RopeStyle,
        *,
        layer: int,
        heads: int,
        scale: float,
    ) -> Value:
        """Turn q and k, add k and v to the cache, and attend over all that it holds of the sequence."""
        return self._record(Attention(self._like(q), q, k, v, rotations, rope, layer, heads, scale))

    def bidirectional_attention(self, q: Value, k: Value, v: Value, *, heads: int, scale: float) -> Value:
        """Attend to the whole text from everywhere in it."""
        return self._record(BidirectionalAttention(self._like(q), q, k, v, heads, scale))

    def add(self, a: Value, b: Value) -> Value:
        """A sum."""
        return self._record(Add(self._like(a), a, b))

    def swiglu(self, gate: Value, up: Value) -> Value:
        """Gated activation (Shazeer, 2020)."""
        return self._record(SwiGLU(self._like(gate), gate, up))

    def gelu(self, x: Value) -> Value:
        """Activation (Hendrycks and Gimpel, 2016), in the form with tanh that is near it."""
        return self._record(GELU(self._like(x), x))

    def exact_gelu(self, x: Value) -> Value:
        """The same activation as it is defined."""
        return self._record(ExactGELU(self._like(x), x))

    def select(self, x: Value) -> Value:
        """Go on with the selected rows only."""
        return self._record(Select(Value(self._next(), x.width, selected=True), x))

    def mean(self, x: Value) -> Value:
        """Go on with the mean of each text."""
        return self._record(Mean(Value(self._next(), x.width, selected=True), x))

    def l2_norm(self, x: Value) -> Value:
        """Rows brought to length 1."""
        return self._record(L2Norm(self._like(x), x))

    def has(self, name: str) -> bool:
        """Whether the file holds this weight."""
        return name + ".weight" in self._file.tensors

    def outputs_of(self, name: str) -> int:
        """How many outputs this weight has; of an embedding, the tokens."""
        return self._matrix(name + ".weight").shape[0]

    def finish(self, output: Value, kv: KVShape | None = None) -> Plan:
        """The plan as recorded."""
        return Plan(tuple(self._ops), kv, output)

    def _record(self, op: Op) -> Value:
        self._ops.append(op)
        return op.out

    def _next(self) -> int:
        self._values += 1
        return self._values - 1

    def _value(self, width: int) -> Value:
        return Value(self._next(), width)

    def _like(self, x: Value) -> Value:
        return Value(self._next(), x.width, x.selected)

    def _tensor(self, name: str) -> Tensor:
        tensor = self._file.tensors.get(name)
        if tensor is None:
            raise ModelFileError(f"tensor '{name}' is missing")
        return tensor

    def _matrix(self, name: str) -> Tensor:
        tensor = self._tensor(name)
        if len(tensor.shape) != 2:
            raise ModelFileError(f"tensor '{name}' has shape {list(tensor.shape)}; the model needs a matrix")
        return tensor

    def _vector(self, name: str, width: int) -> None:
        tensor = self._tensor(name)
        if tuple(tensor.shape) != (width,):
            raise ModelFileError(f"tensor '{name}' has shape {list(tensor.shape)}; the model needs [{width}]")
