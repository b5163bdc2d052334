"""Machines to simulate: some that were measured, and one for each way in which machines differ."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.simulation.machine import Machine

SMALL = Machine(
    name="small",
    rows=[
        (1, 0.00186),
        (2, 0.00205),
        (4, 0.0025),
        (8, 0.00341),
        (16, 0.00639),
        (32, 0.0121),
        (64, 0.0228),
        (128, 0.0455),
        (256, 0.0903),
        (512, 0.18),
    ],
    head_s=0.000813,
    sampled_s=0.000138,
    context_s=1.24e-06,
    pair_s=2.24e-07,
)
"""SmolLM2-135M in Q4_1 on two cores of Zen 5 (AVX-512 VNNI), measured by `benchmarks/steps.py`."""

ARITHMETIC = Machine(
    name="arithmetic",
    rows=[
        (1, 0.0148),
        (2, 0.0148),
        (4, 0.0177),
        (8, 0.0272),
        (16, 0.0485),
        (32, 0.0925),
        (64, 0.181),
        (128, 0.362),
        (256, 0.732),
        (512, 1.47),
    ],
    head_s=0.0024,
    sampled_s=0.00121,
    context_s=4.69e-07,
    pair_s=5.37e-07,
)
"""TinyLlama-1.1B's shape in Q4_K_M on the same cores, measured likewise: bound by arithmetic from 4 rows on."""

MEMORY = Machine(
    name="memory",
    rows=[(1, 0.025), (8, 0.027), (16, 0.042), (32, 0.062), (64, 0.092), (128, 0.165), (256, 0.31), (512, 0.6)],
    head_s=0.002,
    sampled_s=0.0002,
    context_s=6e-07,
    pair_s=1e-07,
)
"""TinyLlama-1.1B's shape on two cores with tiles (AMX), as docs/performance.md has it: 36 tokens/s in one stream,
339 in sixteen, 796 of prefill. Few rows are bound by memory, many by arithmetic."""

VOCABULARY = Machine(
    name="vocabulary",
    rows=[(1, 0.006), (8, 0.009), (16, 0.015), (32, 0.026), (128, 0.095), (512, 0.37)],
    head_s=0.006,
    sampled_s=0.0035,
    context_s=3e-07,
    pair_s=1.5e-07,
)
"""A small model with 152 thousand tokens in its vocabulary: drawing a token costs as much as reading ten."""

SLOW = Machine(
    name="slow",
    rows=[(1, 0.17), (8, 0.21), (16, 0.36), (32, 0.65), (128, 2.3), (512, 9.0)],
    head_s=0.01,
    sampled_s=0.004,
    context_s=1.6e-06,
    pair_s=4e-07,
)
"""Llama-3.1-8B's shape on two cores: 5.5 tokens/s in one stream, some 55 of prefill."""

MACHINES: Mapping[str, Machine] = {machine.name: machine for machine in (SMALL, ARITHMETIC, MEMORY, VOCABULARY, SLOW)}
