"""Questions in chats, and their answers: from the stored question to the stored end.

A question is stored before anybody is told that it was accepted, with a place for its answer. What is refused within a
moment, such as a prompt that does not fit, leaves nothing behind; whatever fails later is kept with what there is.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from fairlead.errors import ChatNotFound, EngineFailed, InvalidRequest, MessageNotFound
from fairlead.service.answer import Answer
from fairlead.service.answer_events import ChatDone, Started, queued
from fairlead.service.answer_log import Place
from fairlead.service.branches import branch
from fairlead.service.composing import Composed, Composer
from fairlead.service.generation import Generator
from fairlead.service.live import ChatKey, Ending, LiveAnswer, LiveAnswers, Stopped, Told
from fairlead.service.reports import answer_report, chat_report, error_of, id_of
from fairlead.service.request import GenerationRequest
from fairlead.service.titles import Titles, first_words
from fairlead.storage import chats, messages
from fairlead.storage.chats import Chat
from fairlead.storage.database import Database
from fairlead.storage.messages import Message
from fairlead.storage.tables import Overflow

_REFUSED_WITHIN_S: Final = 1.0
"""What is found wrong within so long is an error of the request, and of the stream afterwards."""
_QUEUED_EVERY_S: Final = 1.0
_STORED_WITHIN_S: Final = 5.0
_CUT_OFF: Final = "The server ended before this answer did; what it had stored of it is all there is."


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked in a chat: a new question, another wording of an old one, or another answer to it."""

    prompt: str | None = None
    edit: int | None = None
    """The number of the question that `prompt` is another wording of."""
    regenerate: int | None = None
    """The number of the answer, or of its question, that is to be answered again."""
    on_overflow: Overflow | None = None
    """None is the chat's."""
    system: str | None = None
    """The chat's system prompt from now on; None leaves it as it is."""


