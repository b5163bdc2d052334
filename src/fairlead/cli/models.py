"""Commands about models: `pull`, `list` and `show` need no server; `ps`, `load` and `unload` ask one."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.options import Config, Home, Url, address_from
from fairlead.cli.terminal import note, progress, safe, size, table
from fairlead.config import ModelEntry, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from fairlead.client import ModelInfo

Name = Annotated[str, typer.Argument(help="A name that `fairlead list` shows.", metavar="NAME")]


def pull(name: Name, home: Home = None, config: Config = None) -> None:
    """Download a model; goes on where an earlier try stopped, and verifies what came."""
    from fairlead.cli.fetching import fetch_in_sight
    from fairlead.gguf.catalogue import Catalogue

    settings = load_settings(home, config)
    entry = Catalogue(settings).find(name)
    path = fetch_in_sight(entry, settings)
    note(f"{entry.name} is at {path} ({size(path.stat().st_size)}).")


def list_models(home: Home = None, config: Config = None) -> None:
    """List the models that can be asked for by name, and which of them are on this machine."""
    from fairlead.gguf.catalogue import Catalogue

    catalogue = Catalogue(load_settings(home, config))
    rows = []
    for entry in catalogue:
        path = catalogue.path(entry)
        on_disk = path.stat().st_size if path else entry.size_bytes
        what = (entry.architecture or "", entry.parameters or "", entry.quantization or "")
        rows.append((entry.name, *what, size(on_disk), "on disk" if path else "available"))
    table([("NAME", "ARCHITECTURE", "PARAMETERS", "QUANTIZATION", "SIZE", "STATE"), *rows])


def show(
    name: Annotated[str, typer.Argument(help="A model's name, or a GGUF file.", metavar="NAME|FILE")],
    home: Home = None,
    config: Config = None,
) -> None:
    """Show what is known of a model: where it comes from, and what its file says."""
    from fairlead.gguf.catalogue import Catalogue

    catalogue = Catalogue(load_settings(home, config))
    entry = catalogue.resolve(name)
    path = catalogue.path(entry)
    facts = {
        "name": entry.name,
        "architecture": entry.architecture,
        "parameters": entry.parameters,
        "quantization": entry.quantization,
        "size": size(entry.size_bytes),
        "sha256": entry.sha256,
        "sources": ", ".join(map(str, entry.sources)),
        "file": str(path) if path else f"not on this machine: fairlead pull {entry.name}",
    }
    facts |= _of_file(path) if path else {}
    facts["defaults"] = _defaults(entry)
    for key, value in facts.items():
        if value:
            typer.echo(f"{key:<16}{safe(value)}")


def ps(url: Url = None, home: Home = None, config: Config = None) -> None:
    """Show the models that the running server holds."""
    from fairlead.client import FairleadClient

    async def ask() -> list[ModelInfo]:
        async with FairleadClient(address_from(home, config, url)) as client:
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
            "active" if model.active else safe(model.error or ""),
        )
        for model in held
    ]
    table([("NAME", "STATE", "CONTEXT", "MEMORY", ""), *rows])


def load(
    name: Name,
    *,
    context_length: Annotated[
        int | None, typer.Option(help="Longest prompt and answer together, in tokens.", min=1)
    ] = None,
    activate: Annotated[bool, typer.Option("--activate", help="Make it the active model, too.")] = False,
    url: Url = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Have the running server load a model, downloaded first where needed."""
    from fairlead.client import FairleadClient, LoadProgress

    async def ask() -> None:
        async with FairleadClient(address_from(home, config, url)) as client:
            with progress(name) as update:
                async for step in client.load_model(name, context_length=context_length):
                    if isinstance(step, LoadProgress):
                        update(step.phase, step.bytes, step.total)
            if activate:
                await client.set_model(name)

    asyncio.run(ask())
    note(f"{name} is loaded{' and active' if activate else ''}.")


def unload(
    name: Name,
    *,
    force: Annotated[bool, typer.Option("--force", help="Cancel the requests that run on it.")] = False,
    url: Url = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Have the running server give a model's memory back."""
    from fairlead.client import FairleadClient

    async def ask() -> None:
        async with FairleadClient(address_from(home, config, url)) as client:
            await client.unload_model(name, force=force)

    asyncio.run(ask())
    note(f"{name} is unloaded.")


def _of_file(path: Path) -> dict[str, str | None]:
    from fairlead.gguf.reader import GGUFFile

    with GGUFFile.open(path) as file:
        context = file.get_int(f"{file.architecture}.context_length", default=0)
        return {
            "architecture": file.architecture,
            "quantization": file.quantization,
            "weights": f"{file.parameter_count:,} in {len(file.tensors)} tensors",
            "context length": f"{context} tokens" if context else None,
            "size": size(path.stat().st_size),
            "says it is": file.name,
        }


def _defaults(entry: ModelEntry) -> str:
    given = ((item.name, getattr(entry.defaults, item.name)) for item in fields(entry.defaults))
    return ", ".join(f"{name} {value!r}" for name, value in given if value is not None)
