"""Plays a trace of requests through the real scheduler on a simulated machine, and tells what each user would feel.

    python -m benchmarks.simulate trace.jsonl --machine small
    python -m benchmarks.simulate --traffic flood --seconds 120 --policy fair fcfs
    python -m benchmarks.simulate --traffic chats --write trace.jsonl

A trace is described in `benchmarks/simulation/traffic.py`; `--traffic` invents one. The machine is a preset or a file
that `benchmarks/steps.py` wrote. Times are virtual: an hour of traffic takes seconds.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

import msgspec

from benchmarks.simulation.felt import Felt, Report, Spread, report
from benchmarks.simulation.machine import Machine
from benchmarks.simulation.presets import MACHINES
from benchmarks.simulation.simulation import Simulation
from benchmarks.simulation.traffic import TRAFFIC, Trace, read_trace, written
from fairlead.engine.messages import Scheduling

PAGE_SIZE = 32
MOST_USERS = 12
"""Told one by one; where there are more, those whose slowest first tokens were slowest."""


def simulated(trace: Trace, machine: Machine, options: argparse.Namespace) -> dict[str, Report]:
    """What the trace comes to under each policy."""
    reports = {}
    for policy in options.policy:
        scheduling = Scheduling(
            policy=policy,
            step_budget_s=None if options.budget_ms is None else options.budget_ms / 1e3,
            max_running=options.max_running,
            prefix_cache=not options.no_prefix_cache,
            lookup=not options.no_lookup,
        )
        simulation = Simulation(
            trace,
            machine,
            scheduling,
            page_count=-(-options.kv_tokens // PAGE_SIZE),
            page_size=PAGE_SIZE,
            context_length=options.context_length,
            max_batch_tokens=options.max_batch_tokens,
            seed=options.seed,
        )
        began = time.perf_counter()
        reports[policy] = report(simulation.run(options.until))
        spent = time.perf_counter() - began
        print(f"{policy}: {len(trace)} requests played in {spent:.2f} s", file=sys.stderr)
    return reports


def table(reports: dict[str, Report]) -> str:
    """For people: what the machine did, and what each user felt, the policies below each other."""
    lines = [_row("", "requests", "first token ms", "gap ms", "waited ms", "tokens/s", "cached", "service", "ends")]
    lines.append(_row("", "", "p50/p99/max", "p50/p99/max", "p50/max", "median", "", "share", ""))
    users = list(next(iter(reports.values())).users)
    slowest = {
        user: max(_slowest(each.users[user]) for each in reports.values() if user in each.users) for user in users
    }
    told = sorted(sorted(users, key=lambda user: slowest[user], reverse=True)[:MOST_USERS])
    for policy, found in reports.items():
        lines.append(_felt_row(f"everyone, {policy}", found.everyone))
    for user in told:
        lines += [_felt_row(f"{user}, {policy}", found.users[user]) for policy, found in reports.items()]
    if len(users) > len(told):
        lines.append(f"and {len(users) - len(told)} more users, who waited less")
    for policy, found in reports.items():
        overall = found.overall
        lines += [
            "",
            f"{policy}: {overall.seconds:.1f} s, busy {overall.busy:.0%}, {overall.answer_tokens_per_s:.1f} tokens/s "
            f"of answers, work {overall.work_per_s:.0f}/s",
            f"    {overall.steps} steps of {overall.rows:.1f} rows, {_spread(overall.step_s)} ms; "
            f"{overall.over_budget:.1%} over 1.2 times their budget",
            f"    {overall.computed_tokens} tokens computed, {overall.prompt_tokens} of prompts arrived, "
            f"{overall.cached_tokens} found computed; {overall.preemptions} preemptions; "
            f"{overall.accepted_tokens} of {overall.drafted_tokens} guesses right",
        ]
    return "\n".join(lines)


def _felt_row(name: str, felt: Felt) -> str:
    rate = "-" if felt.tokens_per_s is None else f"{felt.tokens_per_s:.1f}"
    waited = "-" if felt.queue_s is None else f"{felt.queue_s.p50 * 1e3:.0f}/{felt.queue_s.max * 1e3:.0f}"
    ends = " ".join(f"{count} {reason}" for reason, count in felt.ends.items())
    return _row(
        name,
        str(felt.requests),
        _spread(felt.ttft_s),
        _spread(felt.gap_s),
        waited,
        rate,
        f"{felt.cached:.0%}",
        f"{felt.service:.0%}",
        ends,
    )


def _row(name: str, *cells: str) -> str:
    widths = (9, 18, 18, 14, 10, 8, 9)
    told = "".join(f"{cell:>{width}}" for cell, width in zip(cells[:-1], widths, strict=True))
    return f"{name:<22}{told}  {cells[-1]}"


def _spread(spread: Spread | None) -> str:
    return "-" if spread is None else "/".join(f"{value * 1e3:.0f}" for value in (spread.p50, spread.p99, spread.max))


def _slowest(felt: Felt) -> float:
    return 0.0 if felt.ttft_s is None else felt.ttft_s.max


def machine_of(name: str) -> Machine:
    """A preset, or what a file describes."""
    if name in MACHINES:
        return MACHINES[name]
    try:
        return msgspec.json.decode(Path(name).read_bytes(), type=Machine)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"neither a preset ({', '.join(MACHINES)}) nor a file: {error}") from None
    except msgspec.MsgspecError as error:
        raise argparse.ArgumentTypeError(f"{name}: {error}") from None


def trace_of(options: argparse.Namespace) -> Trace:
    """The trace of a file, or an invented one."""
    if options.trace is not None:
        return read_trace(options.trace)
    return TRAFFIC[options.traffic](random.Random(options.seed), options.seconds)


def main() -> None:
    """Prints a table, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("trace", type=Path, nargs="?")
    source.add_argument("--traffic", choices=TRAFFIC, help="invent a trace of this kind")
    parser.add_argument("--seconds", type=float, default=60.0, help="of invented traffic")
    parser.add_argument("--write", type=Path, help="write the trace here and play nothing")
    parser.add_argument("--machine", type=machine_of, default="small", help=f"{', '.join(MACHINES)}, or a file")
    parser.add_argument("--policy", nargs="+", choices=["fair", "fcfs"], default=["fair", "fcfs"])
    parser.add_argument("--kv-tokens", type=int, default=65_536)
    parser.add_argument("--context-length", type=int, default=8192)
    parser.add_argument("--max-batch-tokens", type=int, default=512)
    parser.add_argument("--max-running", type=int, default=Scheduling().max_running)
    parser.add_argument("--budget-ms", type=float, help="the gap that running answers may feel")
    parser.add_argument("--no-prefix-cache", action="store_true")
    parser.add_argument("--no-lookup", action="store_true")
    parser.add_argument("--until", type=float, default=float("inf"), help="virtual seconds; the rest stays unfinished")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        trace = trace_of(options)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if options.write is not None:
        options.write.write_text("".join(f"{line}\n" for line in written(trace)))
        return
    reports = simulated(trace, options.machine, options)
    print(msgspec.json.format(msgspec.json.encode(reports)).decode() if options.json else table(reports))


if __name__ == "__main__":
    main()
