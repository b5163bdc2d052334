"""The arithmetic: the C++ extension behind typed names, its references in NumPy, and the CPU's runner."""

from fairlead.kernels._native import (
    PAGE_TOKENS,
    ThreadPool,
    arithmetic_units,
    instruction_set,
    instruction_sets,
    measure_peak,
    measure_read_bandwidth,
    packed_bytes,
    product_unit,
    set_instruction_set,
    vector_unit,
)

__all__ = [
    "PAGE_TOKENS",
    "ThreadPool",
    "arithmetic_units",
    "instruction_set",
    "instruction_sets",
    "measure_peak",
    "measure_read_bandwidth",
    "packed_bytes",
    "product_unit",
    "set_instruction_set",
    "vector_unit",
]
