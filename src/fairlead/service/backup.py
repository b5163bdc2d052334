"""Backups: the database, the files in chats and the secret of the keys as one archive, taken while the server runs.

An archive is a tar file that is whole or not there. What it holds is one state of the database and every file which
that state knows of. The configuration and the models are not in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import fairlead
from fairlead.config import Settings
from fairlead.errors import ConfigError, Conflict, FairleadError, InvalidRequest
from fairlead.storage import snapshot

_ABOUT: Final = "backup.json"
_DATABASE: Final = "fairlead.db"
_SECRET: Final = "keys.secret"  # noqa: S105 - a file's name
_FILE: Final = re.compile(r"files/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_KIND: Final = "fairlead backup"
_CHUNK_BYTES: Final = 1 << 20


class Told(NamedTuple):
    """What an archive holds."""

    size_bytes: int
    files: int


def back_up(settings: Settings, archive: Path) -> Told:
    """Write an archive of a home, whether a server uses it or not.

    Raises:
        ConfigError: there is nothing to back up, or the database is not SQLite's.
        Conflict: there is a file of this name.
        StorageFailed: the database cannot be read.
        FairleadError: the archive cannot be written.
    """
    database = _sqlite(settings, "make a backup of it with pg_dump, and of the folder files/ as you like")
    if not database.exists():
        raise ConfigError(f"There is no database at {database}, and so nothing to back up.")
    if archive.exists():
        raise Conflict(f"There is a file {archive} already: choose another name.")
    with _said(archive), _folder(settings.home) as work, _whole(archive) as partial:
        blobs = _state(settings, database, work)
        with tarfile.open(fileobj=partial, mode="w", format=tarfile.PAX_FORMAT) as tar:
            _add_about(tar)
            for blob in blobs:
                tar.add(blob, f"files/{blob.name[:2]}/{blob.name}", filter=_plain)
            if settings.key_secret.exists():
                tar.add(settings.key_secret, _SECRET, filter=_plain)
            tar.add(work / _DATABASE, _DATABASE, filter=_plain)
    return Told(archive.stat().st_size, len(blobs))


def restore(settings: Settings, archive: Path) -> Told:
    """Bring an archive into a home that holds no chats yet. What is in it is checked first, then put in place.

    Raises:
        ConfigError: the home's database is not SQLite's.
        Conflict: the home holds chats, files or keys already.
        InvalidRequest: the archive is none of ours, or damaged.
        FairleadError: it cannot be read or written.
    """
    database = _sqlite(settings, "restore it with pg_restore, and the folder files/ as you saved it")
    for path in (database, settings.key_secret, settings.files_dir):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        if path.exists():
            raise Conflict(f"{path} is there already: a backup is restored into a home that holds no chats.")
    with _said(archive), _folder(settings.home) as work:
        files = _unpack(archive, work)
        snapshot.check(work / _DATABASE)
        if missing := snapshot.hashes(work / _DATABASE) - files:
            raise InvalidRequest(f"The backup is damaged: {len(missing)} files are missing.")
        database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, place in (("files", settings.files_dir), (_SECRET, settings.key_secret), (_DATABASE, database)):
            if (work / name).exists():
                shutil.move(work / name, place)  # the database last: with it, the rest counts
    return Told(database.stat().st_size, len(files))


def _sqlite(settings: Settings, otherwise: str) -> Path:
    location = settings.database_location
    if not isinstance(location, Path):
        raise ConfigError(f"The database is PostgreSQL's: {otherwise}.")
    return location


def _state(settings: Settings, database: Path, work: Path) -> list[Path]:
    """A copy of the database in `work`, and links there to the files that it knows of, which nobody removes."""
    blobs: list[Path] = []

    def link(hashes: set[str]) -> None:
        for sha256 in sorted(hashes):
            blob = work / sha256
            blob.hardlink_to(settings.files_dir / sha256[:2] / sha256)
            blobs.append(blob)

    try:
        snapshot.take(database, work / _DATABASE, link)
    except FileNotFoundError as error:
        text = "Files of the database are missing from the folder files/: nothing was backed up."
        raise FairleadError(text) from error
    return blobs


def _unpack(archive: Path, work: Path) -> set[str]:
    """Write what an archive holds into `work`; the hashes of its files."""
    seen: set[str] = set()
    files: set[str] = set()
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                known = member.name in (_ABOUT, _DATABASE, _SECRET) or _FILE.fullmatch(member.name)
                if not known or not member.isreg() or member.name in seen:
                    raise InvalidRequest(f"{archive} is no backup of Fairlead: it holds {member.name[:200]!r}.")
                seen.add(member.name)
                sha256 = _write(tar, member, work / member.name)
                if found := _FILE.fullmatch(member.name):
                    if sha256 != found[2]:
                        raise InvalidRequest(f"The backup is damaged: the file {found[2]} is not what it was.")
                    files.add(sha256)
    except (tarfile.TarError, EOFError) as error:
        raise InvalidRequest(f"{archive} is no backup of Fairlead, or is damaged: {error}.") from None
    if missing := {_ABOUT, _DATABASE} - seen:
        raise InvalidRequest(f"{archive} is no backup of Fairlead, or is cut short: {min(missing)} is missing.")
    return files


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> str:
    """Write a member to a file; its SHA-256."""
    source = tar.extractfile(member)
    assert source is not None, "a regular file"
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), member.size
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as target:
        while left:
            chunk = source.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise EOFError("it ends too soon")
            digest.update(chunk)
            target.write(chunk)
            left -= len(chunk)
        target.flush()
        os.fsync(target.fileno())
    return digest.hexdigest()


def _add_about(tar: tarfile.TarFile) -> None:
    told = {"kind": _KIND, "version": fairlead.__version__, "made_at": datetime.now(UTC).isoformat()}
    data = json.dumps(told).encode()
    member = _plain(tarfile.TarInfo(_ABOUT))
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without anything of this machine's accounts."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    if member.islnk():
        member.type = tarfile.REGTYPE
    return member


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[io.BufferedWriter]:
    """A file that has its name once it is whole and on the disk, and is not there where this raises."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(partial)  # which, unlike a rename, replaces nothing
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _folder(home: Path) -> Iterator[Path]:
    """A folder to work in, on the disk of the data."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=home) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _said(archive: Path) -> Iterator[None]:
    """Tell in a sentence what the disk has against it."""
    try:
        yield
    except OSError as error:
        raise FairleadError(f"{error.filename or archive}: {error.strerror}.") from error
