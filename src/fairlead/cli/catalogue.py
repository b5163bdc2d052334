"""Commands about models on this machine, which need no server: `list`, `show`, `pull`, `add`, `verify` and `remove`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead import checks
from fairlead.cli.options import Config, Home, Key, Url, address
from fairlead.cli.terminal import note, progress, size, table
from fairlead.config import Settings, load_settings
from fairlead.errors import ConfigError
from fairlead.model_entry import HubSource, ModelEntry
from fairlead.visible import safe

if TYPE_CHECKING:
    from fairlead.model_info import Estimate

Name = Annotated[str, typer.Argument(help="A name that `fairlead list` shows.", metavar="NAME")]
Names = Annotated[list[str], typer.Argument(help="Names that `fairlead list` shows.", metavar="NAME...")]


def list_models(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Only models that have these words in what is known of them.", metavar="[WORD...]"),
    ] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """List the models that can be asked for by name, and which of them are on this machine."""
    from fairlead.gguf.catalogue import Catalogue

    catalogue = Catalogue(load_settings(home, config))
    rows = []
    for entry in catalogue.search(" ".join(words or [])):
        path = catalogue.path(entry)
        on_disk = path.stat().st_size if path else entry.size_bytes
        what = (entry.architecture or "", entry.parameters or "", entry.quantization or "")
        rows.append((entry.name, *what, size(on_disk), "on disk" if path else "available"))
    table([("NAME", "ARCHITECTURE", "PARAMETERS", "QUANTIZATION", "SIZE", "STATE"), *rows])
    use = catalogue.shelf.disk_use()
    partial = f", and {size(use.partial_bytes)} of unfinished downloads" if use.partial_bytes else ""
    note(f"The models folder takes {size(use.models_bytes)}{partial}; {size(use.free_bytes)} are free.")


def show(
    name: Annotated[str, typer.Argument(help="A model's name, or a GGUF file.", metavar="NAME|FILE")],
    url: Url = None,
    access_key: Key = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Show what is known of a model: where it comes from, what its file says, and, by a running server, if it fits."""
    from fairlead.gguf.catalogue import Catalogue

    settings = load_settings(home, config)
    catalogue = Catalogue(settings)
    entry = catalogue.resolve(name)
    path = catalogue.path(entry)
    facts = {
        "name": entry.name,
        "architecture": entry.architecture,
        "parameters": entry.parameters,
        "quantization": entry.quantization,
        "size": size(entry.size_bytes),
        "sha256": catalogue.shelf.checksum(entry, path) if path else entry.sha256,
        "sources": ", ".join(map(str, entry.sources)),
        "file": str(path) if path else f"not on this machine: fairlead pull {entry.name}",
    }
    facts |= _of_file(path) if path else {}
    facts["defaults"] = _defaults(entry)
    facts["memory"] = asyncio.run(_memory(entry, settings, url, access_key))
    for key, value in facts.items():
        if value:
            typer.echo(f"{key:<16}{safe(value)}")


def pull(names: Names, home: Home = None, config: Config = None) -> None:
    """Download models, several at once; goes on where an earlier try stopped, and verifies what came."""
    from fairlead.cli.fetching import fetch_all_in_sight
    from fairlead.gguf.catalogue import Catalogue

    settings = load_settings(home, config)
    catalogue = Catalogue(settings)
    entries = {entry.name: entry for entry in map(catalogue.find, names)}
    for entry, path in fetch_all_in_sight(list(entries.values()), settings):
        note(f"{entry.name} is at {path} ({size(path.stat().st_size)}).")


def add(
    source: Annotated[
        str, typer.Argument(help="OWNER/NAME of a repository on the hub, or a GGUF file.", metavar="REPO|FILE")
    ],
    file: Annotated[str | None, typer.Argument(help="The file in the repository.", metavar="[FILE]")] = None,
    *,
    name: Annotated[str | None, typer.Option(help="What to call it; otherwise as its file is called.")] = None,
    revision: Annotated[str, typer.Option(help="A branch, tag or commit of the repository.")] = "main",
    home: Home = None,
    config: Config = None,
) -> None:
    """Add a model for good: a file on the hub, for `fairlead pull`, or one on this machine, used where it lies."""
    from fairlead.gguf.catalogue import Catalogue, entry_for_file, entry_for_hub
    from fairlead.gguf.opening import open_model

    if name is not None:
        _checked("--name", checks.model_name, name)
    if file is not None:
        repo, path = _checked("REPO", checks.hub_repo, source), _checked("FILE", checks.relative_path, file)
        entry = entry_for_hub(HubSource(repo, path, _checked("--revision", checks.revision, revision)), name)
    else:
        entry = entry_for_file(Path(source), name)
        open_model(Path(source).expanduser()).close()  # says so where it cannot be used
    added = Catalogue(load_settings(home, config)).add(entry)
    note(f"{added.name} is added" + ("." if file is None else f"; `fairlead pull {added.name}` fetches it."))


