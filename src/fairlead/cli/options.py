"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairlead.config import Settings, load_settings

Home = Annotated[
    Path | None,
    typer.Option(
        "--home", help="The folder that holds all data.", envvar="FAIRLEAD_HOME", file_okay=False, show_default=False
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="Another file than fairlead.toml in the home folder.", show_default=False),
]
Url = Annotated[
    str | None,
    typer.Option("--url", help="The server to speak to; otherwise the one of the configuration.", show_default=False),
]

Key = Annotated[
    str | None,
    typer.Option("--key", help="Your access key, where the server asks for one.", envvar="FAIRLEAD_API_KEY"),
]

User = Annotated[
    str | None, typer.Option("--user", help="Your name, where no key says who you are.", show_default=False)
]


def address(settings: Settings, url: str | None) -> str:
    """The URL of the server to speak to."""
    if url is not None:
        return url if "://" in url else f"http://{url}"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104  (compared only)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def address_from(home: Path | None, config: Path | None, url: str | None) -> str:
    """The same, reading the configuration only where it is needed."""
    return address(load_settings(home, config), None) if url is None else address(Settings(Path()), url)
