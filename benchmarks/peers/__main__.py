"""Times other engines and Fairlead on the same file, with the same threads, one after another in one run.

    python -m benchmarks.peers MODEL.gguf --threads 2 --openvino-python PATH/TO/ENVIRONMENT/bin/python

llama.cpp comes as the wheel `xllamacpp`, which is built for AVX2. OpenVINO GenAI (`pip install openvino-genai`) may
live in an environment of its own, whose Python is named. Each engine runs in a process of its own, with its defaults
but for the threads, and has --limit seconds; Fairlead runs once more with activations of 8 bits, as both others have.
Prints a table of tokens/s and of how many times as fast Fairlead is, or JSON; says which engines are missing or failed,
and why.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.job import Job, encoded
from fairlead.cli.terminal import note, table
from fairlead.gguf.reader import GGUFFile
from fairlead.models import describe

ROOT = Path(__file__).parent.parent.parent
OURS = "fairlead"
OURS_IN_BYTES = "fairlead_q8"


@dataclass(frozen=True)
class Outcome:
    """An engine's rates by the names of the works, or why there are none."""

    tokens_per_s: Mapping[str, float]
    missing: str | None = None


def outcome_of(engine: str, python: str, job: Job, limit_s: float) -> Outcome:
    """Have an engine do the job in a process of its own."""
    command = [python, "-m", f"benchmarks.peers.{engine}", encoded(job)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=False)
    except OSError as error:
        return Outcome({}, f"{python} cannot be run: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Outcome({}, f"it was not done after {limit_s:.0f} s")
    if done.returncode != 0:
        return Outcome({}, f"it failed: {_last_line(done.stderr) or f'status {done.returncode}'}")
    return Outcome(**{"tokens_per_s": {}, **json.loads(_last_line(done.stdout))})


def ratios(outcomes: Mapping[str, Outcome], works: Sequence[str]) -> dict[str, dict[str, float]]:
    """How many times as fast as each other engine Fairlead is: by engine, then by work."""
    ours = outcomes[OURS].tokens_per_s
    return {
        engine: {work: ours[work] / outcome.tokens_per_s[work] for work in works}
        for engine, outcome in outcomes.items()
        if engine != OURS and outcome.tokens_per_s and ours
    }


def print_table(outcomes: Mapping[str, Outcome], works: Sequence[str]) -> None:
    """A line for each work; each engine's tokens/s, the others' with the ratio behind."""
    found = ratios(outcomes, works)
    there = [engine for engine, outcome in outcomes.items() if outcome.tokens_per_s]

    def cell(engine: str, work: str) -> str:
        rate = f"{outcomes[engine].tokens_per_s[work]:,.1f}"
        return f"{rate}  x {found[engine][work]:.2f}" if engine in found else rate

    table([["TOKENS/S", *there], *([work, *(cell(engine, work) for engine in there)] for work in works)])


def main() -> None:
    """Print a table or one JSON object; exits with 1 where Fairlead itself has no figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--answer", type=int, default=64, help="tokens of each stream")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for each engine")
    parser.add_argument("--openvino-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with GGUFFile.open(options.model) as file:
        vocabulary = describe(file).vocabulary
    job = Job(
        model=str(options.model.absolute()),
        threads=options.threads,
        vocabulary=vocabulary,
        prompt=options.prompt,
        streams=tuple(options.streams),
        answer=options.answer,
    )
    outcomes: dict[str, Outcome] = {}
    for engine, python in {
        "llama_cpp": sys.executable,
        "openvino": options.openvino_python,
        OURS: sys.executable,
        OURS_IN_BYTES: sys.executable,
    }.items():
        note(f"timing {engine}")
        outcomes[engine] = outcome_of(engine, python, job, options.limit)
        if reason := outcomes[engine].missing:
            note(f"{engine} is left out: {reason}")
    if options.json:
        report = {
            "model": options.model.name,
            "threads": options.threads,
            "tokens_per_s": {engine: outcome.tokens_per_s for engine, outcome in outcomes.items()},
            "fairlead_over": ratios(outcomes, job.works),
            "missing": {engine: outcome.missing for engine, outcome in outcomes.items() if outcome.missing},
        }
        print(json.dumps(report, indent=1))
    else:
        print_table(outcomes, job.works)
    sys.exit(0 if outcomes[OURS].tokens_per_s else 1)


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


if __name__ == "__main__":
    main()
