"""People's chats: made, listed, searched, read, changed, deleted, taken out and in.

Answers are made elsewhere (`conversations.py`). Who asks is known already: a chat is found among that person's own, and
another's is as good as none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fairlead.errors import ChatNotFound, InvalidRequest, MessageNotFound
from fairlead.service.branches import branch, newest_leaf, siblings
from fairlead.service.live import ChatKey, LiveAnswer, LiveAnswers
from fairlead.service.material import Documents
from fairlead.storage import archive, chats, files, messages, search
from fairlead.storage.chats import Chat, Listed
from fairlead.storage.database import Database
from fairlead.storage.files import File
from fairlead.storage.messages import Message
from fairlead.storage.search import Match
from fairlead.storage.tables import FileState, MessageState, Overflow, Role, Titled

__all__ = [
    "Archive",
    "Chat",
    "Chats",
    "File",
    "FileState",
    "Listed",
    "Match",
    "Message",
    "MessageState",
    "Opened",
    "Overflow",
    "Page",
    "Role",
    "Titled",
]


@dataclass(frozen=True, slots=True)
class Opened:
    """A chat with all its messages, and the answer that goes on in it."""

    chat: Chat
    messages: Sequence[Message]
    live: LiveAnswer | None = None

    @property
    def shown(self) -> list[Message]:
        """The branch that is shown."""
        return branch(self.messages, self.chat.leaf_id)

    @property
    def siblings(self) -> Mapping[int | None, Sequence[int]]:
        """By the row of a parent, the numbers of its children."""
        return siblings(self.messages)

    def number_of(self, row: int | None) -> int | None:
        """The number of a message by its row."""
        return next((message.number for message in self.messages if message.id == row), None)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list of chats."""

    chats: Sequence[Listed]
    matches: Mapping[int, Match]
    """By a chat's row, where in it was found what was looked for."""
    more: bool
    """Whether others come behind these."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A chat outside of the database. Rows in it are any that agree with each other."""

    chat: Chat
    messages: Sequence[Message]
    files: Sequence[File] = ()
    last_file: int = 0
    """The number that was given to a file last, as far as the messages tell."""


class Chats:
    """The chats of all people.

    Args:
        database: where they are.
        live: the answers that go on in them.
        documents: their files.
        check_model: raises ModelNotFound for a name that no model has.
    """

    def __init__(
        self, database: Database, live: LiveAnswers, documents: Documents, check_model: Callable[[str], None]
    ) -> None:
        self._database = database
        self._live = live
        self._documents = documents
        self._check_model = check_model

    async def reserve(self, person_id: int) -> int:
        """A number for a chat that is made when somebody writes in it."""
        async with self._database.writing() as connection:
            number = await chats.next_number(connection, person_id)
            await chats.reserve(connection, person_id, number)
        return number

    async def create(
        self,
        person_id: int,
        *,
        title: str | None = None,
        system: str | None = None,
        model: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        on_overflow: Overflow = "drop_oldest",
    ) -> Opened:
        """A new chat; ModelNotFound where its model is none."""
        if model is not None:
            self._check_model(model)
        async with self._database.writing() as connection:
            chat = await chats.create(
                connection,
                person_id,
                await chats.next_number(connection, person_id),
                datetime.now(UTC),
                title=title or "",
                titled_by="person" if title else "nobody",
                system=system,
                model=model,
                parameters=parameters,
                on_overflow=on_overflow,
            )
        return Opened(chat, ())

    async def listing(self, person_id: int, *, words: str = "", limit: int, before: int | None = None) -> Page:
        """A person's chats, the newest first.

        Args:
            person_id: whose.
            words: only chats with all of these in their title or in a message.
            limit: how many at most.
            before: the number of the chat that the last page ended with.

        Raises:
            InvalidRequest: there is no chat of the number `before`.
        """
        async with self._database.reading() as connection:
            last = None if before is None else await chats.find(connection, person_id, before)
            if before is not None and last is None:
                raise InvalidRequest("There is no chat of this number to go on from.", param="before")
            matches = {}
            if words.strip():
                behind = None if last is None else (last.updated_at, last.id)
                found = await search.search(connection, person_id, words, limit=limit + 1, before=behind)
                matches = {match.chat_id: match for match in found}
            only = matches.keys() if words.strip() else None
            listed = await chats.listing(connection, person_id, limit=limit + 1, before=last, only=only)
        return Page(listed[:limit], matches, len(listed) > limit)

    async def open(self, person_id: int, number: int) -> Opened:
        """A chat with its messages; ChatNotFound where this person has none of this number."""
        async with self._database.reading() as connection:
            chat = _there(await chats.find(connection, person_id, number))
            told = await messages.of_chat(connection, chat.id)
        return Opened(chat, told, self._live.find(ChatKey(person_id, number)))

    async def change(self, person_id: int, number: int, changes: Mapping[str, Any]) -> Opened:
        """Change a chat: columns, or `leaf`, the number of a message whose branch is to be shown, to its newest end.

        Raises:
            ChatNotFound, MessageNotFound, ModelNotFound
        """
        values = dict(changes)
        if values.get("model") is not None:
            self._check_model(values["model"])
        if "title" in values:
            values["titled_by"] = "person"
        async with self._database.writing() as connection:
            chat = _there(await chats.find(connection, person_id, number))
            told = await messages.of_chat(connection, chat.id)
            if (leaf := values.pop("leaf", None)) is not None:
                row = next((message.id for message in told if message.number == leaf), None)
                if row is None:
                    raise MessageNotFound("There is no such message in this chat.", param="leaf")
                values["leaf_id"] = newest_leaf(told, row)
            await chats.change(connection, chat.id, **values)
            chat = _there(await chats.find(connection, person_id, number))
        return Opened(chat, told, self._live.find(ChatKey(person_id, number)))

    async def remove(self, person_id: int, number: int) -> None:
        """Delete a chat with all that belongs to it; an answer that goes on in it is ended. ChatNotFound."""
        key = ChatKey(person_id, number)
        await self._live.leave(key)
        with self._live.claim(key):
            async with self._database.reading() as connection:
                chat = _there(await chats.find(connection, person_id, number))
            await self._documents.remove_all(chat.id)
            async with self._database.writing() as connection:
                await chats.remove(connection, chat.id)

    # ---- out and in -----------------------------------------------------------------------------------

    async def take_out(self, person_id: int, number: int) -> Archive:
        """All that is known of a chat; ChatNotFound."""
        async with self._database.reading() as connection:
            chat = _there(await chats.find(connection, person_id, number))
            told = await messages.of_chat(connection, chat.id)
            attached = await files.of_chat(connection, chat.id)
        return Archive(chat, told, attached)

    async def take_in(self, person_id: int, taken: Archive) -> Opened:
        """A new chat of this person's from one that was taken out, without its files: their bytes are not there."""
        old = taken.chat
        async with self._database.writing() as connection:
            number = await chats.next_number(connection, person_id)
            chat = await chats.create(
                connection,
                person_id,
                number,
                old.created_at,
                title=old.title,
                titled_by=old.titled_by,
                system=old.system,
                model=old.model,
                parameters=old.parameters,
                on_overflow=old.on_overflow,
            )
            if taken.messages:
                leaf = taken.messages[-1].id if old.leaf_id is None else old.leaf_id
                await archive.put(connection, chat.id, taken.messages, leaf, taken.last_file)
            await chats.change(connection, chat.id, updated_at=datetime.now(UTC))
        return await self.open(person_id, number)


def _there(chat: Chat | None) -> Chat:
    if chat is None:
        raise ChatNotFound("There is no such chat.", param="chat_id")
    return chat
