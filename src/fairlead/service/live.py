"""Answers that go on in chats: who reads them, who may end them, and what of them is stored already.

An answer belongs to a task of the server, not to a connection. Any number of readers follow it, each from where it
is; when the last has gone, the answer goes on for a grace time. One journal stores the texts of all answers a few times
a second, in one transaction. Knows nothing of prompts or models: the work is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from fairlead.errors import Conflict, FairleadError
from fairlead.service.answer_log import AnswerLog
from fairlead.service.reports import failure_report
from fairlead.storage import chats, messages
from fairlead.storage.database import Database
from fairlead.storage.tables import MessageState

T = TypeVar("T")

logger = logging.getLogger(__name__)

_FIRST_READER_WITHIN_S: Final = 5.0
"""However short the grace time is: whoever asked is told of the answer first, and then reads it."""
_STORED_EVERY_S: Final = 0.3
_TRIES: Final = 4
_AGAIN_AFTER_S: Final = 0.5
"""Between tries to store the end of an answer."""


class ChatKey(NamedTuple):
    """A chat among all people's."""

    person_id: int
    number: int


@dataclass(frozen=True, slots=True)
class Told:
    """An event of an answer for its readers."""

    name: str
    data: Mapping[str, object] | FairleadError
    characters: int
    """How much of the answer a reader has with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an answer ended, as it is stored and as its readers are told."""

    state: MessageState
    finish_reason: str
    model: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, object] | FairleadError


class Stopped(Exception):
    """The answer was ended before it began."""


class Work(Protocol):
    """What makes an answer."""

    async def answer(self, live: LiveAnswer) -> Ending:
        """Make it, and say how it ended. A FairleadError ends it too."""

    async def undo(self) -> None:
        """Take its messages back: it was refused before anybody was told of it."""

    def kept(self, ending: Ending) -> None:
        """It has ended, and is stored."""


