"""A TOML file that people wrote: parsed, checked key by key, and quoted by line where it is wrong.

Knows no setting; what may stand in a file is said by whoever reads it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead import checks
from fairlead.errors import ConfigError

Check = Callable[[object], object]


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed TOML file that can say on which line a key stands."""

    path: Path
    text: str
    tables: Mapping[str, object]

    @classmethod
    def parse(cls, path: Path, text: str) -> Document:
        """The document in `text`; ConfigError, with the line, where it is no TOML."""
        try:
            return cls(path, text, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: this is no TOML: {error}") from None

    def wrong(self, key: tuple[str, ...], problem: str) -> ConfigError:
        """The error that says where `key` stands and what is wrong with it."""
        line = checks.line_of(self.text, key)
        place = f"{self.path}:{line}" if line else f"{self.path}"
        return ConfigError(f"{place}: {'.'.join(key)} {problem}", param=".".join(key))

    def named(self, section: str) -> Mapping[str, object]:
        """The values under `section`, which are to be tables with names; ConfigError where it is no section."""
        values = self.tables.get(section, {})
        if not isinstance(values, dict):
            raise self.wrong((section,), f"must be tables, each one a [{section}.NAME]")
        return values

    def checked(
        self, table: Mapping[str, object], path: tuple[str, ...], known: Mapping[str, Check]
    ) -> dict[str, object]:
        """The values of `table`, checked; ConfigError for an unknown key or a bad value."""
        values = {}
        for key, value in table.items():
            if key not in known:
                raise self.wrong((*path, key), f"is not a setting{instead(key, known)}")
            try:
                values[key] = known[key](value)
            except ValueError as error:
                raise self.wrong((*path, key), str(error)) from None
        return values


def instead(key: str, known: Mapping[str, object] | list[str]) -> str:
    """What to add to the complaint about an unknown key: the one that was likely meant, or all there are."""
    close = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
