"""What the terminal program keeps between two runs: who signed in where, and each person's colours."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

FILE = "terminal.json"


class SignIn(msgspec.Struct, frozen=True):
    """A name, or the key that stands for one."""

    user: str | None = None
    key: str | None = None


class Look(msgspec.Struct, frozen=True):
    """A person's colours: those of their own words and the model's, and the theme around them."""

    person: str = "cyan"
    model: str = "default"
    theme: str = "textual-dark"


class _Content(msgspec.Struct):
    sign_ins: dict[str, SignIn] = {}
    looks: dict[str, Look] = {}


class Saved:
    """The file `terminal.json` of a home folder, readable for its owner alone; one that is damaged counts as empty."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        try:
            self._content = msgspec.json.decode(self._path.read_bytes(), type=_Content)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            self._content = _Content()

    def sign_in(self, url: str) -> SignIn | None:
        """Who signed in last at a server."""
        return self._content.sign_ins.get(url)

    def keep_sign_in(self, url: str, sign_in: SignIn) -> None:
        """Remember who signed in."""
        self._content.sign_ins[url] = sign_in
        self._write()

    def look(self, user: str) -> Look:
        """A person's colours, or the first ones."""
        return self._content.looks.get(user, Look())

    def keep_look(self, user: str, look: Look) -> None:
        """Remember a person's colours."""
        self._content.looks[user] = look
        self._write()

    def _write(self) -> None:
        """Put a whole new file in the old one's place."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(self._content)))
        new.replace(self._path)
