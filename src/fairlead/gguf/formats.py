"""The weight formats of a GGUF file that Fairlead knows: their numbers and the sizes of their blocks.

Knows nothing of the layout inside a block (that is `quants`) nor of files (that is `reader`).
"""

from __future__ import annotations

import enum


class Format(enum.IntEnum):
    """How a tensor's weights are stored; the value is GGML's number for the type.

    A tensor is a run of blocks of consecutive weights. A block never crosses a row: the number of inputs is
    a multiple of `block`.
    """

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    BF16 = 30

    @property
    def block(self) -> int:
        """Weights in a block."""
        return _BLOCKS[self][0]

    @property
    def block_bytes(self) -> int:
        """Bytes of a block."""
        return _BLOCKS[self][1]

    def bytes_for(self, elements: int) -> int:
        """Bytes that this many weights take; ValueError where they are no whole number of blocks."""
        if elements < 0 or elements % self.block:
            raise ValueError(f"{elements} weights are not whole blocks of {self.block} of {self.name}")
        return elements // self.block * self.block_bytes


_BLOCKS = {  # weights, bytes
    Format.F32: (1, 4),
    Format.F16: (1, 2),
    Format.Q4_0: (32, 18),
    Format.Q4_1: (32, 20),
    Format.Q5_0: (32, 22),
    Format.Q5_1: (32, 24),
    Format.Q8_0: (32, 34),
    Format.Q4_K: (256, 144),
    Format.Q5_K: (256, 176),
    Format.Q6_K: (256, 210),
    Format.BF16: (1, 2),
}
