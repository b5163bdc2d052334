"""The models that people added by a command or a call: `models.toml` in the home folder.

Kept apart from `fairlead.toml`, which is people's own to write; the tables are the same. Several processes may
change it, and each sees what another has changed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fairlead.errors import ConfigError
from fairlead.model_entry import FileSource, HubSource, ModelEntry, Source, WheelSource, parse_models
from fairlead.toml_document import Document

ADDED_FILE: Final = "models.toml"
_HEAD: Final = "# Models that were added with `fairlead add` or POST /models. Fairlead writes this file.\n"


class AddedModels:
    """The models of `home/models.toml`; where there is no file there are none."""

    def __init__(self, home: Path) -> None:
        self._path = home / ADDED_FILE

    @property
    def version(self) -> tuple[int, int] | None:
        """Changes whenever the file does; None where there is none."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_ino

    def entries(self) -> tuple[ModelEntry, ...]:
        """Every model of the file; ConfigError, with the line, where somebody spoilt it."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._path} cannot be read: {error}") from None
        entries, defaults = parse_models(Document.parse(self._path, text))
        if defaults:
            raise ConfigError(f"{self._path}: models.{next(iter(defaults))} needs a `file` and `sources`")
        return entries

    def add(self, entry: ModelEntry) -> None:
        """Write a model down for good; one of the same name is replaced. OSError of the disk."""
        with self._locked():
            self._write([*(other for other in self.entries() if other.name != entry.name), entry])

    def remove(self, name: str) -> bool:
        """Strike a model out; whether it was there."""
        with self._locked():
            before = self.entries()
            left = [entry for entry in before if entry.name != name]
            if len(left) < len(before):
                self._write(left)
        return len(left) < len(before)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
            yield

    def _write(self, entries: Iterable[ModelEntry]) -> None:
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(_HEAD + "".join(map(_table, entries)))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


def _table(entry: ModelEntry) -> str:
    lines = [f"\n[models.{_text(entry.name)}]", f"file = {_text(entry.file)}"]
    lines.append(f"sources = [{', '.join(map(_source, entry.sources))}]")
    if entry.sha256 is not None:
        lines.append(f"sha256 = {_text(entry.sha256)}")
    return "\n".join(lines) + "\n"


def _source(source: Source) -> str:
    match source:
        case HubSource():
            given = {"hub": source.repo, "file": source.file, "revision": source.revision}
        case WheelSource():
            given = {"wheel": source.requirement, "member": source.member}
        case FileSource():
            given = {"path": str(source.path)}
    return "{ " + ", ".join(f"{key} = {_text(value)}" for key, value in given.items()) + " }"


def _text(value: str) -> str:
    """A TOML basic string, of which JSON's are a kind (but for DEL, which no checked value holds)."""
    return json.dumps(value, ensure_ascii=False)
