"""What a scenario found, what it should have found, and a table of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure; with a limit, one that somebody is promised."""

    what: str
    value: float
    unit: str = ""
    limit: float | None = None
    at_least: bool = False
    """Whether the limit is a least value and not a most one."""

    @property
    def met(self) -> bool | None:
        """Whether the promise is kept; None where there is none."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(slots=True)
class Outcome:
    """Of one scenario on one server."""

    scenario: str
    server: str
    findings: Sequence[Finding] = ()
    seconds: float = 0.0
    error: str | None = None
    notes: list[str] = field(default_factory=list)


def as_json(outcomes: Sequence[Outcome]) -> list[Mapping[str, object]]:
    """Plain values, with the verdicts."""
    return [
        {**asdict(outcome), "findings": [{**asdict(finding), "met": finding.met} for finding in outcome.findings]}
        for outcome in outcomes
    ]


def table(outcomes: Sequence[Outcome], own: str) -> str:
    """The figures of the server `own` with their limits, and beside them those of others in the same run."""
    others = sorted({outcome.server for outcome in outcomes} - {own})
    lines = [_row("", own, "target", "", *others), ""]
    for scenario in dict.fromkeys(outcome.scenario for outcome in outcomes):
        found = {outcome.server: outcome for outcome in outcomes if outcome.scenario == scenario}
        times = ", ".join(f"{outcome.seconds:.0f} s" for outcome in found.values())
        lines.append(f"{scenario} ({times})")
        for server, outcome in found.items():
            if outcome.error is not None:
                lines.append(f"  {server}: {outcome.error}")
        figures = {server: {each.what: each for each in outcome.findings} for server, outcome in found.items()}
        for what in dict.fromkeys(what for each in figures.values() for what in each):
            ours = figures.get(own, {}).get(what)
            cells = [_told(figures.get(server, {}).get(what)) for server in others]
            lines.append(_row(f"  {what}", _told(ours), _limit(ours), _verdict(ours), *cells))
    return "\n".join(lines)


def _row(name: str, *cells: str) -> str:
    return (f"{name:<58}" + "".join(f"{cell:>14}" for cell in cells)).rstrip()


def _told(finding: Finding | None) -> str:
    return "" if finding is None else f"{finding.value:.4g} {finding.unit}".strip()


def _limit(finding: Finding | None) -> str:
    if finding is None or finding.limit is None:
        return ""
    return f"{'≥' if finding.at_least else '≤'} {finding.limit:.4g}"


def _verdict(finding: Finding | None) -> str:
    if finding is None or finding.met is None:
        return ""
    return "met" if finding.met else "MISSED"
