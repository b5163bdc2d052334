"""The C++ extension (csrc/bindings/). Arrays are C-contiguous; calls that compute release the GIL."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]

# ---- cpu ------------------------------------------------------------------------------------------

def instruction_sets() -> list[str]:
    """What this processor can run, worst first: portable, avx2, avx-vnni, avx512, vnni, amx."""

def emulated_instruction_sets() -> list[str]:
    """What it can run in emulation, for tests: amx-emulated. Never chosen by itself."""

def instruction_set() -> str:
    """The one in use: the best, or FAIRLEAD_ISA. ValueError where that names none or one it lacks."""

def set_instruction_set(name: str) -> None:
    """Use another one from now on; for tests. ValueError as above."""

class ThreadPool:
    """A team of threads, the caller one of them."""

    def __init__(self, threads: int) -> None: ...
    @property
    def size(self) -> int: ...

# ---- products -------------------------------------------------------------------------------------

def packed_bytes(format: int, outputs: int, inputs: int) -> int:
    """Bytes that a Weight of this shape takes. ValueError for unknown formats and impossible shapes."""

class Weight:
    """A matrix [outputs, inputs] packed from the GGUF blocks `data`; `format` is GGML's number."""

    def __init__(self, format: int, data: U8, outputs: int, inputs: int, pool: ThreadPool) -> None: ...
    @property
    def outputs(self) -> int: ...
    @property
    def inputs(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def layout(self) -> str:
        """f32, f16, bf16, q4 or q8."""

    def unpack(self, output: int) -> F32:
        """The weights of one output, [inputs]."""

def matmul(
    weight: Weight,
    x: F32,
    pool: ThreadPool,
    bias: F32 | None = None,
    y: F32 | None = None,
    activations: str = "q16",
) -> F32:
    """x [rows, inputs] times the weight, [rows, outputs]; added to a copy of `y` where given.

    `activations` says what x may become before it meets quantised weights: q16, or q8 where that is quicker.
    """

# ---- peaks ----------------------------------------------------------------------------------------

def arithmetic_units() -> list[str]:
    """The units that this processor has and `measure_peak` knows, whatever the instruction set in use."""

def measure_peak(unit: str, pool: ThreadPool, seconds: float) -> float:
    """Operations a second of all threads together, a multiply-add being two. ValueError for a unit it lacks."""

def measure_read_bandwidth(pool: ThreadPool, nbytes: int, seconds: float) -> float:
    """Bytes a second that all threads together read of so much memory. MemoryError where there is none."""

def product_unit(weight: Weight, rows: int, activations: str = "q16") -> str:
    """What computes the product of a weight and so many rows, in the instruction set in use."""

def vector_unit() -> str:
    """What computes everything else, attention in particular."""

# ---- plan -----------------------------------------------------------------------------------------

PAGE_TOKENS: int
"""Tokens in a page of the KV cache."""

class KvCache:
    """Keys and values in pages; `type` is f16, f32 or q8 (8 bits, with a scale for each token and head).

    All of its memory is taken at once, by the threads of `pool` where there is one. MemoryError where there is too
    little.
    """

    def __init__(
        self, *, layers: int, heads: int, head_dim: int, pages: int, type: str = "f16", pool: ThreadPool | None = None
    ) -> None: ...
    def copy_page(self, from_page: int, to_page: int) -> None:
        """Copy all that a page holds into another. IndexError for a page that is none."""

    @property
    def page_bytes(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

class StageTime:
    """What a stage of one step took: `seconds` from the end of the stage before to its own."""

    @property
    def name(self) -> str: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def seconds(self) -> float: ...

class Table:
    """Rows of floats [rows, width] that are looked up; `format` is GGML's number of f32, f16 or bf16."""

    def __init__(self, format: int, data: U8, rows: int, width: int) -> None: ...
    @property
    def nbytes(self) -> int: ...

class Plan:
    """A recorded step. Rows are numbers; weights must outlive the plan (the caller holds them).

    All recording calls raise ValueError where rows and weights do not fit together. Those that give rows record what
    is computed wherever these are read; what `swiglu`, `add`, `attention` and the outputs of stages name must be
    buffers, which are held in memory.
    """

    def __init__(self, pool: ThreadPool, cache: KvCache | None, activations: str = "q16") -> None:
        """Without a cache every step computes whole texts. `activations` as of `matmul`, but for selected rows."""

    def buffer(self, width: int, selected: bool = False) -> int: ...
    def embedding(self, weight: Weight) -> int: ...
    def table(self, table: Table, index: str) -> int:
        """Rows of a table, by "token", "position" or "type"."""

    def rms_norm(self, x: int, weight: F32, eps: float) -> int: ...
    def layer_norm(self, x: int, weight: F32, bias: F32, eps: float) -> int: ...
    def add(self, a: int, b: int) -> int: ...
    def swiglu(self, gate: int, up: int) -> int: ...
    def gelu(self, x: int) -> int: ...
    def exact_gelu(self, x: int) -> int: ...
    def select(self, x: int) -> int: ...
    def mean(self, x: int) -> int:
        """For each selected row the mean of its sequence's rows, which must be a buffer."""

    def l2_norm(self, x: int) -> int: ...
    def rotations(self, frequencies: Sequence[float]) -> int: ...
    def hold(self, out: int, x: int) -> None:
        """A stage that computes x and holds it in the buffer `out`."""

    def products(self, x: int, products: list[tuple[Weight, F32 | None, int, bool]]) -> None:
        """Products that share x: weight, bias, out, and whether to add to what out holds."""

    def gated_products(
        self, x: int, gate: tuple[Weight, F32 | None, int, bool], up: tuple[Weight, F32 | None, int, bool]
    ) -> int:
        """The products of a gate and of what it gates, whose outputs nothing else may read; gives the rows of SwiGLU.

        Many rows are gated as they are multiplied, where the kernels can; few where the result is read.
        """

    def attention(
        self,
        out: int,
        q: int,
        k: int,
        v: int,
        rotations: int,
        *,
        layer: int,
        heads: int,
        scale: float,
        rope: str,
    ) -> None: ...
    def bidirectional_attention(self, out: int, q: int, k: int, v: int, *, heads: int, scale: float) -> None: ...
    def reserve(self, rows: int, selected: int) -> None:
        """Take the memory that a step of this many rows and selected rows needs."""

    def run(self, *, tokens: I32, positions: I32, first_row: I32, first_page: I32, pages: I32, selected: I32) -> None:
        """One step; the arrays are those of `Step` in csrc/plan.h. ValueError where they contradict each other."""

    def time(
        self, *, tokens: I32, positions: I32, first_row: I32, first_page: I32, pages: I32, selected: I32
    ) -> list[StageTime]:
        """As `run`, and tells what each stage took."""

    def rows(self, buffer: int, count: int) -> F32:
        """A copy of a buffer's first rows, [count, width]."""

    def draw(self, buffer: int, samplers: Sequence[Sampler], guesses: Sequence[Sequence[int]]) -> list[list[Draw]]:
        """Tokens from the first rows, of which each sampler has one and one more for each of its guesses: a draw from
        its first row, and from a next one for as long as the draw is equal to the guess. ValueError where a row
        holds no finite logit."""

    def score(self, buffer: int, first: int, tokens: Sequence[Sequence[int]]) -> list[list[float]]:
        """Natural log-probabilities of tokens by rows of logits, from row `first` on: of each row those of the tokens
        asked for there. ValueError for a token outside the vocabulary, and where a row's logits are not numbers."""

    @property
    def nbytes(self) -> int:
        """Of all buffers and work space, as large as the largest step so far needed them."""

# ---- sampling -------------------------------------------------------------------------------------

class Draw:
    """A drawn token; logprob and top (likeliest first) only where the sampler reports them."""

    @property
    def token(self) -> int: ...
    @property
    def logprob(self) -> float: ...
    @property
    def top(self) -> list[tuple[int, float]]: ...

class Sampler:
    """One request's sampler; its n-th draw depends on logits, its own tokens, seed and n alone."""

    def __init__(
        self,
        prompt: Sequence[int],
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        seed: int = 0,
        logprobs: int = -1,
        min_tokens: int = 0,
        stop_tokens: Sequence[int] = (),
        logit_bias: Sequence[tuple[int, float]] = (),
    ) -> None: ...
