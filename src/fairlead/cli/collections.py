"""`fairlead collections`: rows of tables made searchable by meaning, and searched."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.options import Config, Home, Key, Url
from fairlead.cli.reaching import reached_server, until_told
from fairlead.cli.terminal import note, stages, table
from fairlead.config import load_settings

if TYPE_CHECKING:
    from fairlead.collection_client import CollectionsClient
    from fairlead.collection_info import CollectionInfo, SearchResults, TableWishes, Value

app = typer.Typer(help="Collections: rows of tables, found by meaning.", no_args_is_help=True)

_SHOWN = 100
"""Characters of a text in a table."""
_NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}

Name = Annotated[str, typer.Argument(help="Of the collection.", metavar="NAME")]
AsJson = Annotated[bool, typer.Option("--json", help="In JSON, as where output is piped.")]
Work = Callable[["CollectionsClient"], Awaitable[int]]


@app.callback()
def collections() -> None:
    """Make rows of tables searchable by meaning; starts a server where none is running."""


@app.command()
def create(
    name: Name,
    file: Annotated[Path, typer.Argument(help="A csv, tsv or jsonl file.", exists=True, dir_okay=False)],
    *,
    text_column: Annotated[str | None, typer.Option(help="Search by this column; else it is guessed.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="What parts the fields, such as ; or tab.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of the file, such as cp1252.")] = None,
    model: Annotated[str | None, typer.Option(help="Embed with this model.", metavar="MODEL")] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show what the file is read as, and make nothing.")
    ] = False,
    url: Url = None,
    key: Key = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Make a collection of a table, and wait until all of it can be found; the server goes on without you, too."""
    wishes: TableWishes = {}
    if text_column is not None:
        wishes["text_column"] = text_column
    if delimiter is not None:
        wishes["delimiter"] = _NAMED_DELIMITERS.get(delimiter, delimiter)
    if encoding is not None:
        wishes["encoding"] = encoding

    async def make(client: CollectionsClient) -> int:
        content = await asyncio.to_thread(file.read_bytes)
        if preview:
            looked = await client.preview(file.name, content, **wishes)
            names = [column.name for column in looked.columns]
            table([names, *([_cell(row[column]) for column in names] for row in looked.rows)])
            _tell_reading(looked.text_column, looked.text_column_guessed, looked.delimiter, looked.encoding)
            note(f"{looked.row_count} rows.")
            return 0
        made = await client.create_from_file(name, file.name, content, model=model, **wishes)
        if made.source is not None:
            _tell_reading(made.text_column, made.text_column_guessed, made.source.delimiter, made.source.encoding)
        return await _watch(client, name)

    _run(make, url, key, home, config)


@app.command()
def search(
    name: Name,
    query: Annotated[str, typer.Argument(help="What to find.", metavar="QUERY")],
    *,
    top_k: Annotated[int, typer.Option(help="So many rows at most.", min=1, max=100)] = 10,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            help="Only rows whose column has this value, or one of several where it is given again; or lies between: "
            "year=1900..1950, year=1900.., year=..1950.",
            metavar="COLUMN=VALUE",
        ),
    ] = None,
    min_score: Annotated[float | None, typer.Option(help="The least cosine that counts.", min=-1, max=1)] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Find the rows nearest to a question in meaning; a line of JSON for each where output is piped."""

    async def find(client: CollectionsClient) -> int:
        from fairlead.collection_info import SearchWishes

        wishes: SearchWishes = {"top_k": top_k}
        if filters:
            wishes["filters"] = _filters(filters, await client.look_at(name))
        if min_score is not None:
            wishes["min_score"] = min_score
        found = await client.search(name, query, **wishes)
        _show(found, in_lines=as_json or not sys.stdout.isatty())
        return 0

    _run(find, url, key, home, config)


@app.command("list")
def list_collections(
    *, as_json: AsJson = False, url: Url = None, key: Key = None, home: Home = None, config: Config = None
) -> None:
    """Show your collections, and what comes with the server."""

    async def show_all(client: CollectionsClient) -> int:
        import msgspec

        found = await client.list()
        if as_json:
            typer.echo(msgspec.json.encode(found))
            return 0
        rows = [
            (each.name, each.state, f"{each.embedded_count} of {each.row_count}", each.text_column, each.model)
            for each in found
        ]
        table([("NAME", "STATE", "EMBEDDED", "TEXT", "MODEL"), *rows])
        return 0

    _run(show_all, url, key, home, config)


@app.command()
def show(name: Name, url: Url = None, key: Key = None, home: Home = None, config: Config = None) -> None:
    """Tell all of a collection, in JSON."""

    async def tell(client: CollectionsClient) -> int:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(await client.look_at(name))))
        return 0

    _run(tell, url, key, home, config)


@app.command()
def delete(
    name: Name,
    url: Url = None,
    key: Key = None,
    home: Home = None,
    config: Config = None,
    *,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a collection with all its rows."""
    sure or typer.confirm(f"Delete the collection {name} with all its rows?", abort=True)

    async def remove(client: CollectionsClient) -> int:
        await client.remove(name)
        note(f"{name} is deleted.")
        return 0

    _run(remove, url, key, home, config)


