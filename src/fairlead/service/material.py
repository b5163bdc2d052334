"""What a chat's files give to a prompt, and what is told about it: the bargain between `chats` and `documents`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A part of a file that a model was given."""

    file_id: int
    """The file's number within its chat."""
    name: str
    page: int | None = None
    line_from: int | None = None
    line_to: int | None = None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a model is given of a chat's files for one question."""

    whole: str | None = None
    """The text of all files that are given whole, as it stands in the prompt: the same from turn to turn while the
    files are, so that it is computed once."""
    selected: str | None = None
    """Passages chosen for this question, of files that do not fit whole."""
    sources: tuple[Source, ...] = ()
    """The passages that were selected, best first; of files that are given whole, one for each, without its text."""
    notes: tuple[str, ...] = ()
    """What people should know: a file that is still being parsed, that failed, that holds no text."""


class Documents(Protocol):
    """The files of chats, as a prompt needs them."""

    async def material(self, chat_id: int, question: str, room: int, count: Callable[[str], int]) -> Material:
        """What to give a model of a chat's files, in at most `room` tokens, which `count` counts for a text.

        `chat_id` is the chat's row, not its number.
        """

    async def remove_all(self, chat_id: int) -> None:
        """Remove all files of a chat that is about to be deleted."""
