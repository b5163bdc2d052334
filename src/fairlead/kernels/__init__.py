"""The arithmetic: the C++ extension behind typed names, its references in NumPy, and the CPU's runner."""

from fairlead.kernels._native import (
    PAGE_TOKENS,
    instruction_set,
    instruction_sets,
    packed_bytes,
    set_instruction_set,
)

__all__ = ["PAGE_TOKENS", "instruction_set", "instruction_sets", "packed_bytes", "set_instruction_set"]
