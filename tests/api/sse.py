"""Reads server-sent events, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One event; a comment has the name ":"."""

    name: str
    data: Any
    id: str | None = None


def events(lines: Iterable[str]) -> Iterator[Event]:
    """The events of a response's lines."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            yield Event(":", line[1:].strip())
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield Event(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id"))
            fields = {}


def named(lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The events' names and what they say, without comments."""
    return ((event.name, event.data) for event in events(lines) if event.name != ":")
