from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fairlead.bench import machine
from fairlead.kernels import arithmetic_units, instruction_sets, set_instruction_set
from tests import tiny_models
from tests.cli.conftest import Fairlead

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
SHORT = ("--prompt=64", "--batch=1", "--batch=2", "--context=48", "--seconds=0.05", "--threads=1")


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "tiny.gguf"
    tiny_models.make(path, "llama-tied")
    return str(path)


def paths(value: object, at: str = "") -> set[str]:
    """The keys of JSON: `a.b`, and `a[].b` within arrays; what is named by the machine alone is left out."""
    if isinstance(value, dict):
        if at.endswith(("operations_per_s", "multiply_adds")):
            return {at}
        return {path for key, inner in value.items() for path in paths(inner, f"{at}.{key}" if at else key)}
    if isinstance(value, list):
        return {path for inner in value for path in paths(inner, f"{at}[]")} or {at}
    return {at}


def test_json_has_the_keys_that_are_told_of(fairlead: Fairlead, model: str) -> None:
    done = fairlead("bench", model, "--json", *SHORT)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    section = OPERATIONS[OPERATIONS.index("fairlead bench --json") :]
    told = set(re.findall(r"^\| `([a-z_.\[\]]+)` \|", section[: section.index("\n## ")], re.MULTILINE))
    assert paths(found) == told
    assert found["model"]["name"] == "Tiny llama-tied"
    assert list(found["machine"]["operations_per_s"]) == arithmetic_units()
    assert [figure["batch"] for figure in found["decode"]] == [1, 2]
    assert all(figure["memory_share"] > 0 for figure in (*found["prefill"], *found["decode"]))
    assert "prompt of 64" in done.stderr


def test_the_table_names_every_figure(fairlead: Fairlead, model: str) -> None:
    done = fairlead("bench", model, *SHORT)
    assert done.exit_code == 0, done.stderr
    for line in ("MACHINE", "memory", "portable_fp32", "prompt of 64", "batch of 2, context 48", "load"):
        assert re.search(rf"^{line} +\S", done.stdout, re.MULTILINE), line
    assert "MB resident" in done.stdout


def test_another_instruction_set_can_be_asked_for(fairlead: Fairlead, model: str) -> None:
    try:
        asked = ("--isa=portable", "--activations=q8", "--kv-type=f32")
        found = json.loads(fairlead("bench", model, "--json", *asked, *SHORT).stdout)
    finally:
        set_instruction_set(instruction_sets()[-1])
    assert (found["instruction_set"], found["activations"], found["kv_type"]) == ("portable", "q8", "f32")
    assert set(found["prefill"][0]["multiply_adds"]) == {"portable_fp32"}


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--isa=mmx"], 2, "'mmx' is no instruction set"),
        (["--context=600"], 1, "is made for 512 tokens"),
        (["--kv-type=f8"], 2, "--kv-type"),
        (["--prompt=0"], 2, "--prompt"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    fairlead: Fairlead, model: str, arguments: list[str], status: int, sentence: str
) -> None:
    done = fairlead("bench", model, *SHORT, *arguments)
    assert done.exit_code == status
    assert sentence in done.stderr
    assert (done.stdout, "memory, one thread" in done.stderr) == ("", False)  # it did not begin


def test_ctrl_c_ends_it(fairlead: Fairlead, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "measure_peak", interrupted)
    assert fairlead("bench", model, *SHORT).exit_code == 130
