"""The terminal program at a server that asks for keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.widgets import Input

from fairlead.config import Settings
from fairlead.service.keys import Keys
from fairlead.service.store import opened as store_opened
from fairlead.tui.screens.chat import ChatScreen
from fairlead.tui.screens.menu import MenuScreen
from fairlead.tui.screens.sign_in import SignInScreen
from tests.served import HELLO, Served, serving, settings_with_models
from tests.tui.piloting import answers, ask, line, opened, to, until


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_with_models(tmp_path_factory.mktemp("secured"))


@pytest.fixture(scope="module")
def key(settings: Settings) -> str:
    """Anna's."""

    async def add() -> str:
        async with store_opened(settings) as database:
            return await Keys(database, settings.key_secret).add("anna")

    return asyncio.run(add())


@pytest.fixture(scope="module")
def secured(settings: Settings, key: str) -> Iterator[Served]:
    with serving(settings) as server:
        yield server


async def test_a_key_signs_in_unseen_and_is_remembered(secured: Served, key: str, tmp_path: Path) -> None:
    async with opened(secured.url, tmp_path, user=None) as pilot:
        field = pilot.app.screen.query_one("#who", Input)
        await until(pilot, lambda: field.display)
        assert (field.placeholder, field.password) == ("Your access key", True)
        for typed in ("fl_" + "x" * 43, "no key ‽"):
            field.value = typed
            await pilot.press("enter")
            await until(pilot, lambda: field.display and "key" in line(pilot, "#said"))
            assert isinstance(pilot.app.screen, SignInScreen)
            assert typed not in line(pilot, "#said")
        field.value = key
        assert key not in pilot.app.export_screenshot()
        await pilot.press("enter")
        await to(pilot, MenuScreen)
        assert "anna" in line(pilot, "#said")
    async with opened(secured.url, tmp_path, user=None) as pilot:
        await to(pilot, MenuScreen)
        await pilot.press("enter")
        await to(pilot, ChatScreen)
        await ask(pilot, "Hi")
        await until(pilot, lambda: answers(pilot) == [HELLO] and "tokens/s" in line(pilot))


async def test_a_name_alone_is_asked_for_its_key(secured: Served, tmp_path: Path) -> None:
    async with opened(secured.url, tmp_path, user="anna") as pilot:
        await until(pilot, lambda: pilot.app.screen.query_one("#who", Input).display)
        assert pilot.app.screen.query_one("#who", Input).password
        assert "key" in line(pilot, "#said")
