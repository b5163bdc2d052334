"""`fairlead bench`: what the machine can give, and how much of it the engine takes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.options import Config, Home
from fairlead.cli.terminal import note, stages, table
from fairlead.config import load_settings
from fairlead.errors import ConfigError

if TYPE_CHECKING:
    from fairlead.bench.suite import Suite


def bench(
    model: Annotated[
        str | None,
        typer.Argument(help="A model's name, or a GGUF file; otherwise the configured one.", metavar="NAME|FILE"),
    ] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A few figures, in some seconds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    prompt: Annotated[
        list[int] | None, typer.Option(help="Length of a prompt to read; may be given again.", min=1)
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(help="Sequences to decode side by side; may be given again.", min=1)
    ] = None,
    context: Annotated[
        list[int] | None, typer.Option(help="Tokens that each of these holds; may be given again.", min=1)
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="About how long each figure is measured.", min=0.01)] = None,
    limit: Annotated[float | None, typer.Option(help="Seconds after which the rest is left out.", min=1)] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads; 0: one for each processor given to this process.")
    ] = None,
    isa: Annotated[
        str | None, typer.Option(help="Use this instruction set instead of the best.", metavar="SET")
    ] = None,
    kv_type: Annotated[str | None, typer.Option(help="f16, f32 or q8.", show_default="f16")] = None,
    activations: Annotated[str | None, typer.Option(help="q16 or q8.", show_default="q16")] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Measure the machine and then the engine, each figure as a share of its limit. Best with nothing else running."""
    from fairlead.bench import report
    from fairlead.bench.engine import check, measure_engine
    from fairlead.bench.machine import given_processors, measure_machine
    from fairlead.cli.fetching import fetch_in_sight
    from fairlead.gguf.catalogue import Catalogue

    settings = load_settings(home, config, {"threads": threads, "kv_type": kv_type, "activations": activations})
    chosen = model or settings.default_model
    if chosen is None:
        raise typer.BadParameter("name a model, as no default_model is configured", param_hint="NAME|FILE")
    _use(isa)
    suite = _suite(quick, prompts=prompt, batches=batch, contexts=context, seconds=seconds, limit_s=limit)
    path = fetch_in_sight(Catalogue(settings).resolve(chosen), settings)
    check(path, suite, settings)  # before the machine is measured, which takes some seconds
    with stages() as tell:
        count = settings.threads or given_processors()
        machine = measure_machine(count, suite.seconds, tell)
        engine = measure_engine(path, suite, settings, count, tell)
    if as_json:
        typer.echo(json.dumps(report.as_json(machine, engine), indent=1))
        return
    table(list(report.machine_rows(machine)))
    typer.echo()
    table(list(report.engine_rows(machine, engine)))
    typer.echo(f"\n{report.memory_line(engine)}")
    if engine.left_out:
        note(f"There was no time for: {', '.join(engine.left_out)}.")


def _suite(quick: bool, **asked: list[int] | float | None) -> Suite:
    """The usual figures, or the quick ones, with what was asked for in their place."""
    from fairlead.bench.suite import QUICK, Suite

    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in asked.items() if value}
    return replace(QUICK if quick else Suite(), **fields)  # type: ignore[arg-type]  # of the fields' types


def _use(isa: str | None) -> None:
    """Have the engine use this instruction set, where one was named."""
    from fairlead.kernels import set_instruction_set

    if isa is not None:
        try:
            set_instruction_set(isa)
        except ValueError as error:
            raise ConfigError(f"--isa: {error}") from None
