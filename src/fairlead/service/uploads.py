"""A file on its way in: written to the disk as it comes, bounded, and looked at before it is taken."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import unicodedata
from collections.abc import Iterator
from typing import Final

from fairlead.documents.kinds import HEAD_BYTES, TAIL_BYTES, Contradiction, Unsupported, check_content, named_kind
from fairlead.errors import FileTooLarge, StorageFull, UnreadableFile, UnsupportedFile
from fairlead.storage.blobs import Blobs

_WRITTEN_AT_ONCE: Final = 256 << 10
_MOST_NAME_CHARS: Final = 200
_NAMELESS: Final = "file"
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of characters that show nothing, or turn the direction of what follows."""


def display_name(given: str) -> str:
    """A file's name as people may see it, whatever they sent: its last part in any system's way to write paths.

    It is shown and never used as a path.
    """
    shown = "".join(sign for sign in unicodedata.normalize("NFC", given) if unicodedata.category(sign) not in _HIDDEN)
    for separator in ("/", "\\"):
        shown = shown.rpartition(separator)[2]
    shown = " ".join(shown.replace(":", "_").split()).rstrip(".")
    stem, dot, extension = shown.rpartition(".")
    if len(shown) > _MOST_NAME_CHARS:
        shown = stem[: max(0, _MOST_NAME_CHARS - 1 - len(extension))] + dot + extension
    return shown[:_MOST_NAME_CHARS] or _NAMELESS


class Upload:
    """One file that is being received. Discard it in the end; what was kept stays.

    Args:
        blobs: where it is written.
        name: as it was sent.
        most_bytes: a longer one is refused.

    Raises:
        UnsupportedFile: its name is that of no kind that can be read.
    """

    def __init__(self, blobs: Blobs, name: str, most_bytes: int) -> None:
        self.name = display_name(name)
        self._most_bytes = most_bytes
        self._buffer = bytearray()
        self.received_bytes = 0
        """So far."""
        try:
            self.kind = named_kind(self.name)
        except Unsupported as error:
            raise UnsupportedFile(self._told(error), details=self._details()) from None
        with _room():
            self.incoming = blobs.incoming()

    async def write(self, data: bytes) -> None:
        """Take the next bytes. FileTooLarge and StorageFull where they are too many."""
        self.received_bytes += len(data)
        if self.received_bytes > self._most_bytes:
            most = f"{self._most_bytes / (1 << 20):.3g} MB"
            raise FileTooLarge(
                f"{self.name} is too large: a file may have {most} at most.",
                details={**self._details(), "limit_bytes": self._most_bytes},
            )
        self._buffer += data
        if len(self._buffer) >= _WRITTEN_AT_ONCE:
            await self._flush()

    async def finish(self) -> None:
        """All of it is here: see that it is what its name says, and have it on the disk.

        Raises:
            UnreadableFile: it is something else.
            StorageFull
        """
        await self._flush()
        try:
            await asyncio.to_thread(self._settle)
        except Contradiction as error:
            raise UnreadableFile(self._told(error), details=self._details()) from None

    async def discard(self) -> None:
        """Delete what was not kept."""
        await asyncio.to_thread(self.incoming.discard)

    async def _flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        with _room():
            await asyncio.to_thread(self.incoming.write, data)

    def _settle(self) -> None:
        check_content(self.kind, *self.incoming.ends(HEAD_BYTES, TAIL_BYTES))
        with _room():
            self.incoming.sync()

    def _told(self, error: Exception) -> str:
        return f"{self.name} cannot be attached: {error}"

    def _details(self) -> dict[str, object]:
        return {"file": self.name}


@contextlib.contextmanager
def _room() -> Iterator[None]:
    """Where the disk is full, say so."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("The server's disk is full: nothing can be stored until there is room.") from None
        raise
