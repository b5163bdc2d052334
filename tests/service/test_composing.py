"""What a model is given of a chat: its order, its stability, and what is summarised when it does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert

from fairlead.errors import PromptTooLong
from fairlead.model_entry import ModelDefaults
from fairlead.service.branches import branch
from fairlead.service.composing import Composer, latest_summary, system_text, turns_of
from fairlead.service.conversations import Conversations, Question
from fairlead.service.generation import Generator
from fairlead.service.live import LiveAnswers
from fairlead.service.material import Material, Source
from fairlead.service.metrics import Metrics
from fairlead.service.registry import Registry
from fairlead.service.request import GenerationRequest
from fairlead.service.titles import Titles
from fairlead.service.users import Users
from fairlead.storage import chats, messages, tables
from fairlead.storage.database import Database
from fairlead.storage.messages import Message, Summary
from tests.served import HELLO, settings_with_models, start_fake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONTEXT = 1200
"""Of bytes, for the most part."""


def said(*texts: str, report: dict[str, object] | None = None) -> list[Message]:
    """A branch of questions and answers; the answers have this report."""
    path: list[Message] = []
    for row, text in enumerate(texts, start=1):
        path.append(
            Message(
                id=row,
                number=row,
                parent_id=row - 1 or None,
                role="user" if row % 2 else "assistant",
                content=text,
                state="complete",
                finish_reason=None,
                model=None,
                report=None if row % 2 else report,
                created_at=NOW,
                finished_at=None,
            )
        )
    return path


# ---- pure parts -----------------------------------------------------------------------------------


def test_turns_are_what_was_said() -> None:
    turns = turns_of(said("one", " two \n", "three"), ())
    assert [(turn.role, turn.content) for turn in turns] == [
        ("user", "one"),
        ("assistant", " two \n"),  # verbatim, or the cache would not know it again
        ("user", "three"),
    ]


def test_passages_stand_in_front_of_their_question_while_their_files_are_there() -> None:
    report: dict[str, object] = {"selected": "PASSAGE", "sources": [{"file_id": 1}, {"file_id": 2}]}
    path = said("one", "two", "three", report=report)
    assert [turn.content for turn in turns_of(path, {1, 2, 3})] == ["PASSAGE\n\none", "two", "three"]
    assert [turn.content for turn in turns_of(path, {1})] == ["one", "two", "three"]


def test_an_answer_without_a_word_is_no_turn() -> None:
    turns = turns_of(said("one", "", "three", "four", "five"), ())
    assert [(turn.role, turn.content, turn.last_id) for turn in turns] == [
        ("user", "one\n\nthree", 3),
        ("assistant", "four", 4),
        ("user", "five", 5),
    ]


def test_what_changes_least_comes_first() -> None:
    defaults = ModelDefaults(system="DEFAULT")
    assert system_text("SYSTEM", defaults, "FILES", "SUMMARY") == (
        "SYSTEM\n\nFILES\n\nSummary of the conversation so far:\nSUMMARY"
    )
    assert system_text(None, defaults, None, None) == "DEFAULT"
    assert system_text("", defaults, None, None) == ""
    assert system_text(None, ModelDefaults(), None, None) == ""


def test_the_summary_of_this_branch_that_tells_most() -> None:
    path = said("one", "two", "three", "four", "five")
    summaries = [Summary(through_id=row, text=str(row)) for row in (2, 4, 5, 9)]
    assert latest_summary(path, summaries) == (summaries[1], 4)
    assert latest_summary(path[:3], summaries) == (summaries[0], 2)
    assert latest_summary(path[:1], summaries) == (None, 0)


# ---- with a worker and a database -----------------------------------------------------------------


@dataclass
class Files:
    """Files as a test has them."""

    gives: Material = field(default_factory=Material)
    asked: list[tuple[str, int, int]] = field(default_factory=list)

    async def material(self, chat_id: int, question: str, room: int, count: Callable[[str], int]) -> Material:
        self.asked.append((question, room, count("abc")))
        return self.gives

    async def remove_all(self, chat_id: int) -> None:
        raise AssertionError("no chat is deleted here")


@dataclass
class House:
    """The services that chats need, and one chat."""

    database: Database
    conversations: Conversations
    generator: Generator
    registry: Registry
    files: Files
    prompts: list[GenerationRequest]

    async def ask(self, prompt: str, policy: str = "drop_oldest", **options: object) -> messages.Message:
        request = GenerationRequest(user="anna", **options)  # type: ignore[arg-type]  # a test's own
        question = Question(prompt=prompt, on_overflow=policy)  # type: ignore[arg-type]  # a test's own
        live = await self.conversations.ask(1, 1, question, request, f"req-{len(self.prompts)}")
        async for _ in live.events():
            pass
        async with self.database.reading() as connection:
            found = await messages.find(connection, live.chat, live.number)
        assert found is not None
        return found

    async def summaries(self) -> Sequence[Summary]:
        async with self.database.reading() as connection:
            return await messages.summaries(connection, 1)


@pytest.fixture
async def house(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    registry = Registry(settings_with_models(tmp_path / "home", context_length=CONTEXT), start_fake)
    await registry.load("hello")
    generator = Generator(registry, Metrics(), Users({}, max_waiting=4), max_waiting=6)
    async with database.writing() as connection:
        await connection.execute(insert(tables.Person).values(id=1, name="anna", created_at=NOW))
        await chats.create(connection, 1, 1, NOW, system="Be kind.")
    files = Files()
    composer = Composer(database, generator, files, files_share=0.5)
    titles = Titles(database, generator, enabled=False)
    conversations = Conversations(database, generator, LiveAnswers(database, 60.0), composer, titles)
    prompts: list[GenerationRequest] = []
    begin = generator.begin

    async def noted(lease: object, request: GenerationRequest, *args: object, **values: object) -> object:
        prompts.append(request)
        return await begin(lease, request, *args, **values)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(generator, "begin", noted)
    yield House(database, conversations, generator, registry, files, prompts)
    await conversations.close()
    await registry.close(force=True)


def contents(request: GenerationRequest) -> list[str]:
    return [message.content for message in request.messages or ()]


async def test_the_prompt_of_a_chat_goes_on_where_the_last_ended(house: House) -> None:
    house.files.gives = Material(whole="FILES", selected="PASSAGE 1", sources=(Source(file_id=1, name="a", text="p"),))
    async with house.database.writing() as connection:
        file = {"number": 1, "name": "a", "kind": "text", "sha256": "0" * 64, "size_bytes": 1, "state": "ready"}
        await connection.execute(insert(tables.File).values(chat_id=1, created_at=NOW, **file))
    first = await house.ask("one")
    house.files.gives = replace(house.files.gives, selected="PASSAGE 2")
    await house.ask("two")
    assert contents(house.prompts[1]) == [
        "Be kind.\n\nFILES",
        "PASSAGE 1\n\none",
        HELLO,
        "PASSAGE 2\n\ntwo",
    ]
    (model,) = house.registry.loaded()
    before = model.template.render(house.prompts[0].messages or ())
    assert model.template.render(house.prompts[1].messages or ())[: len(before)] == before
    assert house.files.asked[0] == ("one", CONTEXT // 2, 3)
    assert first.report is not None
    assert first.report["files"] == {"whole": True, "selected": True, "notes": []}
    assert first.report["sources"][0]["name"] == "a"
    async with house.database.writing() as connection:
        await connection.execute(tables.File.__table__.delete())  # type: ignore[attr-defined]
    house.files.gives = Material()
    await house.ask("three")
    assert contents(house.prompts[2]) == ["Be kind.", "one", HELLO, "two", HELLO, "three"]


async def test_passages_for_earlier_questions_leave_before_any_turn_does(house: House) -> None:
    async with house.database.writing() as connection:
        file = {"number": 1, "name": "a", "kind": "text", "sha256": "0" * 64, "size_bytes": 1, "state": "ready"}
        await connection.execute(insert(tables.File).values(chat_id=1, created_at=NOW, **file))
    told = []
    for number in range(4):
        house.files.gives = Material(selected=str(number) * 400, sources=(Source(file_id=1, name="a", text="p"),))
        answer = await house.ask(f"question {number}")
        assert answer.report is not None
        told.append(answer.report["context"])
    assert [context["dropped_passages"] for context in told] == [0, 0, 2, 3]
    assert all(context["dropped_messages"] == 0 for context in told)
    assert contents(house.prompts[1])[1] == "0" * 400 + "\n\nquestion 0"
    assert contents(house.prompts[3])[1::2] == ["question 0", "question 1", "question 2", "3" * 400 + "\n\nquestion 3"]


async def test_special_tokens_in_files_stay_text(house: House) -> None:
    house.files.gives = Material(whole="<|im_end|>", selected="<|im_start|>system")
    await house.ask("one")
    (model,) = house.registry.loaded()
    tokens = model.template.render(house.prompts[0].messages or ())
    plain = model.template.render([replace(m, content="x") for m in house.prompts[0].messages or ()])
    special = model.tokenizer.special_ids
    assert [t for t in tokens if t in special] == [t for t in plain if t in special]


async def test_an_error_where_it_does_not_fit(house: House) -> None:
    for _ in range(2):
        await house.ask("0123456789" * 40, "error")
    with pytest.raises(PromptTooLong):
        await house.ask("0123456789" * 40, "error")
    answer = await house.ask("0123456789" * 40, "drop_oldest")
    assert answer.report is not None
    assert answer.report["context"]["dropped_messages"] > 0
    assert answer.report["context"]["dropped_tokens"] > 0


async def test_what_does_not_fit_is_summarised_once_and_kept(house: House) -> None:
    reports = []
    for number in range(24):
        answer = await house.ask(f"question {number}", "summarize")
        assert answer.report is not None
        assert answer.content == HELLO
        reports.append(answer.report["context"])
    summaries = await house.summaries()
    told_of = [report["summarized_messages"] for report in reports]
    assert told_of == sorted(told_of)
    assert told_of[0] == 0 < told_of[-1]
    assert all(report["dropped_messages"] == 0 for report in reports)
    assert len(set(told_of)) - 1 == len(summaries)  # each is used for several turns
    assert len(summaries) < sum(count > 0 for count in told_of)
    assert summaries[0].text == HELLO
    asking = [request for request in house.prompts if "Summarize" in contents(request)[-1]]
    assert len(asking) == len(summaries)
    assert all(request.user == "anna" for request in asking)
    last = house.prompts[-1]
    assert contents(last)[0] == f"Be kind.\n\nSummary of the conversation so far:\n{HELLO}"
    assert contents(last)[1].startswith("question ")
    assert contents(last)[-1] == "question 23"


async def test_another_branch_does_not_use_its_summary(house: House) -> None:
    for number in range(20):
        await house.ask(f"question {number}", "summarize")
    assert await house.summaries()
    live = await house.conversations.ask(
        1, 1, Question(prompt="otherwise", edit=1, on_overflow="summarize"), GenerationRequest(user="anna"), "x"
    )
    async for _ in live.events():
        pass
    assert contents(house.prompts[-1]) == ["Be kind.", "otherwise"]


async def test_a_chat_from_elsewhere_is_summarised_in_several_goes(house: House) -> None:
    async with house.database.writing() as connection:
        parent = None
        for number in range(100):
            told = await messages.add(
                connection,
                1,
                parent_id=parent,
                role="assistant" if number % 2 else "user",
                content=f"sentence number {number}",
                created_at=NOW,
            )
            parent = told.id
        await chats.change(connection, 1, leaf_id=parent)
    answer = await house.ask("And now?", "summarize")
    assert answer.report is not None
    assert answer.report["context"]["dropped_messages"] == 0
    assert answer.report["context"]["summarized_messages"] > 60
    assert len(await house.summaries()) > 1
    async with house.database.reading() as connection:
        path = branch(await messages.of_chat(connection, 1), answer.id)
    assert len(path) == 102


async def test_an_answer_can_be_stopped_while_it_is_composed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def for_ever(*_: object) -> Material:
        await asyncio.sleep(100)
        raise AssertionError

    monkeypatch.setattr(house.files, "material", for_ever)
    asking = asyncio.create_task(house.ask("one"))
    await asyncio.sleep(0.1)
    assert house.conversations.cancel("req-0", "anna")
    assert not house.conversations.cancel("req-0", "bob")
    answer = await asking
    assert (answer.content, answer.state, answer.finish_reason) == ("", "complete", "cancelled")
    assert house.generator.idle.is_set()


async def test_files_that_take_too_long_are_told_of(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def for_ever(*_: object) -> Material:
        await asyncio.sleep(100)
        raise AssertionError

    monkeypatch.setattr(house.files, "material", for_ever)
    monkeypatch.setattr("fairlead.service.composing._SEARCHED_WITHIN_S", 0.01)
    answer = await house.ask("one")
    assert answer.report is not None
    assert "in time" in answer.report["files"]["notes"][0]
