"""What the engine sees of a model that turns texts into vectors. `kernels/native_encoder.py` is the one for the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class Vectors(Protocol):
    """Rows of 32-bit floats, [texts, width]; a NumPy array is one."""

    def tobytes(self) -> bytes:
        """All of them, one row behind the other, little end first."""


@runtime_checkable
class Encoder(Protocol):
    """A loaded model on some hardware."""

    @property
    def context_length(self) -> int:
        """Most tokens of a text."""

    @property
    def max_batch_tokens(self) -> int:
        """Most tokens that one `encode` computes; no fewer than `context_length`."""

    @property
    def vocab_size(self) -> int:
        """Token ids are below this."""

    @property
    def width(self) -> int:
        """Numbers of a vector."""

    def encode(self, texts: Sequence[Sequence[int]]) -> Vectors:
        """The vector of each text, of length 1. A vector depends on its own text alone."""
