"""Paths of files as people type them."""

from __future__ import annotations

import os
from pathlib import Path


def completed(typed: str) -> str:
    """The typed path as far as it can mean only one; a folder's ends in a slash."""
    folder, _, begun = typed.rpartition("/")
    base = Path(f"{folder}/" if "/" in typed else ".").expanduser()
    try:
        found = sorted(
            entry.name + ("/" if entry.is_dir() else "")
            for entry in base.iterdir()
            if entry.name.startswith(begun) and (begun or not entry.name.startswith("."))
        )
    except OSError:
        return typed
    common = os.path.commonprefix(found)  # noqa: RUF071 - of signs, not of folders, is what is meant
    return typed[: len(typed) - len(begun)] + common if common else typed


def file_name(title: str, chat_id: int) -> str:
    """A name for the file of an exported chat."""
    words = "".join(sign if sign.isalnum() else "-" for sign in title.lower())
    words = "-".join(part for part in words.split("-") if part)[:60].strip("-")
    return f"{chat_id}-{words or 'chat'}.md"
