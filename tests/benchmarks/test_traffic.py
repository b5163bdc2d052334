"""Traces: what is written is read again, and what is wrong is named with its line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.simulation.machine import Machine
from benchmarks.simulation.traffic import TRAFFIC, read_trace, written


@pytest.mark.parametrize("kind", TRAFFIC)
def test_a_trace_is_read_as_it_was_written(kind: str, tmp_path: Path) -> None:
    trace = TRAFFIC[kind](random.Random(0), 60.0)
    file = tmp_path / "trace.jsonl"
    file.write_text("".join(f"{line}\n" for line in written(trace)))
    assert read_trace(file) == trace
    assert all(ask.after is None or ask.after < place for place, ask in enumerate(trace))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"user": "ann"}', "prompt_tokens"),
        ('{"user": "ann", "prompt_tokens": 0, "answer_tokens": 1}', "1 or more"),
        ('{"user": "ann", "prompt_tokens": 5, "answer_tokens": 1, "prefix": "a", "prefix_tokens": 6}', "prefix_tokens"),
        ('{"user": "ann", "prompt_tokens": 5, "answer_tokens": 1, "after": 1}', "no earlier line"),
        ('{"user": "ann", "prompt_tokens": 5, "answer_tokens": 1, "at": "noon"}', "at"),
        ('{"user": "ann", "prompt_tokens": 5, "answer_tokens": 1, "colour": "red"}', "colour"),
        ("", "empty"),
        ("[", "line 1"),
    ],
)
def test_a_wrong_line_is_named(line: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text('{"user": "ann", "prompt_tokens": 5, "answer_tokens": 1}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"trace\.jsonl, line 1") as found:
        read_trace(file)
    assert problem in str(found.value)


def test_a_machine_costs_what_lies_between_its_knots() -> None:
    machine = Machine(name="test", rows=[(1, 1.0), (3, 2.0), (5, 6.0)], head_s=0, sampled_s=0, context_s=0, pair_s=0)
    assert [machine.layers_s(rows) for rows in (1, 2, 3, 4, 5, 6)] == [1.0, 1.5, 2.0, 4.0, 6.0, 8.0]
    with pytest.raises(ValueError, match="rows"):
        Machine(name="test", rows=[(2, 1.0), (3, 2.0)], head_s=0, sampled_s=0, context_s=0, pair_s=0)
