"""The models folder: where each model's file lies, which of them are proven whole, and what they take.

A file with a checksum is read through once, when it comes or when it was changed, and a record of that is kept
beside the files, so that nothing corrupt is loaded and nothing sound is read twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fairlead.errors import ModelFileError
from fairlead.model_entry import FileSource, ModelEntry

PARTIAL: Final = ".partial"
_PROVEN: Final = ".proven"
_CHUNK: Final = 4 * 2**20


class _Proof(msgspec.Struct, frozen=True):
    """A file as it was when its checksum was right."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What the models folder takes, in bytes."""

    models_bytes: int
    partial_bytes: int
    free_bytes: int


class Shelf:
    """The folder `folder`; it need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, entry: ModelEntry) -> Path | None:
        """Where the model's weights lie; None where they, or what belongs beside them, are not on this machine."""
        candidates = [self.folder / entry.file]
        candidates += [source.path for source in entry.sources if isinstance(source, FileSource)]
        return next((path for path in candidates if path.is_file() and _has_companions(entry, path)), None)

    def parts(self, entry: ModelEntry, path: Path) -> list[tuple[ModelEntry, Path]]:
        """The model's files, whose weights lie at `path`, each with its entry; the weights last."""
        paths = [*(path.parent / companion.file for companion in entry.companions), path]
        return list(zip(entry.parts, paths, strict=True))

    def record(self, path: Path, sha256: str) -> None:
        """Note that a file has this checksum; what was noted before of one of its name is forgotten."""
        status = path.stat()
        proof = msgspec.json.encode(_Proof(sha256, status.st_size, status.st_mtime_ns))
        note = self._note(path)
        note.parent.mkdir(parents=True, exist_ok=True)
        fresh = note.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(proof)
        fresh.replace(note)

    def checksum(self, entry: ModelEntry, path: Path) -> str | None:
        """What the file's SHA-256 must be: the catalogue's, else the one that it came with; None where nobody said."""
        proof = self._proof(path)
        return entry.sha256 or (proof.sha256 if proof else None)

    def is_proven(self, entry: ModelEntry, path: Path) -> bool:
        """Whether nothing is left to check: it was found right and is unchanged, or there is nothing to go by."""
        sha256 = self.checksum(entry, path)
        if sha256 is None:
            return entry.size_bytes in (None, path.stat().st_size)
        status = path.stat()
        return self._proof(path) == _Proof(sha256, status.st_size, status.st_mtime_ns)

    def prove(self, entry: ModelEntry, path: Path, report: Callable[[int, int], None] = lambda *_: None) -> str:
        """Read a file through and return its SHA-256; one that nobody knew is what it must be from now on.

        Raises:
            ModelFileError: it is not the file that it should be; it is left as it is.
        """
        try:
            size = path.stat().st_size
            if entry.size_bytes not in (None, size):
                raise ModelFileError(
                    f"{path.name} has {size} bytes, not the {entry.size_bytes} of {entry.name}: it is cut short or "
                    "another file; remove it and fetch the model again"
                )
            found = sha256_of(path, report)
            wanted = self.checksum(entry, path)
            if wanted not in (None, found):
                raise ModelFileError(
                    f"{path.name} is corrupt: its SHA-256 is {found[:12]}…, not {str(wanted)[:12]}…; remove it and "
                    "fetch the model again"
                )
            self.record(path, found)
        except OSError as error:
            raise ModelFileError(f"{path.name} cannot be checked: {error.strerror}") from error
        return found

    def remove(self, entry: ModelEntry) -> int:
        """Delete what was fetched of a model, partial files too, and say how many bytes that gave back.

        A file that lies elsewhere is its owner's and stays. OSError where it cannot be done.
        """
        freed = sum(self._remove(part) for part in entry.parts)
        folders = {(self.folder / part.file).parent for part in entry.parts} - {self.folder}
        for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):  # the inner ones first
            with contextlib.suppress(OSError):  # it is not there, or holds what somebody else put into it
                folder.rmdir()
        return freed

    def _remove(self, entry: ModelEntry) -> int:
        freed = 0
        mine = self.folder / entry.file
        partial = self.folder / PARTIAL
        prefix = f"{flat(entry.file)}."
        parts = [path for path in partial.iterdir() if path.name.startswith(prefix)] if partial.is_dir() else []
        for path in (mine, *parts):
            if path.is_file():
                freed += path.stat().st_size
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        self._note(mine).unlink(missing_ok=True)
        return freed

    def disk_use(self) -> DiskUse:
        """What the folder's files take, and what is free beside them."""
        there = next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())
        hidden = (PARTIAL, _PROVEN)
        models = (path for path in self.folder.rglob("*") if path.relative_to(self.folder).parts[0] not in hidden)
        return DiskUse(
            models_bytes=sum(path.stat().st_size for path in models if path.is_file()),
            partial_bytes=sum(path.stat().st_size for path in (self.folder / PARTIAL).rglob("*") if path.is_file()),
            free_bytes=shutil.disk_usage(there).free,
        )

    def _note(self, path: Path) -> Path:
        name = flat(path.relative_to(self.folder).as_posix()) if path.is_relative_to(self.folder) else path.name
        return self.folder / _PROVEN / f"{name}.json"

    def _proof(self, path: Path) -> _Proof | None:
        try:
            return msgspec.json.decode(self._note(path).read_bytes(), type=_Proof)
        except (OSError, msgspec.DecodeError):  # never checked, or a note that was cut short: check it anew
            return None


def flat(file: str) -> str:
    """A file's path within the models folder as one name."""
    return file.replace("/", "--")


def _has_companions(entry: ModelEntry, path: Path) -> bool:
    return all(_is_whole(path.parent / companion.file, companion.size_bytes) for companion in entry.companions)


def _is_whole(path: Path, size_bytes: int | None) -> bool:
    return path.is_file() and size_bytes in (None, path.stat().st_size)


def sha256_of(path: Path, report: Callable[[int, int], None] = lambda *_: None) -> str:
    """A file's SHA-256 in hex; `report` takes the bytes read and all of them, and what it raises ends it."""
    total, done = path.stat().st_size, 0
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report(done, total)
    return digest.hexdigest()
