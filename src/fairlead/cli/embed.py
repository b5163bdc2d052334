"""`fairlead embed`: vectors of texts as JSON lines, from the running server or from one that is started for it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.options import Config, Home, Key, Url
from fairlead.cli.reaching import reached_server, see_loaded, until_told
from fairlead.config import load_settings

_PORTION = 256
"""Texts of one request."""


def embed(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; otherwise the lines of what is piped in.", metavar="[TEXT...]")
    ] = None,
    *,
    file: Annotated[
        list[Path] | None,
        typer.Option(help="A file whose lines are texts; may be given several times.", exists=True, dir_okay=False),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Embed with this model.", metavar="NAME")] = None,
    url: Url = None,
    key: Key = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Turn texts into vectors: a line of JSON for each, empty lines left out; starts a server where none is running."""
    settings = load_settings(home, config)
    chosen = model or settings.embedding_model
    wanted = _texts(texts or [], file or [])

    async def answer() -> int:
        import msgspec

        async with AsyncExitStack() as stack:
            client = await reached_server(stack, chosen, url, key, settings, config)
            await see_loaded(client, chosen)
            while portion := list(islice(wanted, _PORTION)):
                for text, vector in zip(portion, await client.embed(portion, model=chosen), strict=True):
                    typer.echo(msgspec.json.encode({"text": text, "embedding": vector}))
        return 0

    raise typer.Exit(asyncio.run(until_told(answer())))


def _texts(arguments: Iterable[str], files: Iterable[Path]) -> Iterator[str]:
    """What was named, one text after the other; of standard input where nothing was."""
    named = False
    for text in arguments:
        named = True
        yield text
    for path in files:
        named = True
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from _lines(lines)
    if not named:
        yield from _lines(sys.stdin)


def _lines(lines: Iterable[str]) -> Iterator[str]:
    return (stripped for line in lines if (stripped := line.strip()))
