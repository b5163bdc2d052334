"""`fairlead chat` in a real terminal, against the real server and model, or with one that it starts itself."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fairlead.tui.saved import Saved
from tests.e2e.conftest import Server, until

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is missing: apt-get install tmux")

COLOUR = re.compile(r"\x1b\[(\d+;)*(3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")


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

    def drawn(self) -> str:
        """The same with its colours and attributes."""
        return self.tmux("capture-pane", "-p", "-e")

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


def stopped_in_a_new_chat(terminal: Terminal) -> bool:
    """From the menu: ask for something long and stop it. False where it ended by itself first, with the menu again."""
    terminal.press("Enter")
    until(lambda: "Type a message" in terminal.seen())
    terminal.type("Write a very long story about a heron.")
    terminal.press("Enter")
    until(lambda: "tokens/s · Escape stops" in terminal.seen())
    terminal.press("Escape")
    until(lambda: "Escape stops" not in terminal.seen())
    with suppress(AssertionError):  # what Escape does where nothing comes in any more may take a moment
        until(lambda: "· stopped ·" in terminal.seen() or "Past chats" in terminal.seen(), within_s=3)
    if "· stopped ·" in (seen := terminal.seen()):
        return True
    if "Past chats" not in seen:  # it ended between the key and the server
        terminal.press("Escape")
        until(lambda: "Past chats" in terminal.seen())
    return False


def test_sign_in_chat_stop_leave_come_back(server: Server, terminal: Terminal, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fairlead", "chat", "--url", server.url, "--home", str(tmp_path / "home")]
    terminal.run(*command)
    until(lambda: "Your name" in terminal.seen())
    terminal.type("tessa")
    terminal.press("Enter")
    until(lambda: "New chat" in terminal.seen())
    while not stopped_in_a_new_chat(terminal):  # its story was short, and ended before Escape was heard
        pass
    terminal.press("Escape")
    until(lambda: "Past chats" in terminal.seen())
    terminal.press("C-q")
    until(terminal.ended)

    terminal.run(*command, NO_COLOR="1")
    until(lambda: "Past chats" in terminal.seen())  # who it was is remembered
    terminal.press("Down")
    until(lambda: "\x1b[1;4mPast chats" in terminal.drawn())
    assert not COLOUR.search(terminal.drawn())
    terminal.press("Enter")
    until(lambda: re.search(r"\d chats", terminal.seen()) is not None)
    terminal.press("1", "Enter")
    until(lambda: "Write a very long story" in terminal.seen() and "smollm2" in terminal.seen())
    terminal.press("C-q")
    until(terminal.ended)


def test_resized_while_an_answer_comes_in_and_ten_thousand_lines_pasted(
    server: Server, terminal: Terminal, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    terminal.run(sys.executable, "-m", "fairlead", "chat", "--url", server.url, "--home", str(home), "--user", "paster")
    until(lambda: "New chat" in terminal.seen())
    terminal.press("Enter")
    until(lambda: "Type a message" in terminal.seen())
    terminal.type("Write a very long story about a heron.")
    terminal.press("Enter")
    until(lambda: "First token after" in terminal.seen())
    for width, height in ((40, 12), (200, 60), (80, 24)):
        terminal.tmux("resize-window", "-x", str(width), "-y", str(height))
        until(lambda wide="─" * (width - 2): wide in (seen := terminal.seen()) and "First token after" in seen)  # type: ignore[misc]

    text = "\n".join(f"line {number} of a long letter" for number in range(10_000))
    (tmp_path / "letter").write_text(text)
    terminal.tmux("load-buffer", str(tmp_path / "letter"))
    terminal.tmux("paste-buffer", "-p")
    until(lambda: "line 9999" in terminal.seen(), within_s=5)
    terminal.press("C-q")
    until(terminal.ended)
    assert Saved(home).draft(server.url, "paster", 1) == text


def test_a_server_started_from_the_screen_ends_with_the_window(
    terminal: Terminal, tmp_path: Path, starter_model: Path
) -> None:
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    (home / "models" / starter_model.name).symlink_to(starter_model)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (home / "fairlead.toml").write_text(f"[server]\nport = {port}\n")
    terminal.run(sys.executable, "-m", "fairlead", "chat", "--home", str(home))
    until(lambda: "Start a server here" in terminal.seen())
    terminal.press("Enter")
    until(lambda: "Your name" in terminal.seen())
    terminal.type("owner")
    terminal.press("Enter")
    until(lambda: "New chat" in terminal.seen())
    terminal.press("Enter")
    until(lambda: "Type a message" in terminal.seen())
    terminal.type("Half a thought")
    until(lambda: "Half a thought" in terminal.seen())
    program, server = processes_of(home)
    terminal.tmux("kill-pane")
    until(lambda: not program.is_running() and not server.is_running())
    assert Saved(home).draft(f"http://127.0.0.1:{port}", "owner", None) == "Half a thought"


def processes_of(home: Path) -> tuple[psutil.Process, psutil.Process]:
    """The program with this home, and the server that it started."""
    (server,) = (
        process
        for process in psutil.process_iter(["cmdline"])
        if {"serve", str(home)} <= set(process.info["cmdline"] or ())
    )
    program = server.parent()
    assert program is not None
    return program, server