def _run(work: Work, url: str | None, key: str | None, home: Path | None, config: Path | None) -> None:
    """Work with the collections of the running server, or of one that is started for it."""
    settings = load_settings(home, config)

    async def run() -> int:
        from fairlead.collection_client import CollectionsClient

        async with AsyncExitStack() as stack:
            client = await reached_server(stack, settings.embedding_model, url, key, settings, config)
            return await work(CollectionsClient(client))

    raise typer.Exit(asyncio.run(until_told(run())))


async def _watch(client: CollectionsClient, name: str) -> int:
    """Wait for a collection, with its progress in sight."""
    with stages() as show_stage:
        told = -1
        async for found in client.until_settled(name):
            if found.embedded_count != told:
                told = found.embedded_count
                show_stage(f"{name}: embedding {told} of {found.row_count - found.skipped_count}")
    if found.state == "failed":
        note(f"Error: {found.error}")
        return 1
    skipped = f"; {found.skipped_count} without a text are left out" if found.skipped_count else ""
    note(f"{name} is ready: {found.embedded_count} rows can be found{skipped}.")
    return 0


def _tell_reading(text_column: str | None, guessed: bool, delimiter: str | None, encoding: str) -> None:
    parted = "" if delimiter is None else f", fields parted by {delimiter!r}"
    column = "no column holds text" if text_column is None else f"the text is in {text_column}"
    note(f"Read as {encoding}{parted}; {column}{' (guessed)' if guessed and text_column else ''}.")


def _show(found: SearchResults, *, in_lines: bool) -> None:
    import msgspec

    if in_lines:
        for hit in found.results:
            typer.echo(msgspec.json.encode(hit))
        return
    if found.results:
        table([("SCORE", "ID", "TEXT"), *((f"{hit.score:.3f}", str(hit.id), _cell(hit.text)) for hit in found.results)])
    if found.state != "ready":
        note("Not all of it is embedded yet: more may be found later.")
    note(f"{len(found.results)} of {found.searched} rows, in {found.took_ms:.0f} ms.")


def _filters(given: Sequence[str], info: CollectionInfo) -> dict[str, Value | list[Value] | dict[str, str | float]]:
    """Filters as the contract has them; BadParameter for what is none."""
    kinds = {column.name: column.type for column in info.columns}
    values: dict[str, list[Value]] = {}
    ranges: dict[str, dict[str, str | float]] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or name not in kinds:
            raise typer.BadParameter(f"{one!r} is no COLUMN=VALUE; the columns are {', '.join(kinds)}")
        low, between, high = value.partition("..")
        if between and (low or high):
            ends = {"from": low, "to": high}
            ranges[name] = {end: _typed(text, kinds[name]) for end, text in ends.items() if text}
        else:
            values.setdefault(name, []).append(_typed(value, kinds[name]))
    return {**values, **ranges}


def _typed(text: str, kind: str) -> str | float:
    if kind == "text":
        return text
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number") from None


def _cell(value: Value) -> str:
    text = "" if value is None else re.sub(r"\s+", " ", str(value))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
