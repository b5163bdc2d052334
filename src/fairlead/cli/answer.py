"""`fairlead answer`: a question answered from files, folders, what is piped in or a collection, and nothing else.

Exit status: 0 answered, 1 it failed, 2 it was asked for wrongly, 3 the answer was cut off, 4 no server or no model that
could answer, 5 nothing is known, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fairlead.cli.generate import end_of, status_of
from fairlead.cli.options import Config, Home, Key, Url
from fairlead.cli.reaching import reached_server, see_loaded, until_told
from fairlead.cli.summarize import PIPED, files_of
from fairlead.cli.terminal import note, say, stages
from fairlead.config import load_settings
from fairlead.errors import FairleadError

if TYPE_CHECKING:
    from fairlead.task_client import AnswerStep, Tasks
    from fairlead.task_info import AnswerSource, AnswerWishes, TextAnswer

_NOTHING_KNOWN: Final = 5
_ROW_CHARS: Final = 100


def answer(
    question: Annotated[str, typer.Argument(help="The question.", show_default=False)],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Files, and folders of files; otherwise, or as -, what is piped in.", metavar="[PATH...]"),
    ] = None,
    *,
    collection: Annotated[
        str | None, typer.Option(help="Answer from this collection instead.", metavar="NAME", show_default=False)
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="How many passages the model is given at most.", min=1, max=50)
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Least score of the best passage; below it nothing is known.", min=-1, max=1)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Answer with this model.", metavar="NAME")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.", min=1, max=4096)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON, as where output is piped.")] = False,
    url: Url = None,
    key: Key = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Answer a question from texts and nothing else, with the sources; starts a server where none is running.

    Exit status: 0 answered; 1 it failed; 2 asked for wrongly; 3 the answer was cut off, by its time or by its length
    without --max-tokens; 4 no server or no model that could answer; 5 nothing is known; 130 interrupted.
    """
    if paths and collection is not None:
        raise typer.BadParameter("give files or a collection, not both", param_hint="--collection")
    found = [] if collection is not None else list(_readable(paths or [PIPED]))
    if PIPED in found and len(found) > 1:
        raise typer.BadParameter("give files, or -, not both", param_hint="PATH")
    wishes: AnswerWishes = {}
    if top_k is not None:
        wishes["top_k"] = top_k
    if threshold is not None:
        wishes["threshold"] = threshold
    if model is not None:
        wishes["model"] = model
    if max_tokens is not None:
        wishes["max_tokens"] = max_tokens
    settings, in_lines = load_settings(home, config), as_json or not _is_for_people()

    async def work() -> int:
        from fairlead.task_client import Tasks

        async with AsyncExitStack() as stack:
            client = await reached_server(stack, model, url, key, settings, config)
            await see_loaded(client, model)
            told = await _told(_steps(Tasks(client), question, collection or found, wishes), in_lines=in_lines)
        _print(question, told, in_lines=in_lines)
        if told.finish_reason == "stop" and not told.answered:
            return _NOTHING_KNOWN
        return end_of(told.finish_reason, bounded=max_tokens is not None)

    try:
        status = asyncio.run(until_told(work()))
    except FairleadError as error:
        note(f"Error: {error.message}")
        status = status_of(error)
    except OSError as error:
        note(f"Error: {error.filename} cannot be read: {error.strerror}.")
        status = 1
    raise typer.Exit(status)


def _is_for_people() -> bool:
    return sys.stdout.isatty()


def _readable(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that are meant; of a folder those of a kind that is read."""
    from fairlead.documents.kinds import Unsupported, named_kind

    named = list(paths)
    for path in files_of(named):
        if path not in named:
            try:
                named_kind(path.name)
            except Unsupported as error:
                note(f"{path} is left out: {error}")
                continue
        yield path


async def _steps(
    tasks: Tasks, question: str, among: list[Path] | str, wishes: AnswerWishes
) -> AsyncGenerator[AnswerStep]:
    with ExitStack() as opened:
        if isinstance(among, str):
            steps = tasks.answer(question, collection=among, **wishes)
        elif among == [PIPED]:
            context = (await asyncio.to_thread(sys.stdin.buffer.read)).decode("utf-8", "replace")
            steps = tasks.answer(question, context=context, **wishes)
        else:
            files = {str(path): opened.enter_context(path.open("rb")) for path in among}
            steps = tasks.answer_from_files(question, files, **wishes)
        async with aclosing(steps):
            async for step in steps:
                yield step


async def _told(steps: AsyncGenerator[AnswerStep], *, in_lines: bool) -> TextAnswer:
    """The whole answer, with the progress in sight until it begins, and then, but for lines, the answer itself."""
    from fairlead.answer_info import Text
    from fairlead.task_info import AnswerSources, TaskProgress, TextAnswer

    async with aclosing(steps):
        with stages() as show:
            show("reading")
            async for step in steps:
                if isinstance(step, TaskProgress):
                    show(f"{step.phase} {step.done} of {step.total}")
                elif isinstance(step, AnswerSources):
                    show("answering")
                    break
        said = ""
        async for step in steps:
            if isinstance(step, Text) and not in_lines:
                said += step.text
                say(step.text)
    assert isinstance(step, TextAnswer), "a stream ends with it"
    if not in_lines:
        say("\n" if said else f"{step.answer}\n")
    return step


def _print(question: str, told: TextAnswer, *, in_lines: bool) -> None:
    import msgspec

    if in_lines:
        typer.echo(msgspec.json.encode({"question": question, **msgspec.to_builtins(told)}))
        return
    for source in told.sources:
        note(f"{source.score:.2f}  {_place(source)}")


def _place(source: AnswerSource) -> str:
    """Where a source stands, in words."""
    if source.collection is not None:
        return f"{source.collection}, row {source.row_id}: {source.text[:_ROW_CHARS]}"
    if source.name is None:
        return f"characters {source.start} to {source.end}"
    if source.page is not None:
        return f"{source.name}, page {source.page}"
    if source.line_from is None:
        return source.name
    one = source.line_from == source.line_to
    return f"{source.name}, line {source.line_from}" + ("" if one else f" to {source.line_to}")