class LiveAnswer:
    """An answer that goes on.

    Attributes:
        id: of the request; ends it by `POST /cancel`.
        user: the name of whom it is for.
        chat, row: the rows of its chat and of its message.
        number: of its message.
        facts: what readers are told first.
        ending: how it ended; None until that is stored.
    """

    def __init__(
        self,
        request_id: str,
        user: str,
        *,
        chat: int,
        row: int,
        number: int,
        facts: Mapping[str, object],
        grace_s: float,
    ) -> None:
        self.id = request_id
        self.user = user
        self.chat = chat
        self.row = row
        self.number = number
        self.facts = facts
        self.log = AnswerLog()
        self.ending: Ending | None = None
        self.begun = asyncio.Event()
        """Whether it can be refused no more: the engine has it, or it has ended."""
        self.ended = asyncio.Event()
        self.acknowledged = False
        """Whether somebody was told that it goes on; from then on its messages stay."""
        self.refusal: FairleadError | None = None
        """Why it was refused, before anybody was told of it; its messages are taken back."""
        self._grace_s = grace_s
        self._readers = 0
        self._grace: asyncio.TimerHandle | None = None
        self._stopped = asyncio.Event()
        self._cancel: Callable[[], None] | None = None
        self._notice: tuple[int, str, Mapping[str, object]] = (0, "", {})
        self._changed = asyncio.Event()
        self._wait_for_readers(max(grace_s, _FIRST_READER_WITHIN_S))

    @property
    def text(self) -> str:
        """What there is of it."""
        return self.log.since(0)

    # ---- the work's side ------------------------------------------------------------------------------

    def append(self, text: str) -> None:
        """Some more of the answer."""
        self.log.append(text)
        self._wake()

    def notify(self, name: str, data: Mapping[str, object]) -> None:
        """Tell those who read now; nobody is told later."""
        self._notice = (self._notice[0] + 1, name, data)
        self._wake()

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """Do what comes before the answer begins; Stopped where it is ended meanwhile."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Stopped
            return task.result()
        finally:
            stopped.cancel()
            task.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    def began(self, cancel: Callable[[], None]) -> None:
        """The engine has it; `cancel` ends it from now on."""
        self._cancel = cancel
        self.begun.set()
        if self._stopped.is_set():
            cancel()

    def end(self, ending: Ending) -> None:
        """It is over, and stored."""
        self.ending = ending
        self.begun.set()
        self.ended.set()
        self._cancel = None
        if self._grace is not None:
            self._grace.cancel()
        self._wake()

    # ---- the readers' side ----------------------------------------------------------------------------

    async def accepted(self, within_s: float) -> None:
        """Wait until it cannot be refused any more, or for so long; raises the refusal."""
        begun = asyncio.create_task(self.begun.wait())
        await asyncio.wait({begun}, timeout=within_s)
        begun.cancel()
        if self.refusal is not None:
            await self.ended.wait()
            raise self.refusal
        self.acknowledged = True

    def cancel(self) -> None:
        """Ask for the end; what there is by then is the answer."""
        self._stopped.set()
        if self._cancel is not None:
            self._cancel()

    async def events(self, after: int = 0) -> AsyncGenerator[Told, None]:
        """The answer from a place on: pieces of text as they come, and its end. Several may read.

        A reader holds nothing but its place: to one that is slow, what has come meanwhile is told as one piece.
        """
        place, heard = after, self._notice[0]
        with self._reading():
            yield Told("start", self.facts, min(place, self.log.length))
            while True:
                changed = self._changed
                serial, name, data = self._notice
                if serial > heard:
                    heard = serial
                    yield Told(name, data, min(place, self.log.length))
                if text := self.log.since(place):
                    place += len(text)
                    yield Told("token", {"text": text}, place)
                elif self.ending is not None:
                    told = self.ending.told
                    yield Told("error" if isinstance(told, FairleadError) else "done", told, self.log.length)
                    return
                elif serial == self._notice[0]:
                    await changed.wait()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        self._readers += 1
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers and self.ending is None:
                self._wait_for_readers(self._grace_s)

    def _wait_for_readers(self, within_s: float) -> None:
        self._grace = asyncio.get_running_loop().call_later(within_s, self._give_up)

    def _give_up(self) -> None:
        logger.info("the answer %s is ended: nobody reads it", self.id)
        self.cancel()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class LiveAnswers:
    """The answers that go on in all chats, one in each.

    Args:
        database: where they are stored.
        grace_s: how long an answer goes on that nobody reads.
    """

    def __init__(self, database: Database, grace_s: float) -> None:
        self.grace_s = grace_s
        self._database = database
        self._claimed: set[ChatKey] = set()
        self._live: dict[ChatKey, LiveAnswer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._journal: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many go on."""
        return len(self._live)

    def find(self, key: ChatKey) -> LiveAnswer | None:
        """The answer that goes on in a chat."""
        return self._live.get(key)

    def under(self, request_id: str, owner: str | None = None) -> list[LiveAnswer]:
        """The answers under a request's id; only `owner`'s where one is given."""
        return [live for live in self._live.values() if live.id == request_id and owner in (None, live.user)]

    @contextlib.contextmanager
    def claim(self, key: ChatKey) -> Iterator[None]:
        """Have a chat to oneself while its messages are changed; Conflict where an answer goes on in it."""
        if key in self._claimed or key in self._live:
            raise Conflict(
                "An answer is under way in this chat: wait for it, take up its stream, or end it with POST /cancel.",
                param="chat_id",
            )
        self._claimed.add(key)
        try:
            yield
        finally:
            self._claimed.remove(key)

    def begin(self, key: ChatKey, live: LiveAnswer, work: Work) -> None:
        """Let an answer go on from now on, in a chat that the caller has claimed."""
        self._live[key] = live
        task = asyncio.create_task(self._run(key, live, work), name=f"chat answer {live.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._journal is None:
            self._journal = asyncio.create_task(self._keep_journal(), name="journal of answers")

    async def leave(self, key: ChatKey) -> None:
        """End the answer that goes on in a chat, if there is one, and wait until it has ended."""
        if (live := self._live.get(key)) is not None:
            live.cancel()
            await live.ended.wait()

    async def close(self, within_s: float) -> None:
        """End what goes on, and wait for so long until it is stored."""
        for live in self._live.values():
            live.cancel()
        tasks = set(self._tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within_s)
            for task in late:
                logger.error("%s did not end in time", task.get_name())
        if self._journal is not None:
            tasks.add(self._journal)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: ChatKey, live: LiveAnswer, work: Work) -> None:
        ending = await self._made(live, work)
        try:
            if isinstance(ending.told, FairleadError) and not live.acknowledged and not live.begun.is_set():
                live.refusal = ending.told
                await work.undo()
            else:
                await self._keep(live, ending)
                work.kept(ending)
        except Exception:  # or its readers would wait for ever
            logger.exception("the end of the answer %s could not be stored", live.id)
            ending = replace(ending, told=_unforeseen())
        finally:
            del self._live[key]
            live.end(ending)

    async def _made(self, live: LiveAnswer, work: Work) -> Ending:
        try:
            return await work.answer(live)
        except FairleadError as error:
            return _failed(live, error)
        except Exception:
            logger.exception("the answer %s failed", live.id)
            return _failed(live, _unforeseen())

    async def _keep(self, live: LiveAnswer, ending: Ending) -> None:
        """Store how an answer ended; where that fails, as on a full disk, it is tried again for a while."""
        for left in reversed(range(_TRIES)):
            now = datetime.now(UTC)
            try:
                async with self._database.writing() as connection:
                    await messages.finish(
                        connection,
                        live.row,
                        content=live.text,
                        state=ending.state,
                        finish_reason=ending.finish_reason,
                        model=ending.model,
                        report=ending.report,
                        finished_at=now,
                    )
                    await chats.change(connection, live.chat, updated_at=now)
            except Exception:
                if not left:
                    raise
                logger.exception("the answer %s could not be stored; it is tried again", live.id)
                await asyncio.sleep(_AGAIN_AFTER_S)
            else:
                return

    async def _keep_journal(self) -> None:
        """Store what there is of all answers, a few times a second."""
        stored: dict[int, int] = {}  # by the message's row: how many characters
        failing = False
        while True:
            await asyncio.sleep(_STORED_EVERY_S)
            lengths = {live.row: live.log.length for live in self._live.values()}
            grown = {live.row: live.text for live in self._live.values() if live.log.length > stored.get(live.row, 0)}
            stored = {row: length for row, length in stored.items() if row in lengths}
            if not grown:
                continue
            try:
                async with self._database.writing() as connection:
                    await messages.write_texts(connection, grown)
            except Exception:
                if not failing:  # once, and not three times a second
                    logger.exception("what there is of %d answers cannot be stored; it is tried again", len(grown))
                failing = True
            else:
                failing = False
                stored |= {row: lengths[row] for row in grown}


def _failed(live: LiveAnswer, error: FairleadError) -> Ending:
    """The end of an answer that failed; what there is of it stays."""
    return Ending(state="cut_off", finish_reason="error", report=failure_report(live.id, error), told=error)


def _unforeseen() -> FairleadError:
    return FairleadError("Something went wrong in the server; its log has more.")
