"""Answers that go on: readers that come, lag, leave and come back; and what of an answer is stored, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import insert

from fairlead.errors import Conflict, EngineFailed, InvalidRequest
from fairlead.service import live as live_module
from fairlead.service.live import ChatKey, Ending, LiveAnswer, LiveAnswers, Stopped, Told
from fairlead.storage import chats, messages, tables
from fairlead.storage.database import Database
from tests.service.conftest import until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DONE = Ending(state="complete", finish_reason="stop", report={"usage": {}}, told={"finish_reason": "stop"})


def an_answer(grace_s: float = 60.0, row: int = 1, chat: int = 1, number: int = 2) -> LiveAnswer:
    return LiveAnswer("req", "anna", chat=chat, row=row, number=number, facts={"message_id": number}, grace_s=grace_s)


# ---- readers --------------------------------------------------------------------------------------


@dataclass
class Reader:
    events: AsyncGenerator[Told, None]
    place: int
    began_at: int
    text: str = ""
    begun: bool = False
    ended: bool = False


class Readers(RuleBasedStateMachine):
    """Whatever readers do, each has read the answer from where it began, without a gap and without an overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.live = self.loop.run_until_complete(self.make())
        self.whole = ""
        self.readers: list[Reader] = []

    async def make(self) -> LiveAnswer:
        return an_answer()

    @precondition(lambda self: self.live.ending is None)
    @rule(text=st.text(st.characters(exclude_characters="\x00"), min_size=1, max_size=4))
    def more_comes(self, text: str) -> None:
        self.live.append(text)
        self.whole += text

    @precondition(lambda self: self.live.ending is None)
    @rule()
    def it_ends(self) -> None:
        self.live.end(DONE)

    @rule(data=st.data())
    def one_comes(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.whole)))
        self.readers.append(Reader(self.live.events(place), place, place))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def one_reads(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        if reader.ended or (reader.begun and reader.place == len(self.whole) and self.live.ending is None):
            return  # it would wait
        told = self.loop.run_until_complete(anext(reader.events))
        if told.name == "token":
            reader.text += str(told.data["text"])  # type: ignore[index]  # a token has a text
            reader.place = told.characters
        elif told.name == "done":
            reader.ended = True
            with pytest.raises(StopAsyncIteration):
                self.loop.run_until_complete(anext(reader.events))
            assert reader.text == self.whole[reader.began_at :]
        else:
            assert (told.name, reader.begun, told.characters) == ("start", False, reader.place)
        reader.begun = True

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def one_leaves_and_comes_back(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        self.loop.run_until_complete(reader.events.aclose())
        self.readers.remove(reader)
        self.readers.append(Reader(self.live.events(reader.place), reader.place, reader.began_at, reader.text))

    @invariant()
    def each_has_read_what_there_is(self) -> None:
        for reader in self.readers:
            assert reader.text == self.whole[reader.began_at : reader.place]

    @invariant()
    def readers_are_counted(self) -> None:
        assert self.live._readers == sum(reader.begun and not reader.ended for reader in self.readers)

    def teardown(self) -> None:
        for reader in self.readers:
            self.loop.run_until_complete(reader.events.aclose())
        self.live.end(DONE)
        self.loop.close()


TestReaders = Readers.TestCase
TestReaders.settings = settings(max_examples=60, stateful_step_count=30)


async def test_a_reader_waits_and_hears_of_its_place_in_the_queue() -> None:
    live = an_answer()
    told: list[Told] = []

    async def read() -> None:
        told.extend([event async for event in live.events()])

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    live.notify("queued", {"position": 3})
    await until(lambda: len(told) == 0 and live._readers == 1)
    await asyncio.sleep(0.01)
    live.append("Hel")
    live.append("lo")
    await asyncio.sleep(0.01)
    live.append("!")
    live.end(DONE)
    await reading
    assert [event.name for event in told] == ["start", "queued", "token", "token", "done"]
    assert [event.characters for event in told] == [0, 0, 5, 6, 6]
    late = [event.name async for event in live.events(6)]
    assert late == ["start", "done"]  # what was told of the queue is old


async def test_an_error_ends_it() -> None:
    live = an_answer()
    live.append("Hel")
    live.end(Ending(state="cut_off", finish_reason="error", told=EngineFailed("Gone.")))
    assert [event.name async for event in live.events()] == ["start", "token", "error"]


async def test_it_goes_on_for_a_grace_time_when_nobody_reads() -> None:
    cancelled: list[float] = []
    loop = asyncio.get_running_loop()
    live = an_answer(grace_s=0.1)
    live.began(lambda: cancelled.append(loop.time()))
    first, second = live.events(), live.events()
    await anext(first)
    await anext(second)
    await first.aclose()
    await asyncio.sleep(0.15)
    assert not cancelled
    left = loop.time()
    await second.aclose()
    await asyncio.sleep(0.05)
    third = live.events()
    await anext(third)
    await asyncio.sleep(0.1)
    assert not cancelled  # it was taken up in time
    await third.aclose()
    await until(lambda: bool(cancelled))
    assert cancelled[0] - left >= 0.2
    live.end(DONE)


async def test_one_that_nobody_ever_reads_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "_FIRST_READER_WITHIN_S", 0.05)
    live = an_answer(grace_s=0.0)
    assert await live.unless_stopped(asyncio.sleep(0.01, "there is time to come")) is not None
    with pytest.raises(Stopped):
        await live.unless_stopped(asyncio.sleep(10))
    live.end(DONE)


async def test_a_stop_before_it_began_and_after() -> None:
    live = an_answer()
    assert await live.unless_stopped(asyncio.sleep(0, "made")) == "made"
    waiting = asyncio.create_task(live.unless_stopped(asyncio.sleep(10)))
    await asyncio.sleep(0)
    live.cancel()
    with pytest.raises(Stopped):
        await waiting
    told: list[str] = []
    live.began(lambda: told.append("at once"))
    live.cancel()
    assert told == ["at once", "at once"]
    live.end(DONE)


# ---- what is stored -------------------------------------------------------------------------------


@dataclass
class Scripted:
    """An answer as a test has it."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    begins: bool = True
    undone: int = 0
    endings: list[Ending] = field(default_factory=list)

    async def answer(self, live: LiveAnswer) -> Ending:
        if self.begins:
            live.began(self.go_on.set)
            live.append("Hello, ")
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        live.append("world.")
        return DONE

    async def undo(self) -> None:
        self.undone += 1

    def kept(self, ending: Ending) -> None:
        self.endings.append(ending)


@pytest.fixture
async def answers(database: Database) -> AsyncIterator[LiveAnswers]:
    async with database.writing() as connection:
        await connection.execute(insert(tables.Person).values(id=1, name="anna", created_at=NOW))
    made = LiveAnswers(database, grace_s=60.0)
    yield made
    await made.close(1.0)


async def placed(database: Database, number: int = 1) -> tuple[ChatKey, LiveAnswer]:
    """A chat with a question, and the answer to it."""
    async with database.writing() as connection:
        chat = await chats.create(connection, 1, number, NOW)
        asked = await messages.add(connection, chat.id, parent_id=None, role="user", content="Hi", created_at=NOW)
        answer = await messages.add(
            connection, chat.id, parent_id=asked.id, role="assistant", content="", state="generating", created_at=NOW
        )
    return ChatKey(1, number), an_answer(row=answer.id, chat=chat.id, number=answer.number)


async def stored(database: Database, live: LiveAnswer) -> messages.Message:
    async with database.reading() as connection:
        found = await messages.find(connection, live.chat, live.number)
    assert found is not None
    return found


async def test_an_answer_is_stored_as_it_comes_and_at_its_end(database: Database, answers: LiveAnswers) -> None:
    key, live = await placed(database)
    work = Scripted()
    with answers.claim(key):
        answers.begin(key, live, work)
    await live.accepted(1.0)
    assert answers.find(key) is live
    with pytest.raises(Conflict), answers.claim(key):
        pass
    async with asyncio.timeout(5):
        while (await stored(database, live)).content != "Hello, ":  # noqa: ASYNC110  (the journal has no event)
            await asyncio.sleep(0.02)
    assert (await stored(database, live)).state == "generating"
    work.go_on.set()
    await live.ended.wait()
    now = await stored(database, live)
    assert (now.content, now.state, now.finish_reason) == ("Hello, world.", "complete", "stop")
    assert now.report == {"usage": {}}
    assert now.finished_at is not None
    assert work.endings == [DONE]
    assert answers.find(key) is None
    with answers.claim(key):
        pass


async def test_several_answers_are_stored_together(database: Database, answers: LiveAnswers) -> None:
    works = []
    for number in (1, 2, 3):
        key, live = await placed(database, number)
        works.append((live, Scripted()))
        answers.begin(key, live, works[-1][1])
        await live.accepted(1.0)
    await asyncio.sleep(0.5)
    assert [(await stored(database, live)).content for live, _ in works] == ["Hello, "] * 3
    await answers.close(1.0)  # which ends them
    assert [(await stored(database, live)).content for live, _ in works] == ["Hello, world."] * 3


async def test_a_failure_keeps_what_there_is(database: Database, answers: LiveAnswers) -> None:
    key, live = await placed(database)
    work = Scripted(error=EngineFailed("Gone."))
    answers.begin(key, live, work)
    await live.accepted(1.0)
    work.go_on.set()
    assert [event.name async for event in live.events()] == ["start", "token", "error"]
    now = await stored(database, live)
    assert (now.content, now.state, now.finish_reason) == ("Hello, ", "cut_off", "error")
    assert now.report is not None
    assert now.report["error"]["code"] == "engine_failed"
    assert not work.undone


async def test_what_is_refused_at_once_is_taken_back(database: Database, answers: LiveAnswers) -> None:
    key, live = await placed(database)
    work = Scripted(error=InvalidRequest("No."), begins=False)
    work.go_on.set()
    answers.begin(key, live, work)
    with pytest.raises(InvalidRequest, match="No"):
        await live.accepted(1.0)
    assert work.undone == 1
    assert answers.find(key) is None


async def test_what_is_refused_later_is_told_in_the_stream(database: Database, answers: LiveAnswers) -> None:
    key, live = await placed(database)
    work = Scripted(error=InvalidRequest("No."), begins=False)
    answers.begin(key, live, work)
    await live.accepted(0.01)
    work.go_on.set()
    assert [event.name async for event in live.events()] == ["start", "error"]
    assert not work.undone
    assert (await stored(database, live)).state == "cut_off"


async def test_a_mistake_of_ours_is_told_without_its_words(database: Database, answers: LiveAnswers) -> None:
    key, live = await placed(database)
    work = Scripted(error=ZeroDivisionError("/secret/path"))
    answers.begin(key, live, work)
    await live.accepted(1.0)
    work.go_on.set()
    last = [event async for event in live.events()][-1]
    assert last.name == "error"
    assert "secret" not in str(last.data)
    assert "secret" not in str((await stored(database, live)).report)


async def test_a_full_disk_for_a_moment(
    database: Database, answers: LiveAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "_AGAIN_AFTER_S", 0.01)
    finish, failures = messages.finish, [OSError("full"), OSError("full")]

    async def failing(*args: object, **values: object) -> None:
        if failures:
            raise failures.pop()
        await finish(*args, **values)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(messages, "finish", failing)
    key, live = await placed(database)
    work = Scripted()
    work.go_on.set()
    answers.begin(key, live, work)
    assert [event.name async for event in live.events()][-1] == "done"
    assert (await stored(database, live)).content == "Hello, world."


async def test_a_full_disk_for_good(database: Database, answers: LiveAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "_AGAIN_AFTER_S", 0.01)

    async def failing(*args: object, **values: object) -> None:
        raise OSError("full")

    monkeypatch.setattr(messages, "finish", failing)
    key, live = await placed(database)
    work = Scripted()
    work.go_on.set()
    answers.begin(key, live, work)
    assert [event.name async for event in live.events()][-1] == "error"
    assert answers.find(key) is None
    assert not work.endings


async def test_leaving_ends_it(database: Database, answers: LiveAnswers) -> None:
    key, live = await placed(database)
    answers.begin(key, live, Scripted())
    await live.accepted(1.0)
    assert answers.under("req") == answers.under("req", "anna") == [live]
    assert answers.under("req", "bob") == []
    await answers.leave(key)
    assert live.ending is DONE
    await answers.leave(key)