class Conversations:
    """The chats' answers.

    Args:
        database: where chats are.
        generator: makes answers.
        live: the answers that go on.
        composer: writes the requests.
        titles: names chats after their first answer.
    """

    def __init__(
        self, database: Database, generator: Generator, live: LiveAnswers, composer: Composer, titles: Titles
    ) -> None:
        self.live = live
        self._database = database
        self._generator = generator
        self._composer = composer
        self._titles = titles

    async def ask(
        self, person_id: int, number: int, question: Question, request: GenerationRequest, request_id: str
    ) -> LiveAnswer:
        """Ask in a chat; the answer goes on by itself. A chat whose number is reserved is made first.

        Args:
            person_id: the row of whose chat it is.
            number: of the chat.
            question: what is asked.
            request: how to answer; what it leaves open is the chat's, then the model's.
            request_id: by which it can be cancelled.

        Raises:
            ChatNotFound, MessageNotFound, InvalidRequest
            Conflict: an answer goes on in this chat.
            FairleadError: the answer was refused at once, as by `Generator.start`.
        """
        key = ChatKey(person_id, number)
        with self.live.claim(key):
            exchange = await self._store(key, question, request)
            live = LiveAnswer(
                request_id,
                request.user,
                chat=exchange.chat.id,
                row=exchange.answer.id,
                number=exchange.answer.number,
                facts=exchange.facts(request_id),
                grace_s=self.live.grace_s,
            )
            self.live.begin(key, live, _Work(self, exchange))
        await live.accepted(_REFUSED_WITHIN_S)
        return live

    async def follow(self, person_id: int, number: int, after: Place | None) -> tuple[int, AsyncGenerator[Told, None]]:
        """Take up an answer: the number of its message, and its events from a place on.

        With no place it is the answer that goes on, else the last of the branch that is shown, from its beginning. Of
        one that has ended the rest comes from the database, and its end.

        Raises:
            ChatNotFound, MessageNotFound
        """
        live = self.live.find(ChatKey(person_id, number))
        if live is not None and (after is None or after.message == live.number):
            return live.number, live.events(after.characters if after is not None else 0)
        async with self._database.reading() as connection:
            chat = await chats.find(connection, person_id, number)
            if chat is None:
                raise ChatNotFound("There is no such chat.", param="chat_id")
            told = await messages.of_chat(connection, chat.id)
        shown = branch(told, chat.leaf_id) if after is None else [m for m in told if m.number == after.message]
        answer = next((message for message in reversed(shown) if message.role == "assistant"), None)
        if answer is None:
            raise MessageNotFound("There is no answer to take up in this chat.", param="after")
        question = next(message.number for message in told if message.id == answer.parent_id)
        facts = _facts(id_of(answer.report), number, question, answer.number)
        return answer.number, _replayed(answer, facts, after.characters if after is not None else 0)

    def cancel(self, request_id: str, owner: str | None = None) -> bool:
        """End the answers under this id, only `owner`'s where one is given; whether there are any."""
        found = self.live.under(request_id, owner)
        for live in found:
            live.cancel()
        return bool(found)

    async def close(self) -> None:
        """End what goes on, and wait until it is stored."""
        await self._titles.close()
        await self.live.close(_STORED_WITHIN_S)

    # ---- what is stored -------------------------------------------------------------------------------

    async def _store(self, key: ChatKey, question: Question, request: GenerationRequest) -> _Exchange:
        """Store a question and a place for its answer, in one transaction."""
        now = datetime.now(UTC)
        async with self._database.writing() as connection:
            chat, is_new = await chats.find(connection, *key), False
            if chat is None:
                if not await chats.take_reserved(connection, *key):
                    raise ChatNotFound("There is no such chat.", param="chat_id")
                chat, is_new = await chats.create(connection, *key, now), True
            told = await messages.of_chat(connection, chat.id)
            asked = _asked(told, question)
            added = asked is None
            if asked is None:
                asked = await messages.add(
                    connection,
                    chat.id,
                    parent_id=_parent(told, question, chat),
                    role="user",
                    content=question.prompt or "",
                    created_at=now,
                )
                told.append(asked)
            answer = await messages.add(
                connection,
                chat.id,
                parent_id=asked.id,
                role="assistant",
                content="",
                state="generating",
                model=request.model or chat.model,
                created_at=now,
            )
            changes: dict[str, Any] = {"leaf_id": answer.id, "updated_at": now}
            if not chat.title:
                changes["title"] = first_words(asked.content)
            if question.system is not None:
                changes["system"] = question.system
            await chats.change(connection, chat.id, **changes)
        return _Exchange(
            key=key,
            chat=chat,
            system=chat.system if question.system is None else question.system,
            is_new=is_new,
            path=branch(told, asked.id),
            answer=answer,
            added_question=added,
            request=_for_chat(request, chat),
            policy=question.on_overflow or chat.on_overflow,
            arrived=time.monotonic(),
        )

    async def _take_back(self, exchange: _Exchange) -> None:
        """Take back what `_store` stored, but for the numbers, which are used up."""
        chat = exchange.chat
        async with self._database.writing() as connection:
            if exchange.is_new:
                await chats.remove(connection, chat.id)
                await chats.reserve(connection, *exchange.key)
                return
            await messages.remove(connection, exchange.question.id if exchange.added_question else exchange.answer.id)
            before = {"leaf_id": chat.leaf_id, "system": chat.system, "updated_at": chat.updated_at}
            await chats.change(connection, chat.id, **before)
            if not chat.title:
                await chats.give_title(connection, chat.id, "", "nobody")

    # ---- the answer -----------------------------------------------------------------------------------

    async def _answer(self, exchange: _Exchange, live: LiveAnswer) -> Ending:
        try:
            composed, answer = await live.unless_stopped(self._begin(exchange, live))
        except Stopped:
            told: ChatDone = {
                **exchange.facts(live.id),
                "model": exchange.answer.model,
                "finish_reason": "cancelled",
                **answer_report({}),
            }
            return Ending(state="complete", finish_reason="cancelled", told=told)
        async with answer:
            live.began(answer.cancel)
            while not await answer.ready(_QUEUED_EVERY_S):
                if (place := answer.place) is not None:
                    live.notify("queued", queued(place))
            async for piece in answer.pieces():
                live.append(piece.text)
        result = answer.result
        assert result is not None, "pieces end with a result, or an error"
        report = chat_report(
            result,
            composed.material,
            summarized_messages=composed.summarized_messages,
            dropped_passages=composed.dropped_passages,
        )
        facts = exchange.facts(live.id)
        told = {**facts, "model": result.model, "finish_reason": result.finish_reason, **answer_report(report)}
        return Ending(
            state="complete", finish_reason=result.finish_reason, model=result.model, report=report, told=told
        )

    async def _begin(self, exchange: _Exchange, live: LiveAnswer) -> tuple[Composed, Answer]:
        async with self._generator.admit(exchange.request) as lease:
            chat = replace(exchange.chat, system=exchange.system, on_overflow=exchange.policy)
            composed = await self._composer.compose(chat, exchange.path, exchange.request, lease, live)
            (answer,) = await self._generator.begin(lease, composed.request, live.id, arrived=exchange.arrived)
        return composed, answer

    def _kept(self, exchange: _Exchange, ending: Ending) -> None:
        """Have the chat named, after its first answer."""
        if len(exchange.path) == 1 and exchange.chat.titled_by == "nobody" and ending.state == "complete":
            self._titles.wish(exchange.chat, exchange.request.user)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchange:
    """A question and the place for its answer, as they were stored."""

    key: ChatKey
    chat: Chat
    """As it was before."""
    system: str | None
    is_new: bool
    path: list[Message]
    """The branch, from its first message to the question."""
    answer: Message
    added_question: bool
    request: GenerationRequest
    policy: Overflow
    arrived: float

    @property
    def question(self) -> Message:
        """What is answered."""
        return self.path[-1]

    def facts(self, request_id: str) -> Started:
        """What people are told first, and again at the end."""
        return _facts(request_id, self.key.number, self.question.number, self.answer.number)


