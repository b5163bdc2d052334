"""Names for chats, made by the model from how they began, when nobody needs it.

A chat has its question's first words for a name at once. Later, when no answer is waited for, the model that
answered is asked for a better one; what it says is taken only where it reads like a title. A name that a person gave
stays.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections import OrderedDict
from typing import Final

from fairlead.errors import FairleadError
from fairlead.service.branches import branch
from fairlead.service.generation import Generator
from fairlead.service.prompt import Message
from fairlead.service.request import GenerationRequest
from fairlead.storage import chats, messages
from fairlead.storage.chats import Chat
from fairlead.storage.database import Database

logger = logging.getLogger(__name__)

_MOST_CHARS: Final = 60
_MOST_WORDS: Final = 8
_MOST_TOKENS: Final = 24
_EXCERPT_CHARS: Final = 600
"""Of the question, that the model reads."""
_IDLE_FOR_S: Final = 1.0
_MOST_WISHES: Final = 1000
"""Chats that wait for a name; more keep their first words."""
_SYSTEM: Final = "You write short titles, of two to six words, for conversations."
_ASK: Final = "Title for: "
_EXAMPLES: Final = (
    ("How can I fix a flat tyre on my bicycle without any tools?", "Fixing a Flat Bicycle Tyre"),
    ("what's the difference between TCP and UDP", "TCP Versus UDP"),
    ("Please write a poem about my grandmother's garden in autumn", "Poem About an Autumn Garden"),
)
"""Small models follow examples better than they follow orders."""
_WORD: Final = re.compile(r"\w+")
_LABEL: Final = re.compile(r"^(?:(?:the )?(?:chat |conversation )?title(?: is)?|sure|answer)\s*:\s*", re.IGNORECASE)
_QUOTES: Final = " \t\"'`*_#“”‘’«».:"


def first_words(text: str) -> str:
    """A name from how a question begins."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _MOST_CHARS]).split())
    if len(words) <= _MOST_CHARS:
        return words
    cut = words[: _MOST_CHARS - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[_MOST_CHARS // 2 :] else cut).rstrip(" ,;:") + "…"


def title_in(said: str) -> str | None:
    """The title in what a model said; None where there is nothing that reads like one."""
    line = next((line for line in said.splitlines() if line.strip(_QUOTES)), "").strip()
    title = " ".join(_LABEL.sub("", line.strip(_QUOTES)).strip(_QUOTES).split())
    words = _WORD.findall(title.lower())
    if not words or len(words) > _MOST_WORDS or len(title) > _MOST_CHARS or not title.isprintable():
        return None
    is_sentence = line.rstrip(_QUOTES.replace(".", "")).endswith((".", "?", "!", ",", "…"))
    repeats_itself = len(set(words)) * 2 < len(words)
    repeats_us = title in {example for _, example in _EXAMPLES}
    return None if is_sentence or repeats_itself or repeats_us else title[0].upper() + title[1:]


def _prompt(question: str) -> tuple[Message, ...]:
    shown = [
        message
        for asked, title in _EXAMPLES
        for message in (Message("user", _ASK + asked), Message("assistant", title))
    ]
    return Message("system", _SYSTEM), *shown, Message("user", _ASK + question[:_EXCERPT_CHARS])


class Titles:
    """Names chats one after the other, while nobody waits for an answer.

    Args:
        database: where chats are.
        generator: asks the models.
        enabled: whether models are asked at all.
    """

    def __init__(self, database: Database, generator: Generator, *, enabled: bool = True) -> None:
        self._database = database
        self._generator = generator
        self._enabled = enabled
        self._wishes: OrderedDict[int, tuple[Chat, str]] = OrderedDict()
        self._wished = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wish(self, chat: Chat, user: str) -> None:
        """Have a chat named some time, as work of this user's."""
        if not self._enabled or len(self._wishes) >= _MOST_WISHES:
            return
        self._wishes[chat.id] = (chat, user)
        self._wished.set()
        if self._task is None:
            self._task = asyncio.create_task(self._keep_naming(), name="titles")

    async def close(self) -> None:
        """Name no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_naming(self) -> None:
        while True:
            await self._wished.wait()
            await self._until_idle()
            while self._wishes and self._generator.idle.is_set():
                _, (chat, user) = self._wishes.popitem(last=False)
                try:
                    await self._name(chat, user)
                except FairleadError as error:
                    logger.info("a chat keeps its first words for a title: %s", error.message)
                except Exception:
                    logger.exception("a chat could not be named")
            if not self._wishes:
                self._wished.clear()

    async def _until_idle(self) -> None:
        """Wait until nobody has waited for an answer for a while."""
        while True:
            await self._generator.idle.wait()
            await asyncio.sleep(_IDLE_FOR_S)
            if self._generator.idle.is_set():
                return

    async def _name(self, chat: Chat, user: str) -> None:
        async with self._database.reading() as connection:
            told = await messages.of_chat(connection, chat.id)
            now = await chats.by_row(connection, chat.id)
        if now is None or now.titled_by != "nobody" or now.leaf_id is None:
            return
        question, *answers = branch(told, now.leaf_id)
        model = answers[0].model if answers else None
        if model is None or not self._generator.is_loaded(model):
            return
        request = GenerationRequest(
            user=user,
            model=model,
            messages=_prompt(question.content),
            system="",
            temperature=0.0,
            max_tokens=_MOST_TOKENS,
            priority="low",
            on_overflow="drop_oldest",
        )
        (made,) = await self._generator.start(request, f"title-{secrets.token_hex(12)}")
        async with made:
            said = "".join([piece.text async for piece in made.pieces()])
        whole = "\n" in said.strip() or (made.result is not None and made.result.finish_reason == "stop")
        if whole and (title := title_in(said)) is not None:
            async with self._database.writing() as connection:
                await chats.give_title(connection, chat.id, title, "model")
