"""Where a model file is gathered before it is whole: partial files, the lock between processes, the last move.

Owns the folder `.partial` in the models folder and the rule that nothing unverified ever stands under a
model's own name. Knows nothing of where the bytes come from.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fairlead.gguf.shelf import PARTIAL, Shelf, flat, sha256_of

SPARE_BYTES = 64 * 2**20
"""Left free on the disk beside the file."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fetch is, in bytes; `total` is None while nobody knows it."""

    phase: Literal["waiting", "downloading", "extracting", "verifying"]
    done: int
    total: int | None


Report = Callable[[Progress], None]
"""Takes each progress. What it raises ends the fetch; what was fetched so far is kept for the next try."""


class SourceError(Exception):
    """Why one source did not give the file: a clause that reads on after the source's name."""


class Staging:
    """The place where one model file is gathered."""

    def __init__(self, models_dir: Path, file: str) -> None:
        """Make the folders; OSError where that cannot be done."""
        self._shelf = Shelf(models_dir)
        self.folder = models_dir / PARTIAL
        self.folder.mkdir(parents=True, exist_ok=True)
        self._final = models_dir / file
        self._prefix = f"{flat(file)}."

    @contextlib.contextmanager
    def locked(self, report: Report) -> Iterator[None]:
        """Hold the file's lock, so that two processes do not fetch it twice; reports `waiting` meanwhile."""
        with (self.folder / f"{self._prefix}lock").open("ab") as lock:
            while not _try_lock(lock.fileno()):
                report(Progress("waiting", 0, None))
                time.sleep(0.2)
            yield

    def part(self, key: str) -> Path:
        """The partial file of the content that `key` names; parts of any other content are removed."""
        wanted = self.folder / f"{self._prefix}{key[:32]}.part"
        for other in self.folder.iterdir():
            if other.name.startswith(self._prefix) and other != wanted and not other.name.endswith(".lock"):
                shutil.rmtree(other) if other.is_dir() else other.unlink()
        return wanted

    def require_space(self, nbytes: int) -> None:
        """SourceError where the disk has no room for so many more bytes."""
        free = shutil.disk_usage(self.folder).free
        if free < nbytes + SPARE_BYTES:
            raise SourceError(f"needs {nbytes / 1e9:.2f} GB of disk space, and {free / 1e9:.2f} GB are free")

    def place(self, part: Path, sha256: str | None, report: Report) -> Path:
        """Move the whole file to its own name, for good, once its SHA-256 is right; SourceError where it is not."""
        if sha256 is not None:
            found = sha256_of(part, lambda done, total: report(Progress("verifying", done, total)))
            if found != sha256:
                part.unlink()
                raise SourceError(f"sent a file with the SHA-256 {found[:12]}…, not {sha256[:12]}…; it was thrown away")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        self._final.parent.mkdir(parents=True, exist_ok=True)
        part.replace(self._final)
        if sha256 is not None:
            self._shelf.record(self._final, sha256)
        folder = os.open(self._final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return self._final


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
