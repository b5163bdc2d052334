"""The control groups of Linux that hold this process: where their limits stand, in either version of the interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")


def unified(root: Path = ROOT, membership: Path = MEMBERSHIP) -> Iterator[Path]:
    """The folders of this process's groups in version 2, innermost first; not all need be there."""
    return _upwards(root, _group("", membership))


def of_controller(name: str, root: Path = ROOT, membership: Path = MEMBERSHIP) -> Iterator[Path]:
    """Those in the hierarchy that version 1 has for a controller, such as "cpu"."""
    return _upwards(root / name, _group(name, membership))


def words(path: Path) -> list[str]:
    """What a control file says; empty where it cannot be read."""
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []


def number(path: Path) -> int | None:
    """The number in a control file; None where there is none, as in "max" or "-1"."""
    match words(path):
        case [text] if text.isdigit():
            return int(text)
        case _:
            return None


def _group(controller: str, membership: Path) -> str:
    """The path of this process's group below a hierarchy's root; lines read `number:controllers:path`."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "/"
    fields = (line.split(":", 2) for line in lines)
    return next((path for _, controllers, path in fields if controller in controllers.split(",")), "/")


def _upwards(root: Path, group: str) -> Iterator[Path]:
    folder = root / group.lstrip("/")
    yield folder
    while folder != root:
        folder = folder.parent
        yield folder
