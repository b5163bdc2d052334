"""A scenario for Fairlead alone: what is done for somebody who has left."""

from __future__ import annotations

import asyncio
import random
import time

from benchmarks.serving.findings import Finding
from benchmarks.serving.servers import Server
from benchmarks.serving.shared_time import LONG_WORDS, alone, ask
from benchmarks.serving.texts import chat, words


async def client_gone(server: Server, draw: random.Random) -> list[Finding]:
    """Somebody leaves while an answer streams, and while a prompt is read."""
    await alone(server, "early", chat(words(draw, 100)), 32)
    before = await _settled(server)
    stream = ask(server, "leaver", chat(words(draw, 30)), 1500)
    await stream.until(60)
    answer = await stream.leave()
    if not answer.left:
        raise RuntimeError(f"the answer ended before its reader left: {answer.error}")
    after = await _settled(server)
    further = _more(before, after, "decode_tokens") - len(answer.pieces)

    long = ask(server, "leaver", chat(words(draw, LONG_WORDS)), 50)
    await asyncio.sleep(0.15)
    await long.leave()
    left = time.monotonic()
    last = await _settled(server)
    return [
        Finding("tokens drawn after leaving", further, limit=8),
        Finding("pages held after leaving, more than before", _held(after) - _held(before), limit=0),
        Finding("prompt tokens read of one who left after 150 ms", _more(after, last, "prefill_tokens")),
        Finding("pages held then, more than before", _held(last) - _held(before), limit=0),
        Finding("tokens drawn for him", _more(after, last, "decode_tokens"), limit=0),
        Finding("seconds until the engine was idle, at most", time.monotonic() - left, "s"),
    ]


async def _settled(server: Server) -> dict[str, float]:
    """The metrics once nothing runs or waits; RuntimeError where that does not come to be."""
    for _ in range(100):
        await asyncio.sleep(0.3)  # longer than between two reports of an engine
        found = await server.metrics()
        if found["fairlead_engine_running"] == found["fairlead_engine_waiting"] == 0:
            return found
    raise RuntimeError("requests are still there half a minute after their clients have gone")


def _more(before: dict[str, float], after: dict[str, float], counter: str) -> float:
    name = f"fairlead_engine_{counter}_total"
    return after[name] - before[name]


def _held(metrics: dict[str, float]) -> float:
    return metrics['fairlead_engine_pages{state="held"}']
