"""`fairlead keys`: who may use the server. Works on the database itself, whether a server runs or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead import checks
from fairlead.cli.options import Config, Home
from fairlead.cli.terminal import note, table
from fairlead.config import load_settings

if TYPE_CHECKING:
    from fairlead.service.keys import Keys

app = typer.Typer(help="Access keys: who may use the server.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Make, list and revoke access keys. Once one exists, the server asks everybody for one."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Whose key it is: what the server calls them.", metavar="NAME")],
    label: Annotated[str, typer.Option(help="What it is for, to tell keys apart.")] = "",
    home: Home = None,
    config: Config = None,
) -> None:
    """Make a key for a user, and show it this once; a running server knows it within a second."""

    async def make() -> str:
        async with _keys(home, config) as keys:
            return await keys.add(name, label)

    try:
        checks.user_name(name)
        if label:
            checks.label(label)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    key = asyncio.run(make())
    note(f"The key of {name}, which is shown this once; the server asks everybody for a key from now on:")
    typer.echo(key)


@app.command("list")
def list_keys(home: Home = None, config: Config = None) -> None:
    """Show the keys there are: their numbers, how they begin, and when they were used."""

    async def every() -> list[tuple[str, ...]]:
        async with _keys(home, config) as keys:
            return [
                (
                    str(key.id),
                    f"{key.hint}…",
                    key.person,
                    key.label,
                    _day(key.created_at),
                    _day(key.used_at),
                    "" if key.revoked_at is None else f"revoked {_day(key.revoked_at)}",
                )
                for key in await keys.every()
            ]

    rows = asyncio.run(every())
    if rows:
        table([("ID", "KEY", "USER", "LABEL", "MADE", "USED", ""), *rows])
    else:
        note("There is no key: the server asks for none, and listens on this machine's own addresses alone.")


@app.command()
def revoke(
    number: Annotated[int, typer.Argument(help="As `fairlead keys list` shows it.", metavar="ID")],
    home: Home = None,
    config: Config = None,
) -> None:
    """Have a key count no more, within a second. The server still asks for keys when none is left."""

    async def run() -> None:
        async with _keys(home, config) as keys:
            await keys.revoke(number)

    asyncio.run(run())
    note(f"Key {number} is revoked.")


@app.command()
def clear(
    home: Home = None,
    config: Config = None,
    *,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete every key: the server asks nobody for one, and whoever is on this machine gives any name."""

    async def run() -> int:
        async with _keys(home, config) as keys:
            return await keys.clear()

    sure or typer.confirm("Delete every key, and let everybody on this machine in?", abort=True)
    note(f"{asyncio.run(run())} keys are deleted.")


@asynccontextmanager
async def _keys(home: Path | None, config: Path | None) -> AsyncIterator[Keys]:
    from fairlead.service.keys import Keys
    from fairlead.service.store import opened

    settings = load_settings(home, config)
    async with opened(settings) as database:
        yield Keys(database, settings.key_secret)


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M}"
