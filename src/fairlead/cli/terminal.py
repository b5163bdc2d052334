"""What the commands write to a terminal: text that cannot steer it, sizes, tables, progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import typer

from fairlead.visible import safe

if TYPE_CHECKING:
    from rich.progress import Progress


def say(text: str) -> None:
    """A piece of the output, at once: as it is for a program, made safe for a terminal."""
    sys.stdout.write(safe(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def note(message: str) -> None:
    """A line for the person, apart from the output proper."""
    typer.echo(safe(message), err=True)


def size(nbytes: float | None) -> str:
    """Bytes as people say them: 98.4 MB."""
    if nbytes is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000 or unit == "GB":
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    raise AssertionError


def table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell, the header first: plain text, so that it can be cut and searched."""
    cells = [[safe(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class Update(Protocol):
    """Takes a phase, and the bytes done and in all of it."""

    def __call__(self, phase: str, done: int, total: int | None, /) -> None:
        """Show this from now on."""


@contextmanager
def progress(what: str) -> Iterator[Update]:
    """A progress bar on stderr, or a line for each phase where stderr is no terminal."""
    with progresses([what]) as updates:
        yield updates[what]


@contextmanager
def progresses(whats: Sequence[str]) -> Iterator[Mapping[str, Update]]:
    """A progress bar for each of several things that go on at once; updates may come from any thread."""
    if not sys.stderr.isatty():
        yield {what: _lines(what) for what in whats}
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}", markup=False)
    with Progress(text, *columns, console=Console(stderr=True), transient=True) as bars:
        yield {what: _bar(bars, what) for what in whats}


def _bar(bars: Progress, what: str) -> Update:
    task = bars.add_task(safe(what), total=None)
    current = ""

    def update(phase: str, done: int, total: int | None) -> None:
        nonlocal current
        if phase != current:
            current = phase
            bars.reset(task, total=total, description=safe(f"{what}: {phase}"))
        bars.update(task, completed=done, total=total)

    return update


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """Shows on stderr what is being done: the last word of it on a terminal, else a line for each."""
    if not sys.stderr.isatty():
        yield note
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("") as status:
        yield lambda stage: status.update(Text(safe(stage)))


def _lines(what: str) -> Update:
    current = ""

    def update(phase: str, _done: int, total: int | None) -> None:
        nonlocal current
        if phase != current:
            current = phase
            note(f"{what}: {phase}" + (f" ({size(total)})" if total else ""))

    return update
