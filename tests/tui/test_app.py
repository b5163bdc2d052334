"""The terminal program against a real server with fake models, keys pressed one by one; and pictures of its screens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.widgets import Button, DataTable, Input

from fairlead.chat_client import Chats
from fairlead.client import FairleadClient
from fairlead.tui.app import ChatApp
from fairlead.tui.screens.chat import ChatScreen
from fairlead.tui.screens.colours import ColoursScreen
from fairlead.tui.screens.menu import MenuScreen
from fairlead.tui.screens.models import ModelsScreen
from fairlead.tui.screens.past_chats import PastChatsScreen
from fairlead.tui.screens.sign_in import SignInScreen
from fairlead.tui.widgets.composer import Composer
from fairlead.tui.widgets.turns import Question
from tests.served import HELLO, Served, serving, settings_with_models
from tests.tui.piloting import answers, ask, asked, line, opened, picture, remarks_of, to, until


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(settings_with_models(tmp_path_factory.mktemp("home"))) as running:
        yield running


async def test_a_name_signs_in_and_is_remembered(served: Served, tmp_path: Path) -> None:
    async with opened(served.url, tmp_path, user=None) as pilot:
        await until(pilot, lambda: pilot.app.screen.query_one("#who", Input).display)
        picture(pilot, "sign-in")
        await pilot.press(*"berta", "enter")
        await to(pilot, MenuScreen)
        assert "berta" in line(pilot, "#said")
        picture(pilot, "menu")
        await pilot.press("escape")
        await to(pilot, SignInScreen)
    async with opened(served.url, tmp_path, user=None) as pilot:
        await to(pilot, MenuScreen)
        assert "berta" in line(pilot, "#said")


async def test_ask_again_and_in_other_words(served: Served, tmp_path: Path) -> None:
    async with opened(served.url, tmp_path) as pilot:
        await to(pilot, MenuScreen)
        await pilot.press("enter")
        await to(pilot, ChatScreen)
        await pilot.press(*"Hi", "ctrl+j", *"you", "enter")
        await until(pilot, lambda: "tokens/s" in line(pilot))
        assert answers(pilot) == [HELLO]
        assert pilot.app.screen.query_one(Question).text == "Hi\nyou"
        picture(pilot, "chat")
        await pilot.press("ctrl+y")
        assert pilot.app.clipboard == HELLO
        await pilot.press("ctrl+r")
        await until(pilot, lambda: answers(pilot) == [HELLO] and "tokens/s" in line(pilot))
        await pilot.press("ctrl+e")
        assert pilot.app.screen.query_one(Composer).text == "Hi\nyou"
        await pilot.press(*" two", "enter")
        await until(pilot, lambda: [turn.text for turn in pilot.app.screen.query(Question)] == ["Hi\nyou two"])
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        assert screen.chat_id is not None
        async with FairleadClient(served.url) as client:
            messages = await Chats(client, "anna").messages(screen.chat_id)
        assert sorted(message.role for message in messages) == ["assistant"] * 3 + ["user"] * 2


async def test_escape_stops_and_what_was_begun_is_kept(served: Served, tmp_path: Path) -> None:
    served.do(served.services.registry.load("crawling"))
    number = await asked(served.url, "stopper", "first")
    async with FairleadClient(served.url) as client:
        await Chats(client, "stopper").change(number, model="crawling")
    async with opened(served.url, tmp_path, "stopper") as pilot:
        await to(pilot, MenuScreen)
        pilot.app.push_screen(ChatScreen(number))
        await to(pilot, ChatScreen)
        await until(pilot, lambda: answers(pilot) == [HELLO])
        await ask(pilot, "and on")
        await until(pilot, lambda: "a" in answers(pilot)[-1] and "tokens/s" in line(pilot))
        picture(pilot, "streaming")
        await pilot.press(*"next")
        await pilot.press("escape")
        await until(pilot, lambda: "stopped" in line(pilot))
        assert pilot.app.screen.query_one(Composer).text == "next"
        await pilot.press("escape")
        await to(pilot, MenuScreen)
        pilot.app.push_screen(ChatScreen(number))
        await to(pilot, ChatScreen)
        await until(pilot, lambda: len(answers(pilot)) == 2)
        assert pilot.app.screen.query_one(Composer).text == "next"


async def test_what_was_begun_is_there_in_the_next_run_and_for_its_writer_alone(served: Served, tmp_path: Path) -> None:
    async def left_in_a_new_chat(user: str, keys: str) -> str:
        """What stands in the field of a new chat, where these are typed and the program is ended."""
        async with opened(served.url, tmp_path, user) as pilot:
            await to(pilot, MenuScreen)
            await pilot.press("enter")
            await to(pilot, ChatScreen)
            found = pilot.app.screen.query_one(Composer).text
            await pilot.press(*keys, "ctrl+q")
            return found

    assert await left_in_a_new_chat("drafter", "half a") == ""
    assert await left_in_a_new_chat("reader", "x") == ""
    assert await left_in_a_new_chat("drafter", " thought") == "half a"
    async with opened(served.url, tmp_path, "drafter") as pilot:
        await to(pilot, MenuScreen)
        await pilot.press("enter")
        await to(pilot, ChatScreen)
        await pilot.press("enter")
        await until(pilot, lambda: answers(pilot) == [HELLO] and "tokens/s" in line(pilot))
        assert pilot.app.screen.query_one(Question).text == "half a thought"
        await pilot.press(*"and", "ctrl+q")
    async with opened(served.url, tmp_path, "drafter") as pilot:
        await to(pilot, MenuScreen)
        await pilot.press("enter")
        await to(pilot, ChatScreen)
        assert not pilot.app.screen.query_one(Composer).text, "it was sent, and what was begun then is the other chat's"
        await pilot.press("escape")
        await to(pilot, MenuScreen)
        pilot.app.push_screen(ChatScreen(1))
        await to(pilot, ChatScreen)
        assert pilot.app.screen.query_one(Composer).text == "and"


async def test_an_answer_that_goes_on_is_taken_up(served: Served, tmp_path: Path) -> None:
    served.do(served.services.registry.load("crawling"))
    async with opened(served.url, tmp_path, "returner") as pilot:
        await to(pilot, MenuScreen)
        number = await asked(served.url, "returner", "first")
        async with FairleadClient(served.url) as client:
            chats = Chats(client, "returner")
            told = chats.send(number, "on", model="crawling", max_tokens=200)
            await anext(told)
            await told.aclose()
        pilot.app.push_screen(ChatScreen(number))
        await to(pilot, ChatScreen)
        await until(pilot, lambda: len(answers(pilot)) == 2 and "at" in answers(pilot)[-1])
        assert "at last ".startswith(answers(pilot)[-1])
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "stopped" in line(pilot))


async def test_ten_thousand_lines_are_pasted_and_nothing_is_lost(served: Served, tmp_path: Path) -> None:
    text = "\n".join(f"line {number} \x1b[2J" for number in range(10_000))
    async with opened(served.url, tmp_path) as pilot:
        await to(pilot, MenuScreen)
        await pilot.press("enter")
        await to(pilot, ChatScreen)
        async with asyncio.timeout(10):
            await ask(pilot, text)
            await pilot.resize_terminal(60, 15)
            composer = pilot.app.screen.query_one(Composer)
            await until(pilot, lambda: composer.text == text)  # it does not fit the model, and is given back
            await pilot.resize_terminal(80, 24)


async def test_a_file_is_attached_by_its_path(served: Served, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("The heron is blue.")
    async with opened(served.url, tmp_path, "filer") as pilot:
        await to(pilot, MenuScreen)
        await pilot.press("enter")
        await to(pilot, ChatScreen)
        await pilot.press("ctrl+o")
        await pilot.pause()
        pilot.app.screen.query_one(Input).value = str(tmp_path / "not")
        pilot.app.screen.query_one(Input).cursor_position = 999
        await pilot.press("tab")
        assert pilot.app.screen.query_one(Input).value == str(tmp_path / "notes.txt")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen) and "attached" in line(pilot), 15)
        await ask(pilot, "What is it?")
        await until(pilot, lambda: "notes.txt, whole" in remarks_of(pilot))


async def test_past_chats(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for question in ("About herons", "About bridges"):
        await asked(served.url, "reader", question)
    async with opened(served.url, tmp_path, "reader") as pilot:
        await to(pilot, MenuScreen)
        await pilot.press("down", "enter")
        await to(pilot, PastChatsScreen)
        table = pilot.app.screen.query_one(DataTable)
        await until(pilot, lambda: table.row_count == 2)
        picture(pilot, "past-chats")
        await pilot.press("slash", *"herons")
        await until(pilot, lambda: table.row_count == 1)
        await pilot.press("enter", "r")
        await pilot.pause()
        pilot.app.screen.query_one(Input).value = "Birds"
        await pilot.press("enter")
        await until(pilot, lambda: table.row_count == 1 and "Birds" in str(table.get_row_at(0)[1]))
        await pilot.press("x", "enter")
        await until(pilot, (tmp_path / "1-birds.md").exists)
        assert "About herons" in (tmp_path / "1-birds.md").read_text()
        await pilot.press("d", "n")
        await pilot.press("d", "y")
        await until(pilot, lambda: table.row_count == 0)
        await pilot.press("2", "enter")
        await to(pilot, ChatScreen)
        await until(pilot, lambda: answers(pilot) == [HELLO])
        await pilot.press("escape")
        await to(pilot, PastChatsScreen)


async def test_models_come_and_go(served: Served, tmp_path: Path) -> None:
    async with opened(served.url, tmp_path) as pilot:
        await to(pilot, MenuScreen)
        await pilot.press("down", "down", "enter")
        await to(pilot, ModelsScreen)
        table = pilot.app.screen.query_one(DataTable)
        await until(pilot, lambda: table.row_count > 5)
        names = [str(table.get_row_at(row)[1]) for row in range(table.row_count)]

        table.move_cursor(row=names.index("heavy"))
        await pilot.press("l")
        await until(pilot, lambda: "does not fit" in line(pilot, "#said"))
        table.move_cursor(row=names.index("lingering"))
        await pilot.press("l")
        await until(pilot, lambda: "█" in line(pilot, "#said"))
        picture(pilot, "models")
        await until(pilot, lambda: "is loaded" in line(pilot, "#said"))
        await pilot.press("u")
        await until(pilot, lambda: "has left" in line(pilot, "#said"))
        await pilot.press("escape")
        await to(pilot, MenuScreen)


async def test_colours_are_shown_and_kept(served: Served, tmp_path: Path) -> None:
    async with opened(served.url, tmp_path, "painter") as pilot:
        await to(pilot, MenuScreen)
        await pilot.press("down", "down", "down", "enter")
        await to(pilot, ColoursScreen)
        await pilot.press("left", "down", "right", "down", "right")
        picture(pilot, "colours")
    async with opened(served.url, tmp_path, "painter") as pilot:
        await to(pilot, MenuScreen)
        app = pilot.app
        assert isinstance(app, ChatApp)
        assert (app.look.person, app.look.model, app.look.theme) == ("magenta", "red", "textual-light")
        assert app.theme == "textual-light"


async def test_no_server_and_one_that_is_started(tmp_path: Path, served: Served) -> None:
    started = False

    @asynccontextmanager
    async def starter() -> AsyncIterator[str]:
        nonlocal started
        started = True
        assert isinstance(app, ChatApp)
        app.url = served.url
        app._client = None
        yield served.url

    async with opened("http://127.0.0.1:9", tmp_path, user=None, starter=starter) as pilot:
        app = pilot.app
        assert isinstance(app, ChatApp)
        await until(pilot, lambda: app.screen.query_one("#start", Button).display)
        assert "No server answers" in line(pilot, "#said")
        picture(pilot, "no-server")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen.query_one("#who", Input).display)
        assert started
