"""`fairlead backup` and `fairlead restore`: people, keys, chats and their files as one archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.options import Config, Home
from fairlead.cli.terminal import note, size
from fairlead.config import load_settings

Archive = Annotated[Path, typer.Argument(help="The archive.", metavar="FILE", dir_okay=False)]


def backup(archive: Archive, home: Home = None, config: Config = None) -> None:
    """Write people, keys, chats and their files into one archive; the server may run on."""
    from fairlead.service.backup import back_up

    told = back_up(load_settings(home, config), archive.absolute())
    note(f"{archive}: {size(told.size_bytes)}, with {told.files} files of chats. Whoever has it can read all of them.")


def restore(archive: Archive, home: Home = None, config: Config = None) -> None:
    """Bring an archive of `fairlead backup` into a home folder that holds no chats."""
    from fairlead.service.backup import restore

    settings = load_settings(home, config)
    told = restore(settings, archive.absolute())
    note(f"{settings.home}: the database and {told.files} files of chats are back.")
