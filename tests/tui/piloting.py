"""The terminal program steered by tests, and what is on its screen.

Pictures of screens are written to the folder FAIRLEAD_SCREENS where it is set.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Static

from fairlead.chat_client import Chats
from fairlead.client import FairleadClient
from fairlead.tui.app import ChatApp, Starter
from fairlead.tui.widgets.composer import Composer
from fairlead.tui.widgets.turns import AnswerView


@asynccontextmanager
async def opened(
    url: str, home: Path, user: str | None = "anna", starter: Starter | None = None
) -> AsyncIterator[Pilot[None]]:
    async with ChatApp(url, home, user=user, starter=starter).run_test(size=(80, 24)) as pilot:
        yield pilot


async def until(pilot: Pilot[None], condition: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await pilot.pause(0.02)


async def to(pilot: Pilot[None], kind: type) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind) and bool(pilot.app.screen.query(Static)))
    await pilot.pause()


def line(pilot: Pilot[None], place: str = "#status") -> str:
    return str(pilot.app.screen.query_one(place, Static).render())


def answers(pilot: Pilot[None]) -> list[str]:
    return [view.text for view in pilot.app.screen.query(AnswerView)]


def remarks_of(pilot: Pilot[None]) -> str:
    return "\n".join(str(remark.render()) for remark in pilot.app.screen.query(".remarks").results(Static))


def picture(pilot: Pilot[None], name: str) -> None:
    if folder := os.environ.get("FAIRLEAD_SCREENS"):
        drawn = re.sub(
            r"@font-face \{.*?\}\s*|<!-- Generated.*?-->", "", pilot.app.export_screenshot(), flags=re.DOTALL
        )
        (Path(folder) / f"terminal-{name}.svg").write_text(drawn)  # without fonts from elsewhere


async def ask(pilot: Pilot[None], text: str) -> None:
    pilot.app.screen.query_one(Composer).insert(text)
    await pilot.press("enter")


async def asked(url: str, user: str, *questions: str) -> int:
    """A chat that is there already."""
    async with FairleadClient(url) as client:
        chats = Chats(client, user)
        number = await chats.next_id()
        for question in questions:
            async for _ in chats.generate(number, question):
                pass
        return number
