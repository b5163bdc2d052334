"""Qwen2 and Qwen2.5 (Yang et al., 2024): Llama's network with biases on queries, keys and values.

Its rotary embedding turns the two halves of each head against each other.
"""

from __future__ import annotations

from fairlead.gguf.model_file import ModelFile
from fairlead.models.llama import gated_decoder
from fairlead.models.plan import Plan


def record(file: ModelFile) -> Plan:
    """The plan of a `qwen2` file."""
    return gated_decoder(file, rope="halves", qkv_bias=True)
