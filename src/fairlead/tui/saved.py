"""What the terminal program keeps between two runs: who signed in where, each person's colours, what was not sent."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
    drafts: dict[str, dict[str, dict[str, str]]] = {}
    """Of each server, person and chat."""


class Saved:
    """The file `terminal.json` of a home folder, readable for its owner alone; one that is damaged counts as empty.

    Several programs may share it: each reads it anew before it changes its own part.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._content = self._read()

    def sign_in(self, url: str) -> SignIn | None:
        """Who signed in last at a server."""
        return self._content.sign_ins.get(url)

    def keep_sign_in(self, url: str, sign_in: SignIn) -> None:
        """Remember who signed in."""
        with self._changed() as content:
            content.sign_ins[url] = sign_in

    def look(self, user: str) -> Look:
        """A person's colours, or the first ones."""
        return self._content.looks.get(user, Look())

    def keep_look(self, user: str, look: Look) -> None:
        """Remember a person's colours."""
        with self._changed() as content:
            content.looks[user] = look

    def draft(self, url: str, user: str, chat_id: int | None) -> str:
        """What was begun in a chat and not sent; of None in a new one."""
        return self._content.drafts.get(url, {}).get(user, {}).get(_key(chat_id), "")

    def keep_draft(self, url: str, user: str, chat_id: int | None, text: str) -> None:
        """Remember what was begun; an empty text forgets it."""
        if text == self.draft(url, user, chat_id):
            return
        with self._changed() as content:
            of_user = content.drafts.setdefault(url, {}).setdefault(user, {})
            of_user[_key(chat_id)] = text
            if not text:
                del of_user[_key(chat_id)]

    @contextmanager
    def _changed(self) -> Iterator[_Content]:
        """What the file holds now, to be changed; then it is written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            self._content = self._read()
            yield self._content
            self._write()
        finally:
            os.close(folder)

    def _read(self) -> _Content:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Content)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return _Content()

    def _write(self) -> None:
        """Put a whole new file in the old one's place."""
        new = self._path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(self._content)))
        new.replace(self._path)


def _key(chat_id: int | None) -> str:
    return "new" if chat_id is None else str(chat_id)
