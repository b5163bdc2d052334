"""Access keys: made, listed, revoked, and recognised.

A key is 256 random bits, so nobody finds one by trying, and a slow hash would protect nothing that a quick one does
not. What is kept is BLAKE2b of it under a secret in a file of the home folder: whoever reads the database, or writes to
it, and not that file, can neither test a key nor make one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairlead.errors import ConfigError, NotFound, StorageFailed, Unauthorized
from fairlead.storage import keys, people
from fairlead.storage.database import Database
from fairlead.storage.keys import KeyRow

logger = logging.getLogger(__name__)

PREFIX: Final = "fl_"
_KEY_BYTES: Final = 32
_SECRET_BYTES: Final = 32
_HINT_CHARS: Final = 9
_MOST_CHARS: Final = 200
"""Of something that may be a key."""
_FRESH_S: Final = 1.0
"""How long what was read of the keys counts."""
_USE_NOTED_S: Final = 60.0
"""Between two notes that a key is in use."""


class Keys:
    """The keys in a database.

    Args:
        database: where their hashes are.
        secret_file: under which they are hashed; made with the first key.
    """

    def __init__(self, database: Database, secret_file: Path) -> None:
        self._database = database
        self._secret_file = secret_file

    async def add(self, person: str, label: str = "") -> str:
        """A new key for a person, who may be new. It is known nowhere else, and never told again.

        Raises:
            ConfigError: the secret cannot be read or made.
        """
        secret = _secret(self._secret_file, make=True)
        assert secret is not None
        key = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).rstrip(b"=").decode()
        async with self._database.writing() as connection:
            row = await people.find_or_add(connection, person)
            await keys.add(connection, row, _digest(key, secret), key[:_HINT_CHARS], label)
        return key

    async def every(self) -> list[KeyRow]:
        """All keys, in the order in which they were made; revoked ones too."""
        async with self._database.reading() as connection:
            return await keys.every(connection)

    async def revoke(self, key_id: int) -> None:
        """Have a key count no more. NotFound where none of this number is valid."""
        async with self._database.writing() as connection:
            if not await keys.revoke(connection, key_id):
                raise NotFound(f"There is no valid key {key_id}; `fairlead keys list` shows them.")

    async def clear(self) -> int:
        """Delete all keys, so that the server asks for none; how many there were."""
        async with self._database.writing() as connection:
            return await keys.clear(connection)

    async def note_use(self, key_ids: set[int]) -> None:
        """Remember that these were used now."""
        async with self._database.writing() as connection:
            await keys.note_use(connection, key_ids)

    def secret(self) -> bytes | None:
        """Under which keys are hashed; None where it is not there. ConfigError where it cannot be read."""
        return _secret(self._secret_file, make=False)


@dataclass(frozen=True, slots=True)
class _Known:
    """The keys as they were read at a time."""

    read_at: float
    exist: bool
    """Revoked ones too: a server whose last key was revoked lets nobody in, rather than everybody."""
    by_tag: dict[bytes, KeyRow]
    """Valid ones, by the first half of their digest."""
    secret: bytes


_TAG_BYTES: Final = 16


class Keyring:
    """The keys as a server asks for them: what was read counts for a second, so that changes need no restart.

    Args:
        every: the keys.
        local_only: whether the server can be reached from this machine alone; otherwise it asks for a key even where
            none exists.
    """

    def __init__(self, every: Keys, *, local_only: bool) -> None:
        self._keys = every
        self._local_only = local_only
        self._known: _Known | None = None
        self._reading = asyncio.Lock()
        self._used: set[int] = set()
        self._noted_at = time.monotonic()

    async def has_valid(self) -> bool:
        """Whether there is a key that lets somebody in."""
        return bool((await self._fresh()).by_tag)

    async def holder(self, authorization: str | None) -> str | None:
        """Who asks, by an Authorization header; None where the server asks for no key.

        Raises:
            Unauthorized: it asks for one, and this is none, or none that is valid.
        """
        known = await self._fresh()
        if not known.exist and self._local_only:
            return None
        scheme, _, given = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise Unauthorized("This server asks for an access key: send it as Authorization: Bearer KEY.")
        row = _recognised(given.strip()[:_MOST_CHARS], known)
        if row is None:
            raise Unauthorized("This access key is not valid here, or not any more.")
        self._used.add(row.id)
        return row.person

    async def note_use(self) -> None:
        """Write down which keys were used since the last time."""
        used, self._used = self._used, set()
        self._noted_at = time.monotonic()
        if used:
            await self._keys.note_use(used)

    async def close(self) -> None:
        """Write down which keys were used, where that can be written."""
        with contextlib.suppress(StorageFailed):
            await self.note_use()

    async def _fresh(self) -> _Known:
        known = self._known
        if known is None or time.monotonic() - known.read_at > _FRESH_S:
            async with self._reading:
                if self._known is known:  # nobody was quicker
                    self._known = await self._read()
                    if time.monotonic() - self._noted_at > _USE_NOTED_S:
                        with contextlib.suppress(StorageFailed):  # a full disk keeps nobody from reading
                            await self.note_use()
                known = self._known
        assert known is not None
        return known

    async def _read(self) -> _Known:
        read_at = time.monotonic()
        rows = await self._keys.every()
        secret = self._keys.secret() if rows else b""
        if secret is None:
            logger.error("the secret of the access keys is missing from the home folder: no key is valid")
            return _Known(read_at, exist=True, by_tag={}, secret=b"")
        valid = {row.digest[:_TAG_BYTES]: row for row in rows if row.revoked_at is None}
        return _Known(read_at, exist=bool(rows), by_tag=valid, secret=secret)


def _recognised(given: str, known: _Known) -> KeyRow | None:
    """The key that this is. The time it takes tells nothing: a digest cannot be aimed without the secret."""
    digest = _digest(given, known.secret)
    row = known.by_tag.get(digest[:_TAG_BYTES])
    return row if row is not None and hmac.compare_digest(row.digest, digest) else None


def _digest(key: str, secret: bytes) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), key=secret, digest_size=32).digest()


def _secret(path: Path, *, make: bool) -> bytes | None:
    try:
        if make and not path.exists():
            _make_secret(path)
        secret = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"The secret of the access keys, {path}, cannot be used: {error.strerror}.") from None
    if len(secret) != _SECRET_BYTES:
        raise ConfigError(f"The secret of the access keys, {path}, is damaged: it must have {_SECRET_BYTES} bytes.")
    return secret


def _make_secret(path: Path) -> None:
    """Make the file, whole or not at all, for its owner alone; whoever comes second leaves the first one's."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(secrets.token_bytes(_SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(new)
    new.unlink()
