"""`fairlead config`: what the configuration says, and whether it is right."""

from __future__ import annotations

import re
from dataclasses import fields

import typer

from fairlead.cli.options import Config, Home
from fairlead.config import CONFIG_FILE, load_settings
from fairlead.visible import safe

app = typer.Typer(help="Look at the configuration.", no_args_is_help=True)

_NOT_SHOWN = ("users", "models", "model_defaults")
_PASSWORD = re.compile(r"(?<=:)[^/@:]+(?=@)")
"""In a URL."""


@app.callback()
def config() -> None:
    """Look at the configuration."""


@app.command()
def check(home: Home = None, config: Config = None) -> None:
    """Read the configuration, say what is wrong with it, and show what it comes to."""
    from fairlead.gguf.catalogue import Catalogue

    settings = load_settings(home, config)
    models = [entry.name for entry in Catalogue(settings)]
    path = config or settings.home / CONFIG_FILE
    typer.echo(safe(f"{path} is right." if path.exists() else f"There is no {path}: these are the defaults."))
    for item in fields(settings):
        if item.name not in _NOT_SHOWN:
            value = getattr(settings, item.name)
            typer.echo(safe(f"  {item.name} = {_PASSWORD.sub('***', value) if isinstance(value, str) else value}"))
    typer.echo(safe(f"  users = {', '.join(settings.users)}"))
    typer.echo(safe(f"  models = {', '.join(models)}"))
