"""The comparison with other engines: what it makes of rates, and Fairlead's own part of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers.__main__ import ROOT, Outcome, outcome_of, ratios
from benchmarks.peers.job import Job, Prompts, encoded, rates
from tests import tiny_models


@pytest.fixture
def job(tmp_path: Path) -> Job:
    path = tmp_path / "tiny.gguf"
    tiny_models.make(path, "llama")
    return Job(str(path), threads=1, vocabulary=300, prompt=64, streams=(1, 3), answer=5, rounds=1)


def test_a_rate_is_counted_over_the_same_work(job: Job) -> None:
    asked: list[tuple[list[int], int]] = []

    def answer(prompts: Prompts, tokens: int) -> None:
        asked.append(([len(prompt) for prompt in prompts], tokens))
        assert all(0 <= token < 300 for prompt in prompts for token in prompt)

    found = rates(job, answer)
    assert list(found) == job.works == ["prompt of 64", "1 stream", "3 streams"]
    assert asked == [([64], 1)] * 2 + [([8], 5)] * 2 + [([8, 8, 8], 5)] * 2


def test_ratios_are_fairlead_over_the_others() -> None:
    outcomes = {"slow": Outcome({"x": 2.0}), "gone": Outcome({}, "no"), "fairlead": Outcome({"x": 5.0})}
    assert ratios(outcomes, ["x"]) == {"slow": {"x": 2.5}}


def test_fairlead_does_the_job_in_a_process_of_its_own(job: Job) -> None:
    found = outcome_of("fairlead", sys.executable, job, limit_s=60)
    assert found.missing is None
    assert all(rate > 0 for rate in found.tokens_per_s.values())


def test_what_is_not_there_or_does_not_work_is_told(job: Job) -> None:
    assert outcome_of("fairlead", "/no/such/python", job, 60).missing == (
        "/no/such/python cannot be run: No such file or directory"
    )
    broken = outcome_of("fairlead", sys.executable, Job("/no/such.gguf", threads=1, vocabulary=9), 60).missing
    assert broken is not None
    assert broken.startswith("it failed: ")
    assert outcome_of("fairlead", sys.executable, job, 0.01).missing == "it was not done after 0 s"


def test_a_package_that_is_missing_is_named(job: Job) -> None:
    """With an interpreter that sees nothing but the standard library."""
    command = [sys.executable, "-S", "-m", "benchmarks.peers.openvino", encoded(job)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"missing": "No module named 'numpy'"}
