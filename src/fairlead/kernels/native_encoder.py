"""The encoder for the CPU: a model file's weights packed, its plan lowered, texts turned into vectors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead.errors import ModelFileError
from fairlead.gguf.formats import Format
from fairlead.gguf.model_file import ModelFile
from fairlead.kernels import _native
from fairlead.kernels.lowering import lower
from fairlead.kernels.packing import FileWeights, ReportProgress, as_stored
from fairlead.models import describe, record

_LEAST_ROWS = 16
"""Few rows are multiplied in another way than many, to other last bits. A shorter step is filled up to this many, so
that a text has the same vector whoever it is computed with."""


def in_bf16(stored: Format) -> Format:
    """Products of float weights rounded to bf16.

    Matrix tiles take them so, and it costs less than a ten-thousandth of cosine (docs/accuracy.md).
    """
    return Format.BF16 if stored in (Format.F32, Format.F16) else stored


class NativeEncoder:
    """A model on the CPU; implements `engine.encoder.Encoder`.

    The file may be closed once this is made: nothing of it stays mapped.

    Args:
        file: of an encoder.
        threads: that compute.
        max_batch_tokens: most that one call computes; at least the longest text's.
        progress: hears how many of the file's bytes are packed.
        exact: whether float weights stay as they are, which is slow; for tests.
    """

    def __init__(
        self,
        file: ModelFile,
        *,
        threads: int,
        max_batch_tokens: int = 512,
        progress: ReportProgress | None = None,
        exact: bool = False,
    ) -> None:
        plan, description = record(file), describe(file)
        if plan.kv is not None:
            raise ModelFileError(f"{file.file_name} is no encoder")
        self.context_length = description.context_length
        self.max_batch_tokens = max(max_batch_tokens, self.context_length)
        self.vocab_size = description.vocabulary
        self.width = plan.output.width
        self._pool = _native.ThreadPool(threads)
        self._plan = _native.Plan(self._pool, None)
        weights = FileWeights(file, self._pool, progress, as_stored if exact else in_bf16)
        self._output, self._held = lower(plan, self._plan, weights)
        self._plan.reserve(self.max_batch_tokens, 1)

    @property
    def weight_bytes(self) -> int:
        """Of weights and tables."""
        return sum(held.nbytes for held in {id(held): held for held in self._held}.values())

    @property
    def work_bytes(self) -> int:
        """Of activations and scratch, as large as the largest step so far needed them."""
        return self._plan.nbytes

    def encode(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """The texts' vectors, [texts, width], each of length 1. Nothing is padded: texts lie one behind the other."""
        lengths = [len(text) for text in texts]
        tokens = list(itertools.chain.from_iterable(texts))
        if len(tokens) < _LEAST_ROWS:
            lengths.append(_LEAST_ROWS - len(tokens))
            tokens += [0] * lengths[-1]
        first_row = np.zeros(len(lengths) + 1, np.int32)
        np.cumsum(lengths, out=first_row[1:])
        self._plan.run(
            tokens=np.array(tokens, np.int32),
            positions=np.arange(len(tokens), dtype=np.int32) - np.repeat(first_row[:-1], lengths),
            first_row=first_row,
            first_page=np.zeros_like(first_row),
            pages=np.empty(0, np.int32),
            selected=first_row[:-1],
        )
        return self._plan.rows(self._output, len(texts))
