"""Blocks of every format for tests: random bytes, with scales that a model could have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead.kernels import reference

SCALES_AT = {
    "q4_0": (0,),
    "q4_1": (0, 2),
    "q5_0": (0,),
    "q5_1": (0, 2),
    "q8_0": (0,),
    "q4_K": (0, 2),
    "q5_K": (0, 2),
    "q6_K": (208,),
}
"""Where the blocks of a format hold fp16 numbers."""


def random_blocks(number: int, outputs: int, inputs: int, *, seed: int, largest: float = 0.01) -> NDArray[np.uint8]:
    """Random codes, with scales and offsets of either sign up to `largest`; some subnormal, some zero."""
    generator = np.random.default_rng(seed)
    form = reference.FORMATS[number]
    count = outputs * inputs // form.block
    if form.block == 1:
        values = (generator.standard_normal(count) * largest).astype(np.float32)
        if form.name == "f16":
            return values.astype(np.float16).view(np.uint8)
        if form.name == "bf16":
            return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        return values.view(np.uint8)
    blocks = generator.integers(0, 256, (count, form.block_bytes), dtype=np.uint8)
    for at in SCALES_AT[form.name]:
        scales = generator.uniform(-largest, largest, count) * generator.choice(
            [1, 1e-4, 0], count, p=[0.9, 0.05, 0.05]
        )
        blocks[:, at : at + 2] = scales.astype(np.float16)[:, None].view(np.uint8)
    return blocks.reshape(-1)
