"""Search in the titles and messages of a person's chats, by words in whatever order and case, with or without accents.

The last word may be the beginning of one. Writing that puts no spaces between words (Chinese, Japanese, Thai, ...), and
a query without any letter or digit, are looked for as they stand. The index is made by `migrations/`: FTS5 in SQLite,
`tsvector` in PostgreSQL. An answer is found once it has ended.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Integer, Select, any_, column, func, literal, literal_column, select, table, union_all
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from fairlead.storage.tables import Chat, Message

_MOST_CHARS: Final = 1000
_MOST_WORDS: Final = 32
_MOST_SEARCHED: Final = 100_000
"""Characters of a text that are looked through for an excerpt."""
_NUMBER_BITS: Final = 31
"""Of a row's id in SQLite's index, for a message's number; above them is the chat's id."""
_EXCERPT_CHARS: Final = 160
_BEFORE_CHARS: Final = 40
"""Of an excerpt, in front of what was found."""

_NO_TEXT: Final = re.compile(r"[\x00-\x1f\x7f]|[\ud800-\udfff]")
_PUNCTUATION: Final = re.compile(r"[!-/:-@\[-`{-~\s]+")
_ACCENT: Final = re.compile(r"[\u0300-\u036f]")
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u3130-\u318f\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)

_Hits = Select[int, bool, int]
"""chat_id, in_title and number: of a person's chat with a hit, whether it is in its title, and the latest message."""


