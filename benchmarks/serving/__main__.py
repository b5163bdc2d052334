"""Measures over HTTP what several people get who use a model at once, beside llama.cpp's server in the same run.

    python -m benchmarks.serving MODEL.gguf                      all scenarios
    python -m benchmarks.serving MODEL.gguf prompts flood --no-peer --json serving.json

Each server is started for each scenario as a user would start it, and each figure with a target says whether it is met.
llama.cpp comes as the wheel `xllamacpp`; where that is not installed, it is left out. Exits with 1 where a target is
missed or a scenario fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import psutil

from benchmarks.serving import leaving, own_costs, quoting, shared_time
from benchmarks.serving.findings import Finding, Outcome, as_json, table
from benchmarks.serving.servers import LLAMA_SERVER, Server, fairlead, llama_server, peer_is_here
from benchmarks.serving.turns import Setup

OnServer = Callable[[Server, random.Random], Awaitable[list[Finding]]]

SHARED: Mapping[str, OnServer] = {
    "prompts": shared_time.prompts_beside_streams,
    "prefix": shared_time.one_system_prompt,
    "flood": shared_time.light_beside_flood,
}
"""Measured on any server."""
GONE = "gone"
OWN: Mapping[str, Callable[[Setup], Awaitable[list[Finding]]]] = {
    "fairness": own_costs.throughput_of_fairness,
    "cache": own_costs.nothing_shared,
    "http": own_costs.cost_of_http,
    "python": own_costs.python_of_a_step,
    "lookup": quoting.quoting,
}
"""Measured between two ways of running Fairlead."""
SCENARIOS = [*SHARED, GONE, *OWN]


async def measure(scenario: str, options: argparse.Namespace) -> list[Outcome]:
    """One scenario on each server that it is for."""
    setup = Setup(options.model, options.threads, options.seconds)
    if scenario in OWN:
        return [await _timed(scenario, "fairlead", lambda: OWN[scenario](setup), options.limit)]

    async def ours() -> list[Finding]:
        run = leaving.client_gone if scenario == GONE else SHARED[scenario]
        async with fairlead(options.model, options.threads, dict(options.set)) as server:
            return await run(server, random.Random(options.seed))

    async def theirs() -> list[Finding]:
        async with llama_server(options.model, options.threads) as server:
            return await SHARED[scenario](server, random.Random(options.seed))

    outcomes = [await _timed(scenario, "fairlead", ours, options.limit)]
    if scenario in SHARED and options.peer:
        outcomes.append(await _timed(scenario, LLAMA_SERVER, theirs, options.limit))
    return outcomes


async def _timed(scenario: str, server: str, run: Callable[[], Awaitable[list[Finding]]], limit_s: float) -> Outcome:
    """What a scenario found, or why it found nothing."""
    outcome = Outcome(scenario, server)
    began = time.monotonic()
    try:
        async with asyncio.timeout(limit_s):
            outcome.findings = await run()
    except TimeoutError:
        outcome.error = f"not done within {limit_s:g} s"
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        outcome.error = f"{type(error).__name__}: {error}"
    outcome.seconds = time.monotonic() - began
    return outcome


def _setting(text: str) -> tuple[str, bool | str | float]:
    """A key and its value, as TOML has them."""
    try:
        ((key, value),) = tomllib.loads(text).items()
    except ValueError as error:  # among them tomllib's own
        raise argparse.ArgumentTypeError(f"{text!r} is no KEY=VALUE: {error}") from None
    if not isinstance(value, bool | str | int | float):
        raise argparse.ArgumentTypeError(f"{key} must be true, false, a text or a number")
    return key, value


def main() -> None:
    """Prints a table, and writes JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; all, unless named"
    )
    parser.add_argument("--threads", type=int, default=len(psutil.Process().cpu_affinity()))
    parser.add_argument("--no-peer", dest="peer", action="store_false", help="leave llama.cpp out")
    parser.add_argument("--seconds", type=float, default=20.0, help="of taking turns, where two ways are compared")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that a scenario may take on a server")
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of [scheduling], as lookup=false, where Fairlead is measured by itself or beside its peer",
    )
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(SCENARIOS):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    if options.peer and not peer_is_here():
        print("llama.cpp is left out: the wheel xllamacpp is not installed", file=sys.stderr)
        options.peer = False
    load_average = os.getloadavg()[0]
    outcomes = [
        outcome for scenario in options.scenarios or SCENARIOS for outcome in asyncio.run(measure(scenario, options))
    ]
    print(f"{options.model.name}, {options.threads} threads, load average {load_average:.2f} before")
    print(table(outcomes, "fairlead"))
    if options.json is not None:
        about = {"model": options.model.name, "threads": options.threads, "load_average": round(load_average, 2)}
        options.json.write_text(json.dumps({**about, "outcomes": as_json(outcomes)}, indent=1) + "\n")
    missed = any(finding.met is False for outcome in outcomes for finding in outcome.findings)
    sys.exit(1 if missed or any(outcome.error for outcome in outcomes) else 0)


if __name__ == "__main__":
    main()
