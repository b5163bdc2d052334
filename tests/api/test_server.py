"""The server as a process: its address, its signals, its end and its log."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from fairlead.api import server
from fairlead.config import Settings
from fairlead.errors import ConfigError, ModelNotFound
from tests.api.sse import Event, events
from tests.served import HELLO, Served, until

ROOT = Path(__file__).parents[2]


class Process:
    """A server process and what it has written to its log."""

    def __init__(self, home: Path, drain_s: float, model: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "tests.api.serve_fake", str(home), str(port), str(drain_s), model]
        self._popen = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{port}"
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.workers: list[psutil.Process] = []

    def _read(self) -> None:
        assert self._popen.stderr is not None
        self.log.extend(self._popen.stderr)

    def wait_until_loaded(self, model: str) -> None:
        with self.http() as http:

            def is_loaded() -> bool:
                assert self._popen.poll() is None, self.log
                with contextlib.suppress(httpx.ConnectError):
                    return bool(http.get("/health").json()["models"][model] == "loaded")
                return False

            until(is_loaded)
        self.workers = psutil.Process(self._popen.pid).children()

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def signal(self) -> None:
        self._popen.send_signal(signal.SIGTERM)

    def end(self, within_s: float = 10) -> int:
        """The exit status."""
        try:
            return self._popen.wait(within_s)
        finally:
            self._popen.kill()
            self._popen.wait()
            self._reader.join()
            assert self._popen.stderr is not None
            self._popen.stderr.close()


@contextlib.contextmanager
def process(home: Path, *, drain_s: float = 10, model: str = "slow") -> Iterator[Process]:
    served = Process(home, drain_s, model)
    try:
        served.wait_until_loaded(model)
        yield served
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            served.end(0)


class Stream:
    """An answer that is streamed in a thread."""

    def __init__(self, served: Process, **body: object) -> None:
        self.events: list[Event] = []
        self._served = served
        self._body = {"prompt": "Go", **body}
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        until(lambda: bool(self.events))

    def _run(self) -> None:
        with self._served.http() as http, http.stream("POST", "/infer_stream", json=self._body) as response:
            for event in events(response.iter_lines()):
                self.events.append(event)

    def last(self) -> Event:
        self._thread.join(10)
        return self.events[-1]


def test_a_drain_lets_answers_finish(tmp_path: Path) -> None:
    with process(tmp_path) as served, served.http() as http:
        http.get("/health")  # a connection that is open when the drain begins
        stream = Stream(served, max_tokens=50, ignore_eos=True)
        served.signal()
        until(lambda: http.get("/health").status_code == 503)
        refused = http.post("/infer", json={"prompt": "Hi"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_draining")
        assert refused.headers["Retry-After"]
        assert http.post("/load_model", json={"name": "hello"}).json()["error"]["code"] == "server_draining"
        last = stream.last()
        assert (last.name, last.data["finish_reason"]) == ("done", "length")
        assert served.end() == 0
        assert not any(worker.is_running() for worker in served.workers)


def test_a_drain_tells_those_it_cannot_wait_for(tmp_path: Path) -> None:
    with process(tmp_path, drain_s=0.3) as served:
        stream = Stream(served, ignore_eos=True)
        served.signal()
        last = stream.last()
        assert (last.name, last.data["error"]["code"]) == ("error", "server_draining")
        assert served.end() == 0
        assert not any(worker.is_running() for worker in served.workers)


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with process(tmp_path, drain_s=60) as served:
        stream = Stream(served, ignore_eos=True)
        served.signal()
        time.sleep(0.2)
        began = time.monotonic()
        served.signal()
        assert served.end() == 0
        assert time.monotonic() - began < 2
        assert not any(worker.is_running() for worker in served.workers)
        assert stream.events


def test_an_idle_server_ends_soon(tmp_path: Path) -> None:
    with process(tmp_path, model="hello") as served:
        began = time.monotonic()
        served.signal()
        assert served.end() == 0
        assert time.monotonic() - began < 3


def test_workers_end_when_the_server_is_killed(tmp_path: Path) -> None:
    with process(tmp_path, model="hello") as served:
        with contextlib.suppress(subprocess.TimeoutExpired):
            served.end(0)
        until(lambda: not any(worker.is_running() for worker in served.workers), within_s=2)


def test_the_log_is_lines_of_json_without_prompts(tmp_path: Path) -> None:
    with process(tmp_path, model="hello") as served:
        with served.http() as http:
            headers = {"X-Request-Id": "abc-1"}
            http.post("/infer", json={"prompt": "a secret"}, headers=headers)
            http.post("/infer", json={"prompt": "a secret", "temperature": 9})
        served.signal()
        assert served.end() == 0
    lines = [json.loads(line) for line in served.log]
    line = next(line for line in lines if line.get("id") == "abc-1")
    assert line["model"] == "hello"
    assert (line["method"], line["route"], line["status"]) == ("POST", "/infer", 200)
    assert line["duration_ms"] > 0
    assert "secret" not in "".join(served.log)
    assert HELLO not in "".join(served.log)


def test_a_port_that_is_taken_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(home=tmp_path, port=taken.getsockname()[1], default_model=None)
        with pytest.raises(ConfigError, match="--port"):
            server.run(settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_addresses_than_loopback_are_refused_without_a_key(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="fairlead keys add NAME"):
        server.run(Settings(home=tmp_path, host=host, port=0, default_model=None))


def test_a_second_server_on_the_same_data_is_refused(served: Served) -> None:
    home = served.services.store.database.file
    assert home is not None
    with pytest.raises(ConfigError, match="Another server"):
        server.run(Settings(home=home.parent, port=0, default_model=None))


def test_a_host_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no address"):
        server.run(Settings(home=tmp_path, host="a b", port=0, default_model=None))


def test_a_model_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        server.run(Settings(home=tmp_path, port=0), "nobody")
    with pytest.raises(ModelNotFound):
        server.run(Settings(home=tmp_path, port=0), str(tmp_path / "nothing.gguf"))
