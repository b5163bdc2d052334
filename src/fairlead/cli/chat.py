"""`fairlead chat`: the terminal program, and the server that it may start."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import typer

from fairlead.cli.options import Config, Home, Key, Url, User, address
from fairlead.config import load_settings
from fairlead.errors import InvalidRequest


def chat(
    *,
    user: User = None,
    url: Url = None,
    key: Key = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Chat in the terminal; offers to start a server where none answers."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidRequest("fairlead chat needs a terminal; fairlead run answers in a pipe.")
    settings = load_settings(home, config)
    at = address(settings, url)

    @asynccontextmanager
    async def own_server() -> AsyncIterator[str]:
        from fairlead.cli.temporary import running

        command = [sys.executable, "-m", "fairlead", "serve", "--home", str(settings.home)]
        command += ["--config", str(Path(config))] if config else []
        async with running(command, at) as address_of_it:
            yield address_of_it

    from fairlead.tui.app import ChatApp
    from fairlead.tui.driver import LastingDriver
    from fairlead.tui.looks import FEW, colours_there

    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)  # where a shell exported them, the size would stay what it was then
    if not (colours := colours_there()):
        os.environ["NO_COLOR"] = "1"  # what Textual looks at
    app = ChatApp(
        at,
        settings.home,
        user=user,
        key=key,
        starter=None if url else own_server,
        driver=LastingDriver,
        few_colours=colours <= FEW,
    )
    ended_by: list[int] = []

    def end(number: int) -> None:
        ended_by.append(number)
        app.exit()

    async def run() -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):  # a window that is closed; it keeps what was begun, too
            asyncio.get_running_loop().add_signal_handler(number, end, number)
        await app.run_async()

    asyncio.run(run())
    if ended_by:
        raise typer.Exit(128 + ended_by[0])
