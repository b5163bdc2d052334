"""A server that is killed at each of its writes: what it had acknowledged is there once and in order, and it goes on.

strace counts the system calls by which SQLite writes its files, and kills the server instead of the Nth. The next
server, started on what is left, is asked for everything that was acknowledged, and is killed at the N+1st.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
CALLS = "pwrite64,fdatasync,fsync,ftruncate"
EVERY = int(os.environ.get("FAIRLEAD_KILL_EVERY", "41"))
"""In the suite every 41st write; 1 tries them all, in some minutes."""


@pytest.fixture(scope="module", autouse=True)
def _strace() -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (on Debian: apt-get install strace)")
    tried = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"strace may not trace here: {tried.stderr.decode().strip()}")


@dataclass
class Said:
    """What the servers acknowledged."""

    chats: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    """By a chat's number: role and text of each message, in order."""
    asked: dict[int, str] = field(default_factory=dict)
    """By a chat's number: a question that was sent and perhaps not acknowledged, or an answer that did not end."""
    numbers: list[int] = field(default_factory=list)
    """Every chat number that was given out."""


class Killed(Exception):
    """The server is gone."""


class Server:
    """A server with fake models, killed at a write of its database where `at` says so."""

    def __init__(self, home: Path, port: int, at: int | None) -> None:
        database = home / "fairlead.db"
        command = [sys.executable, "-m", "tests.api.serve_fake", str(home), str(port), "1", "hello"]
        if at is not None:
            paths = [f"-P{database}{suffix}" for suffix in ("", "-wal", "-shm", "-journal")]
            inject = f"--inject={CALLS}:signal=SIGKILL:when={at}"
            trace = ["strace", "-f", "-o", str(home / "trace"), *paths, f"--trace={CALLS}", inject]
            command = [*trace, *command]
        self._log = (home / "log").open("w")
        self._process = subprocess.Popen(command, cwd=ROOT, stderr=self._log, start_new_session=True)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)

    def is_ready(self) -> bool:
        """Whether it answers with its model; False where it was killed before."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                return False
            try:
                if self.http.get("/health").json()["models"]["hello"] == "loaded":
                    return True
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(Path(self._log.name).read_text())

    def end(self) -> None:
        """End it, however it is."""
        self.http.close()
        try:
            self._signal(signal.SIGTERM)
            self._process.wait(10)
        finally:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._log.close()

    def _signal(self, number: int) -> None:
        """To the server and to strace, which would let go of it and leave it running."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def converse(http: httpx.Client, said: Said) -> None:
    """The script: two chats, questions and answers in turns, a rename, a chat that is deleted. Killed where it ends."""
    first, second = new_chat(http, said), new_chat(http, said)
    ask(http, said, first, "one")
    ask(http, said, second, "two")
    ask(http, said, first, "three")
    request(http, "PATCH", f"/chats/{second}", {"title": "renamed"})
    gone = new_chat(http, said)
    del said.chats[gone]
    request(http, "DELETE", f"/chats/{gone}")


def request(http: httpx.Client, method: str, path: str, body: object = None) -> httpx.Response:
    try:
        response = http.request(method, path, json=body)
    except httpx.TransportError:
        raise Killed from None
    assert response.status_code < 400, response.text
    return response


def new_chat(http: httpx.Client, said: Said) -> int:
    number = int(request(http, "POST", "/chats", {}).json()["chat_id"])
    said.numbers.append(number)
    said.chats[number] = []
    return number


def ask(http: httpx.Client, said: Said, chat: int, question: str) -> None:
    said.asked[chat] = question
    answer = ""
    try:
        with http.stream("POST", f"/chats/{chat}/messages", json={"prompt": question}) as response:
            if response.status_code >= 400:
                raise AssertionError(response.read())
            said.chats[chat].append(("user", question))  # it is stored before the stream begins
            for line in response.iter_lines():
                if line.startswith("data:"):
                    told = json.loads(line.removeprefix("data:"))
                    answer += told.get("text", "")
                if line.startswith("event: error"):
                    raise Killed
    except httpx.TransportError:
        raise Killed from None
    said.chats[chat].append(("assistant", answer))
    del said.asked[chat]


def check(http: httpx.Client, said: Said) -> None:
    """Everything acknowledged is there, once and in order; what was not may be, as the last."""
    assert len(set(said.numbers)) == len(said.numbers), "a number was given twice"
    for number, messages in said.chats.items():
        got = http.get(f"/chats/{number}/messages")
        assert got.status_code == 200, got.text
        found = [(one["role"], one["content"]) for one in got.json()["messages"]]
        assert found[: len(messages)] == messages
        rest = found[len(messages) :]
        assert len(rest) <= 2
        if rest:
            assert number in said.asked, "nobody asked for more"
        states = [one["state"] for one in got.json()["messages"]]
        assert "generating" not in states
        ids = [one["message_id"] for one in got.json()["messages"]]
        assert ids == sorted(set(ids))
        said.chats[number], said.asked = found, {n: q for n, q in said.asked.items() if n != number}


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def integrity(home: Path) -> str:
    with closing(sqlite3.connect(home / "fairlead.db")) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


@pytest.mark.timeout(900)
def test_a_server_that_is_killed_at_any_write_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    home, said, at, kills = tmp_path / "home", Said(), 1, 0
    home.mkdir()
    first = Server(home, unused_port(), None)  # makes the tables, which is one transaction of its own
    assert first.is_ready()
    first.end()
    while True:
        server = Server(home, unused_port(), at)
        try:
            if server.is_ready():
                check(server.http, said)
                converse(server.http, said)
                break  # it got to the end: there is no Nth write any more
        except Killed:
            pass
        finally:
            server.end()
        kills += 1
        assert integrity(home) == "ok", at
        at += EVERY
    assert kills > 3
    last = Server(home, unused_port(), None)
    try:
        assert last.is_ready()
        check(last.http, said)
    finally:
        last.end()
