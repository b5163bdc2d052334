"""`fairlead`: the commands put together, and how they end.

Exit status: 0 done, 1 it failed, 2 it was asked for wrongly, 130 interrupted; of `run` also 3 the answer was cut off,
4 no server or no model that could answer. Commands import what they need when they run, so that `--help` is quick.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

import fairlead
from fairlead.cli import (
    answer,
    backup,
    bench,
    catalogue,
    chat,
    classify,
    collections,
    config,
    doctor,
    embed,
    generate,
    keys,
    models,
    serve,
    summarize,
    top,
)
from fairlead.cli.terminal import note
from fairlead.errors import ConfigError, FairleadError

INTERRUPTED = 130


class Commands(TyperGroup):
    """A group whose errors are one sentence on stderr and an exit status."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # typer's Context is click's
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            note(f"Error: {error.message}")
            raise typer.Exit(2) from None
        except FairleadError as error:
            note(f"Error: {error.message}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="fairlead",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fairlead {fairlead.__version__}")
        raise typer.Exit


@app.callback()
def start(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """A local LLM server for the people who share one machine."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an answer may hold what the terminal's encoding lacks


for command in (
    serve.serve,
    chat.chat,
    generate.run,
    summarize.summarize,
    answer.answer,
    classify.classify,
    embed.embed,
    catalogue.list_models,
    catalogue.show,
    catalogue.pull,
    catalogue.add,
    catalogue.verify,
    catalogue.remove,
    models.ps,
    models.load,
    models.unload,
    top.top,
    backup.backup,
    backup.restore,
    doctor.doctor,
    bench.bench,
):
    app.command("list" if command is catalogue.list_models else None)(command)
app.add_typer(config.app, name="config")
app.add_typer(keys.app, name="keys")
app.add_typer(collections.app, name="collections")
