"""A real server process with real workers: the starter model beside a tiny one of another architecture."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.tiny_models import make

STARTER, TINY = "smollm2-135m", "tiny-qwen"


@dataclass(frozen=True)
class Server:
    """A running `fairlead serve`."""

    url: str
    process: subprocess.Popen[str]

    def http(self) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def workers(self) -> list[int]:
        """Process ids of its engine workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children]

    def load(self, name: str) -> None:
        """Have a model loaded."""
        with self.http() as client:
            client.post("/load_model", json={"name": name}).raise_for_status()


def until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Wait until a call of `condition` is true; AssertionError where it does not come to be."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it was gone before the file was opened, or before it was read
        return False


def start(home: Path, starter_model: Path, port: int | None = None, **environment: str) -> Server:
    """`fairlead serve` with the starter model as its first, on a free port or this one.

    `environment` is added to this process's own.
    """
    (home / "models").mkdir(parents=True, exist_ok=True)
    link = home / "models" / starter_model.name
    if not link.exists():
        link.symlink_to(starter_model)
    make(home / "tiny.gguf", "qwen2")
    (home / "fairlead.toml").write_text(
        f'[models.{TINY}]\nfile = "tiny.gguf"\nsources = [{{ path = "{home / "tiny.gguf"}" }}]\n'
    )
    if port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    command = [sys.executable, "-m", "fairlead", "serve", "--home", str(home), "--port", str(port), "--model", STARTER]
    with (home / "serve.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, text=True, env={**os.environ, **environment})
    server = Server(f"http://127.0.0.1:{port}", process)

    def ready() -> bool:
        assert process.poll() is None, (home / "serve.log").read_text()
        try:
            health = httpx.get(server.url + "/health", trust_env=False).json()
        except httpx.TransportError:
            return False
        return bool(health["models"][STARTER] == "loaded")

    until(ready, within_s=90)
    return server


def stop(server: Server) -> None:
    """SIGTERM, and see that it ends as it should."""
    workers = server.workers()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert not any(alive(worker) for worker in workers)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, starter_model: Path, embedding_model: Path) -> Iterator[Server]:
    """One server for all tests that leave it as they found it; it embeds, too."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    (home / "models" / embedding_model.parent.name).symlink_to(embedding_model.parent)
    running = start(home, starter_model)
    yield running
    stop(running)


@pytest.fixture
def own_server(tmp_path: Path, starter_model: Path) -> Iterator[Server]:
    """A server for one test, which may end it."""
    running = start(tmp_path / "home", starter_model)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait()
