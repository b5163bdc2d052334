"""`fairlead top`: what the server does and for whom, live."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.options import Config, Home, Key, Url, address_from

if TYPE_CHECKING:
    from fairlead.cli.top_view import Snapshot

_REFRESH_S = 1.0


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one picture, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each picture instead.")] = False,
    url: Url = None,
    key: Key = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Show what the running server does and for whom, anew each second; q ends it."""
    address = address_from(home, config, url)
    asyncio.run(_show(address, key, once=once or not (as_json or sys.stdout.isatty()), as_json=as_json))


async def _show(address: str, key: str | None, *, once: bool, as_json: bool) -> None:
    import msgspec

    done = asyncio.Event()
    with _ends(done), _drawing(address, live=not (once or as_json)) as draw:
        async for snapshot in _snapshots(address, key, done):
            if as_json:
                typer.echo(msgspec.json.encode(snapshot.told()))
            else:
                draw(snapshot)
            if once:
                return


async def _snapshots(address: str, key: str | None, done: asyncio.Event) -> AsyncIterator[Snapshot]:
    """What the server tells, again and again until it is done."""
    from fairlead.cli.top_view import Snapshot
    from fairlead.client import FairleadClient

    async with FairleadClient(address, key) as client:
        while not done.is_set():
            health, queue, models = await client.health(), await client.queue(), await client.models()
            yield Snapshot(time.monotonic(), health, queue, {model.name: model.memory for model in models.models})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), _REFRESH_S)


@contextlib.contextmanager
def _drawing(address: str, *, live: bool) -> Iterator[Callable[[Snapshot], None]]:
    """What draws a picture: over the one before, on a screen of its own, or where it is not live one time."""
    from rich.console import Console
    from rich.live import Live

    from fairlead.cli.top_view import picture

    console = Console()
    if not live:
        yield lambda snapshot: console.print(picture(snapshot, None, address))
        return
    before: Snapshot | None = None
    with Live(console=console, screen=True, auto_refresh=False) as screen:

        def draw(snapshot: Snapshot) -> None:
            nonlocal before
            screen.update(picture(snapshot, before, address), refresh=True)
            before = snapshot

        yield draw


@contextlib.contextmanager
def _ends(done: asyncio.Event) -> Iterator[None]:
    """Set `done` on q, Ctrl-C or SIGTERM; keys are read one by one meanwhile, and not shown."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    keys = sys.stdin.fileno()
    was = termios.tcgetattr(keys)

    def on_key() -> None:
        typed = os.read(keys, 64)
        if not typed or b"q" in typed.lower():
            done.set()

    tty.setcbreak(keys)
    loop.add_reader(keys, on_key)
    try:
        yield
    finally:
        loop.remove_reader(keys)
        termios.tcsetattr(keys, termios.TCSADRAIN, was)
