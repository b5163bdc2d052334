"""The terminal as Textual drives it, but for one that goes away."""

from __future__ import annotations

import contextlib
from typing import IO, Any

from textual.drivers.linux_driver import LinuxDriver


class LastingDriver(LinuxDriver):
    """A driver whose writer outlives its terminal.

    Textual's dies at the first write into a window that was closed; whatever is drawn after that waits for it without
    end, and so does the program that would close.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._file: Any = _Lasting(self._file)


class _Lasting:
    """A file whose writing fails without a word: the signal of the closed window says that there is nobody to read."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()
