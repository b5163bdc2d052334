"""`fairlead summarize`: files, folders and what is piped in, made short."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.options import Config, Home, Key, Url
from fairlead.cli.reaching import reached_server, see_loaded, until_told
from fairlead.cli.terminal import note, say, stages
from fairlead.config import load_settings
from fairlead.errors import FairleadError

if TYPE_CHECKING:
    from fairlead.task_client import SummaryStep, Tasks
    from fairlead.task_info import Summary, SummaryWishes

PIPED = Path("-")
"""What is piped in."""


def summarize(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Files, and folders of files; otherwise, or as -, what is piped in.", metavar="[PATH...]"),
    ] = None,
    *,
    max_words: Annotated[int, typer.Option(help="Of each summary.", min=10, max=2000)] = 150,
    share: Annotated[float, typer.Option(help="Of each text that is read, spread over all of it.", max=1)] = 1.0,
    model: Annotated[str | None, typer.Option(help="Summarize with this model.", metavar="NAME")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each, as where output is piped.")] = False,
    url: Url = None,
    key: Key = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Make texts short, each read to its end; starts a server where none is running."""
    if share <= 0:
        raise typer.BadParameter("must be above 0", param_hint="--share")
    settings, found = load_settings(home, config), list(files_of(paths or [PIPED]))
    wishes: SummaryWishes = {"max_words": max_words, "share": share}
    if model is not None:
        wishes["model"] = model
    in_lines = as_json or not sys.stdout.isatty()

    async def work() -> int:
        from fairlead.task_client import Tasks

        failed = 0
        async with AsyncExitStack() as stack:
            client = await reached_server(stack, model, url, key, settings, config)
            await see_loaded(client, model)
            for path in found:
                try:
                    told = await _summary(Tasks(client), path, wishes)
                except (FairleadError, OSError) as error:
                    if len(found) == 1 and isinstance(error, FairleadError):
                        raise
                    note(f"{path}: {error}")
                    failed += 1
                    continue
                _print(path, told, in_lines=in_lines, several=len(found) > 1)
        return 1 if failed else 0

    raise typer.Exit(asyncio.run(until_told(work())))


def files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that are meant; of a folder all but hidden ones."""
    for path in paths:
        if path == PIPED:
            yield path
        elif path.is_dir():
            inside = (file for file in path.rglob("*") if file.is_file())
            yield from sorted(
                file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts)
            )
        elif path.exists():
            yield path
        else:
            raise typer.BadParameter(f"{path} is not there", param_hint="PATH")


async def _summary(tasks: Tasks, path: Path, wishes: SummaryWishes) -> Summary:
    """The summary of a file, with the progress in sight meanwhile."""
    from fairlead.task_info import Summary, TaskProgress

    named = "" if path == PIPED else f"{path.name}: "
    with stages() as show:
        async with aclosing(_steps(tasks, path, wishes)) as steps:
            async for step in steps:
                if isinstance(step, TaskProgress):
                    show(f"{named}{step.phase}" + (f" {step.done} of {step.total}" if step.total > 1 else ""))
    assert isinstance(step, Summary), "a stream ends with it"
    return step


async def _steps(tasks: Tasks, path: Path, wishes: SummaryWishes) -> AsyncGenerator[SummaryStep]:
    if path == PIPED:
        text = (await asyncio.to_thread(sys.stdin.buffer.read)).decode("utf-8", "replace")
        steps = tasks.summarize(text, **wishes)
    else:
        steps = tasks.summarize_file(path.name, await asyncio.to_thread(path.read_bytes), **wishes)
    async with aclosing(steps):
        async for step in steps:
            yield step


def _print(path: Path, told: Summary, *, in_lines: bool, several: bool) -> None:
    import msgspec

    if in_lines:
        source = None if path == PIPED else str(path)
        typer.echo(msgspec.json.encode({"source": source, **msgspec.to_builtins(told)}))
        return
    if several:
        say(f"== {path}\n")
    say(f"{told.summary}\n")
    note(f"{told.words} words; {told.share_read:.0%} of the text was read, in {told.parts} part(s).")
    if several:
        say("\n")
