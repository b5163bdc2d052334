"""The terminal program and a server that is killed in the middle of an answer, and comes back at the same place."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fairlead import chat_client
from fairlead.chat_client import Chats
from fairlead.client import FairleadClient, Unreachable
from fairlead.tui.saved import Saved
from fairlead.tui.screens.chat import ChatScreen
from fairlead.tui.screens.menu import MenuScreen
from fairlead.tui.widgets.composer import Composer
from fairlead.tui.widgets.turns import Question
from tests.tui.piloting import answers, ask, line, opened, remarks_of, to, until

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def served(home: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server with the fake "crawling" in a process of its own, killed with the context where it still runs."""
    command = [sys.executable, "-m", "tests.api.serve_fake", str(home), str(port), "1", "crawling"]
    with (home / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=log, start_new_session=True)
        try:
            async with asyncio.timeout(20), FairleadClient(f"http://127.0.0.1:{port}") as client:
                while not await _is_ready(client):
                    assert process.returncode is None, (home / "log").read_text()
                    await asyncio.sleep(0.02)
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _is_ready(client: FairleadClient) -> bool:
    try:
        return (await client.health()).models["crawling"] == "loaded"
    except Unreachable:
        return False


async def test_nothing_is_lost_while_it_is_away_and_the_chat_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_client, "_FIRST_WAIT_S", 0.05)
    (home := tmp_path / "server").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    async with served(home, port) as first, opened(url, tmp_path, "anna") as pilot:
        await to(pilot, MenuScreen)
        await pilot.press("enter")
        await to(pilot, ChatScreen)
        await ask(pilot, "How late is it?")
        await until(pilot, lambda: answers(pilot) != [] and "at l" in answers(pilot)[0])
        os.killpg(first.pid, signal.SIGKILL)
        await until(pilot, lambda: "The server is away; looking for it again" in line(pilot))
        came = answers(pilot)[0]
        await pilot.press(*"And now?")
        composer = pilot.app.screen.query_one(Composer)
        assert composer.text == "And now?", "what is on the screen stays, and keys are answered"
        async with served(home, port) as second:
            await until(pilot, lambda: "The server ended before this answer did" in remarks_of(pilot), 15)
            (stored,) = answers(pilot)
            assert stored
            assert came.startswith(stored), "what was stored is what had come, up to the last moments"
            assert [turn.text for turn in pilot.app.screen.query(Question)] == ["How late is it?"]
            await pilot.press("enter")
            await until(pilot, lambda: len(answers(pilot)) == 2 and "at" in answers(pilot)[1])
            await pilot.press("escape")
            await until(pilot, lambda: "stopped" in line(pilot))
            async with FairleadClient(url) as client:
                messages = (await Chats(client, "anna").open(1)).messages
            asked = [message.content for message in messages if message.role == "user"]
            assert asked == ["How late is it?", "And now?"]
            os.killpg(second.pid, signal.SIGKILL)
            await second.wait()
            await ask(pilot, "Are you there?")
            await until(pilot, lambda: composer.text == "Are you there?")
            begun = time.monotonic()
            await pilot.press("ctrl+q")
    assert time.monotonic() - begun < 2, "nothing is waited for"
    assert Saved(tmp_path).draft(url, "anna", 1) == "Are you there?", "it is there in the next run"
