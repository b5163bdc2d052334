"""Checks of single configured values: each gives the value back, typed, or raises ValueError with a reason.

The reasons read on after the key's name: "port must be a whole number from 0 to 65535, not 'x'".
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable
from pathlib import PurePosixPath

MOST_NAME_CHARS = 256
"""Of a user's name."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,127}", re.ASCII)
_UNIT_S = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_PINNED = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*")


def text(value: object) -> str:
    """Any text but the empty one, without control characters other than line ends and tabs."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be text, not {value!r}")
    if _CONTROL.search(value.replace("\n", "").replace("\t", "")):
        raise ValueError("must not hold control characters")
    return value


def optional_text(value: object) -> str | None:
    """Text, or None for the empty text (TOML has no null)."""
    return None if value == "" else text(value)


def database(value: object) -> str | None:
    """The path of a file or a `postgresql://` URL; None for the empty text."""
    given = optional_text(value)
    if given is not None and "://" in given and not given.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be the path of a file, or a URL that begins with postgresql://")
    return given


def texts(value: object) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list of texts, not {value!r}")
    return tuple(text(item) for item in value)


def integer(low: int, high: int) -> Callable[[object], int]:
    """A whole number from `low` to `high`."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, not {value!r}")
        return value

    return check


def number(low: float, high: float, *, above_low: bool = False) -> Callable[[object], float]:
    """A finite number from `low` (where `above_low`: from above it) to `high`."""

    def check(value: object) -> float:
        wrong = f"must be a number from {'above ' if above_low else ''}{low:g} to {high:g}, not {value!r}"
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(wrong)
        if not low <= value <= high or (above_low and value == low):
            raise ValueError(wrong)
        return float(value)

    return check


def boolean(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return value


def duration(value: object) -> float:
    """Seconds, from a number of them or a text like "90s", "5m" or "1h30m"; -1 and "forever" are for ever."""
    if isinstance(value, str):
        seconds = _spelt_duration(value.strip().lower())
    elif isinstance(value, bool) or not isinstance(value, int | float):
        seconds = None
    else:
        seconds = math.inf if value == -1 else float(value)
    if seconds is None or math.isnan(seconds) or seconds < 0:
        raise ValueError(f"must be a duration: seconds, or such as '5m' or '1h30m', or -1 for ever, not {value!r}")
    return seconds


def one_of(*choices: str) -> Callable[[object], str]:
    """One of these words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not {value!r}")
        return value

    return check


def table(value: object) -> dict[str, object]:
    """A TOML table."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a table, not {value!r}")
    return value


def tables(value: object) -> list[dict[str, object]]:
    """A list of TOML tables."""
    if not isinstance(value, list):
        raise ValueError(f"must be a list of tables, not {value!r}")
    return [table(item) for item in value]


def model_name(value: object) -> str:
    """A short name: letters, digits, dot, hyphen and underscore, at most 96 of them."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("is no model name: use letters, digits, '.', '-' and '_', at most 96")
    return value


def user_name(value: object) -> str:
    """What a user is called: any text of 1 to 256 characters on one line."""
    if not isinstance(value, str) or not 1 <= len(value) <= MOST_NAME_CHARS or _CONTROL.search(value):
        raise ValueError(f"is no user's name: use 1 to {MOST_NAME_CHARS} characters without control characters")
    return value


def label(value: object) -> str:
    """A few words that tell things apart: any text of 1 to 200 characters on one line."""
    if not isinstance(value, str) or not 1 <= len(value) <= 200 or _CONTROL.search(value):
        raise ValueError("is no label: use 1 to 200 characters without control characters")
    return value


def file_name(value: object) -> str:
    """The name of a file without any folder, on whatever platform."""
    name = text(value)
    if name.startswith(".") or _CONTROL.search(name) or any(mark in name for mark in "/\\:"):
        raise ValueError(f"must be a plain file name without folders, not {name!r}")
    if len(name.encode()) > 200:
        raise ValueError("is too long for a file name: at most 200 bytes")
    return name


def model_file(value: object) -> str:
    """The name of a model's file, perhaps in one folder of its own."""
    folder, slash, name = text(value).rpartition("/")
    return f"{file_name(folder)}/{file_name(name)}" if slash else file_name(name)


def relative_path(value: object) -> str:
    """A path below some root, with forward slashes: never absolute, never upward."""
    path = text(value)
    if _CONTROL.search(path) or "\\" in path or ":" in path or PurePosixPath(path).is_absolute():
        raise ValueError(f"must be a relative path, not {path!r}")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"must not hold empty parts, '.' or '..': {path!r}")
    return path


def hub_repo(value: object) -> str:
    """`OWNER/NAME` on the hub."""
    if not isinstance(value, str) or not _REPO.fullmatch(value):
        raise ValueError(f"must be OWNER/NAME of a repository on the hub, not {value!r}")
    return value


def revision(value: object) -> str:
    """A branch, tag or commit."""
    if not isinstance(value, str) or not _REVISION.fullmatch(value) or ".." in value:
        raise ValueError(f"must be a branch, a tag or a commit, not {value!r}")
    return value


def pinned_requirement(value: object) -> str:
    """`NAME==VERSION`, exactly one version of one package."""
    if not isinstance(value, str) or not _PINNED.fullmatch(value):
        raise ValueError(f"must be NAME==VERSION of one package, not {value!r}")
    return value


def sha256(value: object) -> str:
    """64 hexadecimal digits."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("must be a SHA-256: 64 hexadecimal digits")
    return value.lower()


def line_of(document: str, key: tuple[str, ...]) -> int | None:
    """The line (from 1) of a TOML text on which `key` is set, else that of the nearest table around it.

    Reads headers and `key =` lines only; a line of that shape inside a multi-line string may mislead it.
    """
    here: tuple[str, ...] = ()
    best: tuple[int, int] | None = None
    for number_of_line, line in enumerate(document.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            header = _key_path(stripped.split("#")[0].strip().strip("[]"))
            if header is None:
                continue
            here = found = header
        else:
            left, equals, _ = stripped.partition("=")
            path = _key_path(left) if equals else None
            if path is None:
                continue
            found = here + path
        if found == key[: len(found)] and (best is None or len(found) > best[0]):
            best = (len(found), number_of_line)
    return best[1] if best else None


def _spelt_duration(text: str) -> float | None:
    if text in ("-1", "forever"):
        return math.inf
    if re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text, re.ASCII):
        return float(text)
    if not re.fullmatch(r"(\d{1,9}[dhms])+", text, re.ASCII):
        return None
    return float(sum(int(count) * _UNIT_S[unit] for count, unit in re.findall(r"(\d+)([dhms])", text)))


def _key_path(written: str) -> tuple[str, ...] | None:
    try:
        value: object = tomllib.loads(f"{written} = 0")
    except tomllib.TOMLDecodeError:
        return None
    path = []
    while isinstance(value, dict):
        if len(value) != 1:
            return None
        ((name, value),) = value.items()
        path.append(name)
    return tuple(path)
