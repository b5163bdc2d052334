"""`fairlead chat` in a real terminal, against the real server and model: signed in, left, and found again."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Server, until

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is missing: apt-get install tmux")


class Terminal:
    """A tmux server of its own with one window of 80 by 24."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / "tmux")

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", *words],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        )
        return done.stdout

    def run(self, *command: str, **environment: str) -> None:
        self.tmux(
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            shlex.join(["env", *(f"{k}={v}" for k, v in environment.items()), *command]),
        )

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def seen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def ended(self) -> bool:
        return (
            subprocess.run(["tmux", "-S", self._socket, "ls"], capture_output=True, check=False, timeout=20).returncode
            != 0
        )


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    there = Terminal(tmp_path)
    yield there
    if not there.ended():
        there.tmux("kill-server")


def test_sign_in_chat_stop_leave_come_back(server: Server, terminal: Terminal, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fairlead", "chat", "--url", server.url, "--home", str(tmp_path / "home")]
    terminal.run(*command)
    until(lambda: "Your name" in terminal.seen())
    terminal.type("tessa")
    terminal.press("Enter")
    until(lambda: "New chat" in terminal.seen())
    terminal.press("Enter")
    until(lambda: "Type a message" in terminal.seen())
    terminal.type("Write a very long story about a heron.")
    terminal.press("Enter")
    until(lambda: "Escape stops" in terminal.seen() and "about" in terminal.seen())
    terminal.press("Escape")
    until(lambda: "stopped" in terminal.seen())
    terminal.press("Escape")
    until(lambda: "Past chats" in terminal.seen())
    terminal.press("C-q")
    until(terminal.ended)

    terminal.run(*command, NO_COLOR="1")
    until(lambda: "Past chats" in terminal.seen())  # who it was is remembered
    terminal.press("Down", "Enter")
    until(lambda: "1 chats" in terminal.seen())
    terminal.press("1", "Enter")
    until(lambda: "Write a very long story" in terminal.seen() and "smollm2" in terminal.seen())
    terminal.press("C-q")
    until(terminal.ended)
