"""The worker process on its own: what it says, and that it never outlives its server."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from fairlead.engine.framing import FrameReader, decode_events, encode
from fairlead.engine.messages import (
    Cancel,
    Event,
    Finished,
    Generate,
    Load,
    Loaded,
    LoadFailed,
    Progress,
    Sampling,
    Scheduling,
    Stats,
    Token,
    Waiting,
)
from tests.fakes import FAKE_RUNNER, Options

LOAD = Load(path="fake", context_length=512, kv_tokens=1024, max_batch_tokens=64)


class Spawned:
    """A worker process and the server's end of its connection."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fairlead.engine.worker", str(theirs.fileno()), "--runner", FAKE_RUNNER],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self.socket.settimeout(10)
        self._reader = FrameReader()
        self.frames: list[list[Event]] = []

    def send(self, *commands: Load | Generate | Cancel) -> None:
        self.socket.sendall(b"".join(encode(command) for command in commands))

    def hear_until(self, kind: type[Event]) -> list[Event]:
        """All events up to the frame that holds one of this kind."""
        heard: list[Event] = []
        while not any(isinstance(event, kind) for event in heard):
            data = self.socket.recv(1 << 16)
            assert data, f"the worker ended after {heard}"
            for payload in self._reader.feed(data):
                self.frames.append(decode_events(payload))
                heard += self.frames[-1]
        return heard


@pytest.fixture
def spawn(fake_environment: Callable[[Options], None]) -> Iterator[Callable[[Options], Spawned]]:
    spawned: list[Spawned] = []

    def start(options: Options) -> Spawned:
        fake_environment(options)
        spawned.append(Spawned())
        return spawned[-1]

    yield start
    for worker in spawned:
        worker.socket.close()
        worker.process.kill()
        worker.process.wait()


def generate(request_id: int, max_tokens: int = 500) -> Generate:
    return Generate(id=request_id, tokens=[1, 2], sampling=Sampling(), max_tokens=max_tokens)


def test_it_tells_of_the_load_and_then_of_being_idle(spawn: Callable[[Options], Spawned]) -> None:
    worker = spawn(Options(load_s=0.6))
    worker.send(LOAD)
    heard = worker.hear_until(Stats)
    told = [event for event in heard if isinstance(event, Progress)]
    assert 2 <= len(told) <= 5, "ten steps of 60 ms, told of at most four times a second and at the end"
    assert told[-1] == Progress(10, 10)
    assert isinstance(heard[-2], Loaded)
    assert isinstance(heard[-1], Stats)


def test_the_events_of_a_step_come_in_one_frame(spawn: Callable[[Options], Spawned]) -> None:
    worker = spawn(Options(step_s=0.01))
    worker.send(LOAD)
    worker.hear_until(Stats)
    worker.frames.clear()
    worker.send(generate(1, max_tokens=50), generate(2, max_tokens=50))
    while sum(isinstance(event, Finished) for frame in worker.frames for event in frame) < 2:
        worker.hear_until(Finished)
    assert len(worker.frames) <= 52
    assert any(len(frame) >= 2 for frame in worker.frames)
    stats = [event for frame in worker.frames for event in frame if isinstance(event, Stats)]
    assert len(stats) <= 5
    assert stats[-1].running == 0, "idle is told at once"


def test_who_has_to_wait_is_told_at_once(spawn: Callable[[Options], Spawned]) -> None:
    worker = spawn(Options(step_s=0.03))
    worker.send(Load(path="fake", context_length=512, kv_tokens=1024, scheduling=Scheduling(max_running=1)))
    worker.hear_until(Stats)
    worker.send(generate(1, max_tokens=50))
    worker.hear_until(Token)
    worker.send(generate(2, max_tokens=2))
    sent = time.monotonic()
    waiting: list[Waiting] = []
    while not waiting:
        waiting = [told for event in worker.hear_until(Stats) if isinstance(event, Stats) for told in event.queue]
    assert time.monotonic() - sent < 0.2
    assert [(told.id, told.position) for told in waiting] == [(2, 0)]


@pytest.mark.parametrize("busy_with", ["nothing", "a load", "a step", "answers"])
def test_it_ends_with_its_server(spawn: Callable[[Options], Spawned], busy_with: str) -> None:
    worker = spawn(Options(load_s=60 if busy_with == "a load" else 0, step_s=60 if busy_with == "a step" else 0.001))
    worker.send(LOAD)
    worker.hear_until(Progress if busy_with == "a load" else Stats)
    if busy_with in {"a step", "answers"}:
        worker.send(*(generate(request_id) for request_id in range(20)))
        time.sleep(0.05)
    worker.socket.close()
    closed = time.monotonic()
    assert worker.process.wait(timeout=2) == 0
    assert time.monotonic() - closed < 2


def test_ctrl_c_is_for_the_server_to_hear(spawn: Callable[[Options], Spawned]) -> None:
    worker = spawn(Options())
    worker.send(LOAD)
    worker.hear_until(Stats)
    worker.process.send_signal(signal.SIGINT)
    worker.send(generate(1, max_tokens=2))
    assert any(isinstance(event, Finished) for event in worker.hear_until(Finished))


def test_it_ends_after_a_failed_load(spawn: Callable[[Options], Spawned]) -> None:
    worker = spawn(Options(load_fails="does not fit"))
    worker.send(LOAD)
    (failed,) = [event for event in worker.hear_until(LoadFailed) if isinstance(event, LoadFailed)]
    assert failed.code == "insufficient_memory"
    assert worker.process.wait(timeout=2) == 0


def test_it_does_nothing_before_a_load(spawn: Callable[[Options], Spawned]) -> None:
    worker = spawn(Options())
    worker.send(generate(1))
    assert worker.process.wait(timeout=10) == 1