def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Models; otherwise all that are here.")] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Read models' files through and compare their checksums; fails where one is not what it should be."""
    from fairlead.errors import ModelFileError
    from fairlead.gguf.catalogue import Catalogue

    catalogue = Catalogue(load_settings(home, config))
    wrong = False
    for entry in map(catalogue.find, names) if names else [entry for entry in catalogue if catalogue.path(entry)]:
        path = catalogue.path(entry)
        if path is None:
            typer.echo(safe(f"{entry.name}: not on this machine"))
            wrong = True
            continue
        known = catalogue.shelf.checksum(entry, path) is not None
        try:
            with progress(entry.name) as update:
                for part, of_part in catalogue.shelf.parts(entry, path):  # the weights last
                    found = catalogue.shelf.prove(part, of_part, lambda done, total: update("verifying", done, total))
        except ModelFileError as error:
            typer.echo(safe(f"{entry.name}: WRONG: {error.message}"))
            wrong = True
        else:
            typer.echo(f"{entry.name}: {'right' if known else 'nobody knew its checksum until now'}, SHA-256 {found}")
    if wrong:
        raise typer.Exit(1)


def remove(names: Names, home: Home = None, config: Config = None) -> None:
    """Delete models' fetched files, and the models themselves where they were added.

    A file that was added by its path is its owner's and stays. A server that has a model loaded keeps it until it is
    unloaded.
    """
    from fairlead.gguf.catalogue import Catalogue

    catalogue = Catalogue(load_settings(home, config))
    for entry in [catalogue.find(name) for name in names]:
        added = catalogue.is_added(entry)
        freed = catalogue.remove(entry)
        note(f"{entry.name}: {size(freed)} given back" + ("; it is struck out." if added else "."))


async def _memory(entry: ModelEntry, settings: Settings, url: str | None, key: str | None) -> str | None:
    """What a running server estimates; None where there is none, or it does not know the model."""
    from fairlead.client import FairleadClient
    from fairlead.errors import FairleadError

    async with FairleadClient(address(settings, url), key) as client:
        try:
            told = await client.estimate(entry.name)
        except FairleadError:  # no server; or none of its models; or nothing to estimate by
            return None
    return _in_words(told)


def _in_words(told: Estimate) -> str:
    parts = f"{size(told.weight_bytes)} weights, {size(told.kv_bytes)} KV cache, {size(told.work_bytes)} work space"
    if not told.fits:
        fate = f"does not fit; a context of {told.largest_context_that_fits} would"
        fate = fate if told.largest_context_that_fits else "does not fit"
    else:
        fate = f"fits, if {', '.join(told.unloads)} leaves" if told.unloads else "fits"
    takes = f"{size(told.required_bytes)} for a context of {told.context_length} ({parts})"
    return f"{takes}; {size(told.available_bytes)} available: {fate}"


def _checked(what: str, check: Callable[[object], str], value: str) -> str:
    try:
        return check(value)
    except ValueError as error:
        raise ConfigError(f"{what} {error}") from None


def _of_file(path: Path) -> dict[str, str | None]:
    from fairlead.gguf.opening import open_model

    with open_model(path) as file:
        context = file.get_int(f"{file.architecture}.context_length", default=0)
        return {
            "architecture": file.architecture,
            "quantization": file.quantization,
            "weights": f"{file.parameter_count:,} in {len(file.tensors)} tensors",
            "context length": f"{context} tokens" if context else None,
            "size": size(path.stat().st_size),
            "says it is": file.name,
        }


def _defaults(entry: ModelEntry) -> str:
    given = ((item.name, getattr(entry.defaults, item.name)) for item in fields(entry.defaults))
    return ", ".join(f"{name} {value!r}" for name, value in given if value is not None)
