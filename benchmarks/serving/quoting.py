"""A scenario for Fairlead alone: answers that quote their prompt, with look-up and without."""

from __future__ import annotations

from functools import partial

from benchmarks.serving.client import Body, Stream
from benchmarks.serving.findings import Finding
from benchmarks.serving.servers import Server
from benchmarks.serving.texts import CODE, REPORT
from benchmarks.serving.turns import Setup, by_turns

ASKED = {
    "report with quotes": f"{REPORT}\n\nThe same report, word for word:\n\n{REPORT[:60]}",
    "code edit": f"{CODE}\n\n# The same functions again:\n\n{CODE[:40]}",
}
"""Texts that are to be continued."""


async def quoting(setup: Setup) -> list[Finding]:
    """Answers that quote their prompt, one at a time; with and without look-up they must be the same."""
    found: list[Finding] = []
    texts: dict[str, str] = {}

    async def rate(server: Server, body: Body) -> float:
        answer = await Stream(server.v1, "reader", body).end()
        if answer.error is not None:
            raise RuntimeError(answer.error)
        texts[server.name] = answer.text
        return (answer.tokens - 1) / (answer.times[-1] - answer.times[0])

    async with setup.pair({"lookup": True}, {"lookup": False}) as (on, off):
        for what, prompt in ASKED.items():
            body = {"prompt": prompt, "max_tokens": 160, "temperature": 0, "ignore_eos": True}
            each = await by_turns(partial(rate, on, body), partial(rate, off, body), setup.seconds / len(ASKED))
            found += [
                Finding(f"{what}: without look-up", each.other, "tok/s"),
                Finding(f"{what}: with it", each.one, "tok/s"),
                Finding(f"{what}: ratio", each.ratio, limit=1.5, at_least=True),
                Finding(f"{what}: the same text", float(texts["one"] == texts["other"]), limit=1, at_least=True),
            ]
        metrics = await on.metrics()
    drafted, accepted = (metrics[f"fairlead_engine_{name}_tokens_total"] for name in ("drafted", "accepted"))
    return [*found, Finding("guesses that were right", accepted / max(1.0, drafted))]
