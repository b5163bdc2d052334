"""What must hold when things end: clients, workers, the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.e2e.conftest import STARTER, Server, alive, stop, until

LONG = {"prompt": "Tell me a story.", "max_tokens": 4000, "min_tokens": 4000, "temperature": 0}


def metric(server: Server, name: str) -> float:
    """The sum of a metric over its labels."""
    lines = httpx.get(server.url + "/metrics", trust_env=False).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name) and not line.startswith("#"))


def running(server: Server) -> float:
    """Requests that the engines compute or hold back."""
    return metric(server, "fairlead_generations_running") + metric(server, "fairlead_generations_waiting")


def test_a_reader_who_leaves_stops_the_answer(server: Server) -> None:
    with server.http() as http, http.stream("POST", "/infer_stream", json=LONG) as answer:
        pieces = answer.iter_text()  # kept: the stream is closed when this is collected
        next(pieces)
        until(lambda: running(server) == 1)
    until(lambda: running(server) == 0, within_s=3)


def test_cancel_ends_a_stream_with_its_reason(server: Server) -> None:
    with server.http() as http, http.stream("POST", "/infer_stream", json=LONG) as answer:
        lines = answer.iter_lines()
        next(lines)
        request_id = answer.headers["X-Request-Id"]
        assert http.post("/cancel", json={"id": request_id}).status_code == 200
        rest = "\n".join(lines)
    assert "event: done" in rest
    assert '"finish_reason":"cancelled"' in rest


def test_a_killed_worker_fails_its_streams_and_nothing_else(own_server: Server) -> None:
    (worker,) = own_server.workers()
    with own_server.http() as http:
        with http.stream("POST", "/infer_stream", json=LONG) as answer:
            lines = answer.iter_lines()
            next(lines)
            os.kill(worker, signal.SIGKILL)
            killed = time.monotonic()
            rest = "\n".join(lines)
        assert time.monotonic() - killed < 1
        assert "event: error" in rest
        assert "engine_failed" in rest
        until(lambda: not alive(worker))
        until(lambda: http.get("/health").status_code == 503, within_s=2)
        assert http.post("/load_model", json={"name": STARTER}).json()["state"] == "loaded"
        assert http.get("/health").json()["status"] == "ok"
        assert http.post("/infer", json={"prompt": "Hi", "max_tokens": 4}).status_code == 200
    stop(own_server)


def test_workers_do_not_outlive_a_killed_server(own_server: Server) -> None:
    (worker,) = own_server.workers()
    own_server.process.kill()
    own_server.process.wait()
    until(lambda: not alive(worker), within_s=2)


def test_sigterm_lets_answers_finish(own_server: Server) -> None:
    workers = own_server.workers()
    body = {**LONG, "max_tokens": 60, "min_tokens": 60}
    with own_server.http() as http, http.stream("POST", "/infer_stream", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        own_server.process.send_signal(signal.SIGTERM)
        rest = "\n".join(lines)
    assert '"finish_reason":"length"' in rest
    assert own_server.process.wait(10) == 0
    assert not any(alive(worker) for worker in workers)


def test_a_taken_port_is_refused_in_a_sentence(server: Server, tmp_path: Path, starter_model: Path) -> None:
    port = server.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "fairlead", "serve", "--home", str(tmp_path)]
    command += ["--port", port, "--model", str(starter_model)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert port in done.stderr
    assert "Traceback" not in done.stderr
