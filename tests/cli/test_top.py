from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import httpx
import pytest
from rich.console import Console

from fairlead.cli.top_view import Snapshot, picture
from fairlead.client import Health
from fairlead.model_info import Memory
from fairlead.queue import ModelQueue, Pages, Queue, Rates, Steps, Tokens, UserLoad
from tests.cli.conftest import Fairlead
from tests.served import Served

BUSY = ModelQueue(
    name="hello",
    running=4,
    waiting=2,
    users=[UserLoad("bob", 1, 0, 500, 60), UserLoad("anna\x1b[2J", 3, 2, 1234, 100)],
    tokens_per_second=Rates(5210.0, 183.2),
    tokens=Tokens(prompt=400, cached=600, completion=160, drafted=10, accepted=8),
    pages=Pages(held=16, cached=8, free=8, total=32),
    steps=Steps(count=50, mean_ms=20.0, last_ms=22.4, budget_ms=50.0, over_budget=1),
    preemptions=3,
)
LATER = ModelQueue(name="hello", users=[UserLoad("bob", 1, 0, 500, 80), UserLoad("anna\x1b[2J", 3, 2, 1234, 10)])


def drawn(queue: ModelQueue | None, before: ModelQueue | None = None, reason: str | None = None) -> str:
    """The picture as text; `before` was two seconds earlier."""
    health = Health("ok", "1.2", 7500.0, "hello", reason=reason)
    memory = {"hello": Memory(estimated_bytes=700_000_000, measured_bytes=650_000_000, used_bytes=500_000_000)}
    earlier = Snapshot(10.0, health, Queue("me", [before]), memory) if before else None
    now = Snapshot(12.0, health, Queue("me", [queue] if queue else []), memory)
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 - closed with it
    with console.file:
        console.print(picture(now, earlier, "http://here"))
        return console.export_text()


def test_the_picture() -> None:
    text = drawn(BUSY)
    for told in (
        "Fairlead 1.2 at http://here, up 2 h 5 min",
        "hello, active",
        "4 running, 2 waiting, 3 preemptions",
        "183 tokens/s answered; reads up to 5,210 tokens/s",
        "500.0 MB used, 650.0 MB at most, 700.0 MB estimated",
        "████████████████▒▒▒▒▒▒▒▒░░░░░░░░ 16 held, 8 cached, 8 free",
        "60% of 1,000 prompt tokens found",
        "22.4 ms of 50.0 ms, mean 20.0 ms, 2% over budget",
        "80% of 10 guesses right",
    ):
        assert told in text
    rows = [line.split() for line in text.splitlines()[-2:]]
    assert rows == [["anna␛[2J", "3", "2", "-", "1,234", "100"], ["bob", "1", "0", "-", "500", "60"]]


def test_rates_of_users_are_since_the_picture_before() -> None:
    anna, bob = (line.split() for line in drawn(LATER, BUSY).splitlines()[-2:])
    assert bob[3] == "10"
    assert anna[3] == "-"  # the model was loaded anew


def test_nothing_known_and_nothing_loaded() -> None:
    assert "- of -, mean -, - over budget" in drawn(ModelQueue(name="hello"))
    text = drawn(None, reason="The engine of hello has work and made no step for 31 s.")
    assert "No model is loaded." in text
    assert "made no step" in text


def test_one_picture_of_a_server(fairlead: Fairlead, served: Served) -> None:
    done = fairlead("top", "--url", served.url)  # there is no terminal
    assert done.exit_code == 0
    assert done.stdout.startswith("Fairlead ")
    assert "hello, active" in done.stdout
    told = json.loads(fairlead("top", "--once", "--json", "--url", served.url).stdout)
    assert [model["name"] for model in told["models"]] == ["hello"]
    assert told["models"][0]["pages"]["total"] > 0
    assert told["models"][0]["memory"]["used_bytes"] > 0


def test_without_a_server_it_says_so(fairlead: Fairlead) -> None:
    for arguments in (["top"], ["top", "--json"], ["top", "--once"]):
        done = fairlead(*arguments)
        assert done.exit_code == 1
        assert done.stderr.startswith("Error: No server answers at http://")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("ending", ["q", signal.SIGINT, signal.SIGTERM])
def test_it_goes_on_until_told(served: Served, terminal: tuple[int, int], ending: str | signal.Signals) -> None:
    ours, theirs = terminal
    was = termios.tcgetattr(theirs)
    command = [sys.executable, "-m", "fairlead", "top", "--url", served.url]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    shown = b""
    deadline = time.monotonic() + 20
    while shown.count(b"hello, active") < 2:  # it is drawn anew
        assert time.monotonic() < deadline, shown[-2000:]
        httpx.post(f"{served.url}/infer", json={"prompt": "Hi"}, trust_env=False)
        shown += os.read(ours, 65536)
    if isinstance(ending, str):
        os.write(ours, ending.encode())
    else:
        process.send_signal(ending)
    assert process.wait(10) == 0
    assert termios.tcgetattr(theirs) == was
