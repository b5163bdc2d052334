"""`fairlead classify`: files, folders and the lines of what is piped in, put under labels."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.options import Config, Home, Key, Url
from fairlead.cli.reaching import reached_server, see_loaded, until_told
from fairlead.cli.summarize import PIPED, files_of
from fairlead.cli.terminal import note, stages
from fairlead.config import load_settings
from fairlead.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from fairlead.task_client import Tasks
    from fairlead.task_info import Classification, ClassificationWishes

_PORTION = 256
"""Texts of one request."""
_PLACE = re.compile(r"texts\[(\d+)\]")


@dataclass(frozen=True)
class _Text:
    """A text, and where it stands: a whole file, or a line, counted from 1, of a file or of what is piped in."""

    text: str
    source: str | None
    line: int | None = None

    @property
    def place(self) -> str:
        return ":".join(str(part) for part in (self.source or "-", self.line) if part is not None)

    def told(self) -> dict[str, object]:
        return (
            {"source": self.source}
            if self.line is None
            else {"source": self.source, "line": self.line, "text": self.text}
        )


def classify(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Text files, and folders of them, each one text; otherwise, or as -, the lines of what is piped in.",
            metavar="[PATH...]",
        ),
    ] = None,
    *,
    label: Annotated[
        list[str],
        typer.Option("--label", "-l", help="A label, or NAME: WHAT IT MEANS; given for each.", metavar="NAME"),
    ],
    lines: Annotated[bool, typer.Option("--lines", help="Each line of a file is a text.")] = False,
    examples: Annotated[
        Path | None,
        typer.Option(
            help="Texts whose labels are known: lines of JSON with text and label.", exists=True, dir_okay=False
        ),
    ] = None,
    instruction: Annotated[str | None, typer.Option(help="What is asked of the model.", metavar="TEXT")] = None,
    model: Annotated[str | None, typer.Option(help="Classify with this model.", metavar="NAME")] = None,
    url: Url = None,
    key: Key = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Put texts under labels, a line of JSON for each; starts a server where none is running."""
    settings = load_settings(home, config)
    wishes: ClassificationWishes = {}
    if examples is not None:
        wishes["examples"] = _examples(examples)
    if instruction is not None:
        wishes["instruction"] = instruction
    if model is not None:
        wishes["model"] = model
    labels = [_label(each) for each in label]
    failed: list[str] = []

    def leave_out(text: _Text, why: str) -> None:
        note(f"{text.place}: {why}")
        failed.append(text.place)

    texts = _texts(list(files_of(paths or [PIPED])), leave_out, lines=lines)

    async def work() -> int:
        import msgspec

        from fairlead.task_client import Tasks

        async with AsyncExitStack() as stack:
            client = await reached_server(stack, model, url, key, settings, config)
            await see_loaded(client, model)
            while portion := await asyncio.to_thread(lambda: list(islice(texts, _PORTION))):
                kept, told = await _fitting(Tasks(client), portion, labels, wishes, leave_out)
                for text, result in zip(kept, told.results if told is not None else (), strict=True):
                    if result is None:
                        leave_out(text, "The work was cancelled before this text was reached.")
                    else:
                        found = {"label": result.label, "probabilities": result.probabilities}
                        typer.echo(msgspec.json.encode({**text.told(), **found}))
        return 1 if failed else 0

    raise typer.Exit(asyncio.run(until_told(work())))


async def _fitting(
    tasks: Tasks,
    texts: list[_Text],
    labels: list[str | dict[str, str]],
    wishes: ClassificationWishes,
    leave_out: Callable[[_Text, str], None],
) -> tuple[list[_Text], Classification | None]:
    """The labels of those texts that the server takes, which looks at all of them before it begins with one."""
    while texts:
        try:
            return texts, await _classified(tasks, [text.text for text in texts], labels, wishes)
        except InvalidRequest as error:
            place = _PLACE.fullmatch(error.param or "")
            number = int(place[1]) if place is not None else 0
            if place is None and error.param != "text":
                raise
            leave_out(texts[number], error.message)
            texts = texts[:number] + texts[number + 1 :]
    return texts, None


async def _classified(
    tasks: Tasks, texts: list[str], labels: list[str | dict[str, str]], wishes: ClassificationWishes
) -> Classification:
    """What the server says, with the progress in sight meanwhile."""
    from fairlead.task_info import Classification, TaskProgress

    with stages() as show:
        async with aclosing(tasks.classify(texts, labels, **wishes)) as steps:
            async for step in steps:
                if isinstance(step, TaskProgress) and (step.done == step.total or step.done % 16 == 0):
                    show(f"{step.phase} {step.done} of {step.total}")
    assert isinstance(step, Classification), "a stream ends with it"
    return step


def _label(given: str) -> str | dict[str, str]:
    name, colon, meaning = given.partition(": ")
    return {"name": name, "description": meaning} if colon else given


def _examples(path: Path) -> list[dict[str, str]]:
    import msgspec

    try:
        with path.open("rb") as lines:
            return [msgspec.json.decode(line, type=dict[str, str]) for line in lines if line.strip()]
    except msgspec.DecodeError as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint="--examples") from error


def _texts(paths: Iterable[Path], leave_out: Callable[[_Text, str], None], *, lines: bool) -> Iterator[_Text]:
    """The texts of files, empty lines left out; what is piped in is taken line by line as it comes."""
    for path in paths:
        source = None if path == PIPED else str(path)
        try:
            if source is None:
                yield from _lines(sys.stdin, source)
            elif lines:
                with path.open(encoding="utf-8") as opened:
                    yield from _lines(opened, source)
            else:
                yield _Text(path.read_text(encoding="utf-8"), source)
        except UnicodeDecodeError:
            leave_out(_Text("", source), "This is no text in UTF-8.")
        except OSError as error:
            leave_out(_Text("", source), str(error.strerror))


def _lines(opened: Iterable[str], source: str | None) -> Iterator[_Text]:
    return (_Text(line.strip(), source, number) for number, line in enumerate(opened, 1) if line.strip())
