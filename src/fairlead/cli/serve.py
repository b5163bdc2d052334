"""`fairlead serve`: run the server."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from fairlead.cli.options import Config, Home
from fairlead.cli.terminal import note
from fairlead.config import load_settings
from fairlead.errors import DownloadError


def serve(
    *,
    model: Annotated[
        str | None,
        typer.Option(help="Load this model, or GGUF file, instead of the configured one.", metavar="NAME|FILE"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes any free one.", show_default="8081")] = None,
    home: Home = None,
    config: Config = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads for each model; 0: one for each processor given to it.")
    ] = None,
    context_length: Annotated[
        int | None, typer.Option(help="Longest prompt and answer together, in tokens.", show_default="the model's own")
    ] = None,
    kv_tokens: Annotated[
        int | None, typer.Option(help="Tokens that the KV cache holds for all requests.", show_default="by memory")
    ] = None,
    kv_type: Annotated[str | None, typer.Option(help="f16, f32 or q8.", show_default="f16")] = None,
    activations: Annotated[
        str | None, typer.Option(help="q16, or q8: faster prompts, less exact.", show_default="q16")
    ] = None,
    max_batch_tokens: Annotated[
        int | None, typer.Option(help="Most tokens that one step computes.", show_default="512")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="Where chats are kept.", metavar="FILE|URL", show_default="fairlead.db in the home folder"),
    ] = None,
    log_format: Annotated[Literal["plain", "json"], typer.Option(help="How the log on stderr is written.")] = "plain",
) -> None:
    """Serve models over HTTP until stopped; fetches the model to start with where it is not here yet."""
    from fairlead.cli.fetching import fetch_in_sight
    from fairlead.gguf.catalogue import Catalogue

    flags = {
        "host": host,
        "port": port,
        "threads": threads,
        "context_length": context_length,
        "kv_tokens": kv_tokens,
        "kv_type": kv_type,
        "activations": activations,
        "max_batch_tokens": max_batch_tokens,
        "database": database,
    }
    settings = load_settings(home, config, flags)
    first = model or settings.default_model
    if first is not None:
        entry = Catalogue(settings).resolve(first)
        try:
            fetch_in_sight(entry, settings)
        except DownloadError as error:
            note(f"Warning: {error.message}")  # the server tries again, and says so in the model's state

    from fairlead.api import server

    server.run(settings, model, log_format=log_format)
