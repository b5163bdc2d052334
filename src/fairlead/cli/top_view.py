"""The picture that `fairlead top` draws, from what the server told last and the time before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from fairlead.cli.terminal import size
from fairlead.client import Health
from fairlead.model_info import Memory
from fairlead.queue import ModelQueue, Pages, Queue, UserLoad
from fairlead.visible import safe

_BAR_CELLS = 32
_SHADES = {"held": "█", "cached": "▒", "free": "░"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the server told at one time."""

    at_s: float
    """On the caller's clock."""
    health: Health
    queue: Queue
    memory: Mapping[str, Memory]
    """Of each model, by its name."""

    def told(self) -> dict[str, Any]:
        """The queue as the server tells it, with the memory of each model."""
        told: dict[str, Any] = msgspec.to_builtins(self.queue)
        for model in told["models"]:
            model["memory"] = msgspec.to_builtins(self.memory.get(model["name"], Memory()))
        return told


def picture(now: Snapshot, before: Snapshot | None, url: str) -> RenderableType:
    """The whole picture; where there is no `before`, rates of single users are left out."""
    parts: list[RenderableType] = [_head(now.health, url)]
    for model in now.queue.models:
        earlier = next((one for one in before.queue.models if one.name == model.name), None) if before else None
        seconds = now.at_s - before.at_s if before else 0.0
        parts += [
            Text(),
            _title(model, now.health),
            _engine(model, now.memory.get(model.name, Memory())),
            *_users(model, earlier, seconds),
        ]
    if not now.queue.models:
        parts += [Text(), Text("No model is loaded.")]
    return Group(*parts)


def _head(health: Health, url: str) -> Text:
    head = Text.assemble(("Fairlead ", "bold"), safe(f"{health.version} at {url}, up {_duration(health.uptime_s)}"))
    if health.reason is not None:
        head.append(f"\n{safe(health.reason)}", "bold red")
    return head


def _title(model: ModelQueue, health: Health) -> Rule:
    active = ", active" if model.name == health.active_model else ""
    return Rule(Text(safe(model.name) + active, "bold"), align="left", style="dim")


def _engine(model: ModelQueue, memory: Memory) -> Table:
    """What the engine does, a line for each side of it."""
    rates, tokens, steps = model.tokens_per_second, model.tokens, model.steps
    prompts = tokens.prompt + tokens.cached
    lines = {
        "requests": f"{model.running} running, {model.waiting} waiting, {_count(model.preemptions)} preemptions",
        "speed": f"{_count(rates.completion)} tokens/s answered; reads up to {_count(rates.prompt)} tokens/s",
        "memory": _memory(memory),
        "pages": _pages(model.pages),
        "cache": f"{_share(tokens.cached, prompts)} of {_count(prompts)} prompt tokens found",
        "step": f"{_ms(steps.last_ms)} of {_ms(steps.budget_ms)}, mean {_ms(steps.mean_ms)}, "
        f"{_share(steps.over_budget, steps.count)} over budget",
        "look-up": f"{_share(tokens.accepted, tokens.drafted)} of {_count(tokens.drafted)} guesses right",
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for name, value in lines.items():
        table.add_row(name, value)
    return table


def _memory(memory: Memory) -> str:
    told = [(memory.used_bytes, "used"), (memory.measured_bytes, "at most"), (memory.estimated_bytes, "estimated")]
    return ", ".join(f"{size(nbytes)} {what}" for nbytes, what in told if nbytes is not None) or "-"


def _pages(pages: Pages) -> str:
    bar = ""
    for state, shade in _SHADES.items():
        bar += shade * round(getattr(pages, state) / max(pages.total, 1) * _BAR_CELLS)
    told = ", ".join(f"{_count(getattr(pages, state))} {state}" for state in _SHADES)
    return f"{bar[:_BAR_CELLS]} {told}"


def _users(model: ModelQueue, earlier: ModelQueue | None, seconds: float) -> Iterator[Table]:
    if not model.users:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("USER", overflow="ellipsis", no_wrap=True)
    for name in ("RUNNING", "WAITING", "TOKENS/S", "READ", "ANSWERED"):
        table.add_column(name, justify="right")
    was = {load.user: load for load in earlier.users} if earlier else {}
    busiest = sorted(model.users, key=lambda load: (-load.running - load.waiting, -load.completion_tokens, load.user))
    for load in busiest:
        counts = (load.running, load.waiting, _rate(load, was.get(load.user), seconds))
        table.add_row(
            Text(safe(load.user)), *map(_count, counts), _count(load.prompt_tokens), _count(load.completion_tokens)
        )
    yield table


def _rate(load: UserLoad, was: UserLoad | None, seconds: float) -> float | None:
    """Tokens a second of a user's answers since the time before; none of a model that was loaded since."""
    if was is None or seconds <= 0 or load.completion_tokens < was.completion_tokens:
        return None
    return (load.completion_tokens - was.completion_tokens) / seconds


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
