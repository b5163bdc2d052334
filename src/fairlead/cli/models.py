"""Commands about models in memory, which ask the running server: `ps`, `load` and `unload`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.options import Config, Home, Key, Url, address_from
from fairlead.cli.reaching import load_in_sight
from fairlead.cli.terminal import note, size, table
from fairlead.visible import safe

if TYPE_CHECKING:
    from fairlead.model_info import ModelInfo

Name = Annotated[str, typer.Argument(help="A name that `fairlead list` shows.", metavar="NAME")]


def ps(url: Url = None, key: Key = None, home: Home = None, config: Config = None) -> None:
    """Show the models that the running server holds."""
    from fairlead.client import FairleadClient

    async def ask() -> list[ModelInfo]:
        async with FairleadClient(address_from(home, config, url), key) as client:
            return (await client.models()).models

    held = [model for model in asyncio.run(ask()) if model.state not in ("available", "downloaded")]
    if not held:
        note("No model is loaded.")
        return
    rows = [
        (
            model.name,
            model.state,
            str(model.context_length or ""),
            size(model.memory.used_bytes or model.memory.estimated_bytes),
            size(model.memory.estimated_bytes),
            _remarks(model),
        )
        for model in held
    ]
    table([("NAME", "STATE", "CONTEXT", "MEMORY", "ESTIMATED", ""), *rows])


def load(
    name: Name,
    *,
    context_length: Annotated[
        int | None, typer.Option(help="Longest prompt and answer together, in tokens.", min=1)
    ] = None,
    activate: Annotated[bool, typer.Option("--activate", help="Make it the active model, too.")] = False,
    keep_alive: Annotated[
        str | None,
        typer.Option(
            help="How long to keep it without a request: seconds, or such as 5m; -1 for ever.", metavar="TIME"
        ),
    ] = None,
    pin: Annotated[bool | None, typer.Option("--pin/--no-pin", help="Never unload it to make room.")] = None,
    url: Url = None,
    key: Key = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Have the running server load a model, downloaded first where needed."""
    from fairlead.client import FairleadClient

    async def ask() -> None:
        async with FairleadClient(address_from(home, config, url), key) as client:
            steps = client.load_model(name, context_length=context_length, keep_alive=keep_alive, pin=pin)
            memory = (await load_in_sight(name, steps)).memory
            if activate:
                await client.set_model(name)
        note(f"{name}: takes {size(memory.used_bytes)}; {size(memory.estimated_bytes)} were estimated")
        note(f"{name} is loaded{' and active' if activate else ''}.")

    asyncio.run(ask())


def unload(
    name: Name,
    *,
    force: Annotated[bool, typer.Option("--force", help="Cancel the requests that run on it.")] = False,
    url: Url = None,
    key: Key = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Have the running server give a model's memory back."""
    from fairlead.client import FairleadClient

    async def ask() -> None:
        async with FairleadClient(address_from(home, config, url), key) as client:
            await client.unload_model(name, force=force)

    asyncio.run(ask())
    note(f"{name} is unloaded.")


def _remarks(model: ModelInfo) -> str:
    marks = [mark for mark, holds in (("active", model.active), ("pinned", model.pinned)) if holds]
    if model.error:
        marks.append(safe(model.error))
    elif model.progress is not None and model.progress.total:
        marks.append(f"{model.progress.phase} {100 * model.progress.bytes // model.progress.total} %")
    return ", ".join(marks)