@dataclass(frozen=True, slots=True)
class _Work:
    """An exchange as `LiveAnswers` sees it."""

    conversations: Conversations
    exchange: _Exchange

    async def answer(self, live: LiveAnswer) -> Ending:
        return await self.conversations._answer(self.exchange, live)

    async def undo(self) -> None:
        await self.conversations._take_back(self.exchange)

    def kept(self, ending: Ending) -> None:
        self.conversations._kept(self.exchange, ending)


def _facts(request_id: str | None, chat: int, question: int, answer: int) -> Started:
    return {"id": request_id, "chat_id": chat, "user_message_id": question, "message_id": answer}


async def _replayed(answer: Message, facts: Started, after: int) -> AsyncGenerator[Told, None]:
    """The events of an answer that has ended, as its readers were told them."""
    length = len(answer.content)
    yield Told("start", facts, min(after, length))
    if after < length:
        yield Told("token", {"text": answer.content[after:]}, length)
    if answer.state == "complete":
        told: ChatDone = {
            **facts,
            "model": answer.model,
            "finish_reason": answer.finish_reason,
            **answer_report(answer.report or {}),
        }
        yield Told("done", told, length)
    else:
        yield Told("error", error_of(answer.report) or EngineFailed(_CUT_OFF), length)


def _asked(told: list[Message], question: Question) -> Message | None:
    """The stored question that is to be answered again; None where the question is new."""
    if question.regenerate is None:
        return None
    message = _numbered(told, question.regenerate, "regenerate")
    if message.role == "assistant":
        message = next(other for other in told if other.id == message.parent_id)
    return message


def _parent(told: list[Message], question: Question, chat: Chat) -> int | None:
    """The row of the message that a new question goes on from."""
    if question.edit is None:
        return chat.leaf_id
    message = _numbered(told, question.edit, "edit")
    if message.role != "user":
        raise InvalidRequest("Only questions can be edited; an answer can be made again.", param="edit")
    return message.parent_id


def _numbered(told: list[Message], number: int, param: str) -> Message:
    message = next((message for message in told if message.number == number), None)
    if message is None:
        raise MessageNotFound("There is no such message in this chat.", param=param)
    return message


def _for_chat(request: GenerationRequest, chat: Chat) -> GenerationRequest:
    """The request with what the chat says where it says nothing itself."""
    given: Mapping[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in chat.parameters.items()
        if getattr(request, name) in (None, ())
    }
    return replace(request, model=request.model or chat.model, **given)