@dataclass(frozen=True, slots=True)
class Match:
    """A chat that was found."""

    chat_id: int
    """Its row's."""
    message: int | None
    """The number of the latest message that was found; None where it is the title."""
    excerpt: str
    """The text around what was found, on one line."""


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody looks for."""

    text: str
    words: tuple[str, ...]
    """Folded; empty where the text is looked for as it stands."""

    @classmethod
    def parse(cls, text: str) -> Query | None:
        """Any text at all; None where there is nothing to look for."""
        text = " ".join(_NO_TEXT.sub(" ", text[:_MOST_CHARS]).split())
        if not text:
            return None
        words = [word for word in _PUNCTUATION.split(_folded(text)) if any(map(str.isalnum, word))]
        return cls(text, () if _UNSPACED.search(text) else tuple(words[:_MOST_WORDS]))

    def excerpt(self, text: str) -> str:
        """The part of a text that shows what was found in it."""
        folded, origin = _folded_with_origin(text[:_MOST_SEARCHED])
        needles = "|".join(rf"(?<![^\W_]){re.escape(word)}" for word in self.words) or re.escape(_folded(self.text))
        place = re.search(needles, folded)
        at = origin[place.start()] if place else 0
        begin = max(0, at - _BEFORE_CHARS)
        if begin and (space := text.find(" ", begin, at)) >= 0:
            begin = space + 1
        end = begin + _EXCERPT_CHARS
        shown = " ".join(text[begin:end].split())
        return f"{'…' if begin else ''}{shown}{'…' if end < len(text) else ''}"


async def search(
    connection: AsyncConnection,
    person_id: int,
    text: str,
    *,
    limit: int = 50,
    before: tuple[datetime, int] | None = None,
) -> list[Match]:
    """The person's chats in which all words of a text are found, in the title or in one message; newest first.

    Args:
        connection: that reads.
        person_id: whose chats.
        text: what to look for; whatever it holds, it is no mistake. Nothing is found by an empty one.
        limit: most chats.
        before: only chats behind this one, in the order of (`updated_at`, row's id).
    """
    query = Query.parse(text)
    if query is None:
        return []
    hits = _hits(query, person_id, connection.dialect.name == "sqlite").subquery()
    shown = (Message.chat_id == hits.c.chat_id) & (Message.number == hits.c.number) & ~hits.c.in_title
    found = (
        select(Chat.id, hits.c.in_title, hits.c.number, func.coalesce(Message.content, Chat.title))
        .join(hits, hits.c.chat_id == Chat.id)
        .outerjoin(Message, shown)
        .order_by(Chat.updated_at.desc(), Chat.id.desc())
        .limit(limit)
    )
    if before is not None:
        moment, chat_id = before
        found = found.where((Chat.updated_at < moment) | ((Chat.updated_at == moment) & (Chat.id < chat_id)))
    return [
        Match(chat_id, None if in_title else number, query.excerpt(text))
        for chat_id, in_title, number, text in await connection.execute(found)
    ]


def _hits(query: Query, person_id: int, is_sqlite: bool) -> _Hits:
    if not query.words:
        return _as_it_stands(query.text, person_id, is_sqlite)
    return _of_sqlite(query.words, person_id) if is_sqlite else _of_postgresql(query.words, person_id)


def _of_sqlite(words: tuple[str, ...], person_id: int) -> _Hits:
    index = table("search_index", column("rowid", Integer))
    phrases = " AND ".join(f'"{word}"' for word in words)
    wanted = f'owner : "{person_id}" AND words : ({phrases} *)'
    chat_id: ColumnElement[int] = index.c.rowid.op(">>")(_NUMBER_BITS).label("chat_id")
    number: ColumnElement[int] = index.c.rowid.op("&")((1 << _NUMBER_BITS) - 1)
    return _by_chat(chat_id, number).where(column("search_index").op("MATCH")(wanted)).select_from(index)


def _of_postgresql(words: tuple[str, ...], person_id: int) -> _Hits:
    wanted = func.to_tsquery("simple", " & ".join(f"'{word}'" for word in words) + ":*")
    title: ColumnElement[str] = literal_column("chats.search_vector")
    message: ColumnElement[str] = literal_column("messages.search_vector")
    return _either(person_id, title.op("@@")(wanted), message.op("@@")(wanted), is_sqlite=False)


def _as_it_stands(text: str, person_id: int, is_sqlite: bool) -> _Hits:
    return _either(
        person_id,
        Chat.title.icontains(text, autoescape=True),
        Message.content.icontains(text, autoescape=True) & (Message.state != "generating"),
        is_sqlite=is_sqlite,
    )


def _either(
    person_id: int, in_title: ColumnElement[bool], in_message: ColumnElement[bool], *, is_sqlite: bool
) -> _Hits:
    """Hits by a condition on a title and one on a message."""
    titles = select(Chat.id.label("chat_id"), literal(0).label("number")).where(Chat.person_id == person_id, in_title)
    own = select(Chat.id).where(Chat.person_id == person_id)
    # PostgreSQL makes an array once. A join with tables that were just filled, and not analysed yet, it plans chat by
    # chat, and looks the words up again for each of them.
    is_own = Message.chat_id.in_(own) if is_sqlite else Message.chat_id == any_(func.array(own.scalar_subquery()))
    messages = select(Message.chat_id, Message.number).where(is_own, in_message)
    both = union_all(titles, messages).subquery()
    return _by_chat(both.c.chat_id, both.c.number)


def _by_chat(chat_id: ColumnElement[int], number: ColumnElement[int]) -> _Hits:
    """One row for each chat, of rows for each title (numbered 0) and each message."""
    return select(chat_id, (func.min(number) == 0).label("in_title"), func.max(number).label("number")).group_by(
        chat_id
    )


def _folded(text: str) -> str:
    """In small letters and without accents."""
    return unicodedata.normalize("NFC", _ACCENT.sub("", unicodedata.normalize("NFD", text))).lower()


_folded_letter = functools.lru_cache(maxsize=4096)(_folded)


def _folded_with_origin(text: str) -> tuple[str, Sequence[int]]:
    """The folded text, and for each of its letters where it is from."""
    if text.isascii():
        return text.lower(), range(len(text))
    parts = [_folded_letter(letter) for letter in text]
    return "".join(parts), [place for place, part in enumerate(parts) for _ in part]
