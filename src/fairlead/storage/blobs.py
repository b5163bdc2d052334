"""Files' bytes, each under its SHA-256: what is attached twice lies here once.

A file is written under a name of its own and takes its hash's name when it is whole and on the disk, so that a hash's
name never stands for half a file. Nothing here knows what a file is called or whose it is. All of it waits for the
disk: call it in a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Final

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_INCOMING: Final = ".incoming"


class Incoming:
    """A file that is being written. Keep it by `Blobs.keep`, or discard it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._hash = hashlib.sha256()
        self._file = path.open("xb")

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Append. OSError where the disk is full."""
        self._file.write(data)
        self._hash.update(data)
        self.size_bytes += len(data)

    def ends(self, head: int, tail: int) -> tuple[bytes, bytes]:
        """Its first and last bytes, at most so many of each."""
        self._file.flush()
        with self.path.open("rb") as file:
            first = file.read(head)
            file.seek(max(0, self.size_bytes - tail))
            return first, file.read(tail)

    def sync(self) -> None:
        """Close it, with all of it on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        """Delete it where it was not kept."""
        with contextlib.suppress(OSError):  # of the last write, which is of no interest any more
            self._file.close()
        self.path.unlink(missing_ok=True)


class Blobs:
    """The files in a folder, which is made where it is not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def incoming(self) -> Incoming:
        """A new file to be written."""
        folder = self._folder / _INCOMING
        folder.mkdir(parents=True, exist_ok=True)
        return Incoming(folder / secrets.token_hex(16))

    def path(self, sha256: str) -> Path:
        """Where the file of this hash lies."""
        assert _DIGEST.fullmatch(sha256), "no hash"
        return self._folder / sha256[:2] / sha256

    def keep(self, incoming: Incoming) -> None:
        """Give a file that was synced its hash's name."""
        path = self.path(incoming.sha256)
        path.parent.mkdir(exist_ok=True)
        incoming.path.replace(path)
        for folder in (path.parent, self._folder):
            _sync_folder(folder)

    def delete(self, sha256: str) -> None:
        """Delete the file of this hash, where there is one."""
        self.path(sha256).unlink(missing_ok=True)

    def sweep(self, wanted: Collection[str]) -> int:
        """Delete what an ended server left unfinished, and every file whose hash is not wanted; how many these were."""
        unwanted = [path for path in self._folder.glob("[0-9a-f][0-9a-f]/*") if path.name not in wanted]
        unwanted += (self._folder / _INCOMING).glob("*")
        for path in unwanted:
            path.unlink(missing_ok=True)
        return len(unwanted)


def _sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
