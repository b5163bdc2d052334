"""Loading, switching and unloading over HTTP, and what happens to a model whose worker dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.api.sse import events
from tests.served import CONTEXT, HELLO, Served, serving, settings_with_models, until


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A server of the test's own."""
    with serving(settings_with_models(tmp_path / "home")) as server:
        yield server


@pytest.fixture
def http(own: Served) -> Iterator[httpx.Client]:
    with own.http() as client:
        yield client


def state(http: httpx.Client, name: str) -> str:
    states: dict[str, str] = http.get("/health").json()["models"]
    return states[name]


def pids(served: Served, name: str) -> list[int]:
    return [model.engine.pid for model in served.services.registry.loaded() if model.name == name]


def pid(served: Served, name: str) -> int:
    (found,) = pids(served, name)
    return found


def test_load_switch_and_unload(http: httpx.Client) -> None:
    loaded = http.post("/load_model", json={"name": "other"}).json()
    assert (loaded["name"], loaded["state"], loaded["active"]) == ("other", "loaded", False)
    assert loaded["context_length"] == CONTEXT
    assert http.post("/set_model", json={"name": "other"}).json() == {"active": "other"}
    assert http.post("/infer", json={"prompt": "Hi"}).json()["text"] == "Another model."
    assert http.post("/infer", json={"prompt": "Hi", "model": "hello"}).json()["text"] == HELLO
    unloaded = http.post("/unload_model", json={"name": "other"}).json()
    assert unloaded["state"] == "downloaded"
    assert unloaded["memory"]["used_bytes"] == 0
    assert http.get("/models").json()["active"] is None
    refused = http.post("/infer", json={"prompt": "Hi"})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "model_not_ready"
    again = http.post("/unload_model", json={"name": "other"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")


def test_a_load_tells_of_its_progress(http: httpx.Client) -> None:
    with http.stream("POST", "/load_model", json={"name": "lingering", "stream": True}) as response:
        *progress, done = events(response.iter_lines())
    assert progress
    assert {event.name for event in progress} == {"progress"}
    assert all(event.data["phase"] == "loading" and event.data["total"] == 10 for event in progress)
    assert [event.data["bytes"] for event in progress] == sorted(event.data["bytes"] for event in progress)
    assert progress[0].data.keys() == {"phase", "bytes", "total", "eta_ms"}
    assert (done.name, done.data["state"]) == ("done", "loaded")


def test_two_requests_are_one_load(http: httpx.Client, own: Served) -> None:
    def load(_: int) -> int:
        with own.http() as client:
            return client.post("/load_model", json={"name": "lingering"}).status_code

    before = len(psutil.Process().children())
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(load, range(4))) == [200] * 4
    assert len(psutil.Process().children()) == before + 1


def test_another_context_than_that_of_the_load_is_a_conflict(http: httpx.Client) -> None:
    response = http.post("/load_model", json={"name": "hello", "context_length": 128})
    assert (response.status_code, response.json()["error"]["param"]) == (409, "context_length")
    assert http.post("/load_model", json={"name": "other", "context_length": 128}).json()["context_length"] == 128
    assert http.post("/load_model", json={"name": "other"}).json()["context_length"] == 128


@pytest.mark.parametrize(
    ("name", "status", "code", "left"),
    [
        ("heavy", 507, "insufficient_memory", "downloaded"),
        ("damaged", 422, "model_file_invalid", "failed"),
        ("crashing", 422, "model_file_invalid", "failed"),
        ("absent", 502, "download_failed", "failed"),
    ],
)
def test_loads_that_fail(http: httpx.Client, tmp_path: Path, name: str, status: int, code: str, left: str) -> None:
    response = http.post("/load_model", json={"name": name})
    error = response.json()["error"]
    if name == "crashing":
        assert response.status_code in (422, 503)
    else:
        assert (response.status_code, error["code"]) == (status, code)
    assert str(tmp_path) not in response.text
    assert "secret" not in response.text
    assert state(http, name) == left
    told = next(model for model in http.get("/models").json()["models"] if model["name"] == name)
    assert told["error"]
    assert str(tmp_path) not in told["error"]
    assert http.post("/infer", json={"prompt": "Hi"}).json()["text"] == HELLO
    assert http.get("/health").status_code == 200
    with http.stream("POST", "/load_model", json={"name": name, "stream": True}) as streamed:
        assert streamed.status_code == 200
        last = list(events(streamed.iter_lines()))[-1]
    assert (last.name, last.data["error"]["code"]) == ("error", error["code"])


def test_what_does_not_fit_is_refused_with_both_figures(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.service.capacity.available_bytes", lambda: 50 << 20)
    http.post("/load_model", json={"name": "hello", "pin": True})
    response = http.post("/set_model", json={"name": "other"})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (507, "insufficient_memory")
    assert error["details"]["available_bytes"] <= 50 << 20
    assert error["details"]["required_bytes"] > error["details"]["available_bytes"]
    assert error["details"]["largest_context_that_fits"] == 0
    assert error["details"]["pinned"] == ["hello"]
    assert http.post("/infer", json={"prompt": "Hi"}).json()["model"] == "hello"


def test_unloading_waits_for_running_answers(http: httpx.Client, own: Served) -> None:
    http.post("/load_model", json={"name": "slow"})
    body = {"prompt": "Go", "model": "slow", "max_tokens": 30, "ignore_eos": True}
    with http.stream("POST", "/infer_stream", json=body) as running:
        coming = events(running.iter_lines())
        next(coming)
        answers: list[httpx.Response] = []
        with own.http() as other, own.http() as third:
            unload = threading.Thread(target=lambda: answers.append(other.post("/unload_model", json={"name": "slow"})))
            unload.start()
            until(lambda: state(third, "slow") == "unloading")
            done = list(coming)[-1]
            unload.join(10)
    assert (done.name, done.data["finish_reason"]) == ("done", "length")
    assert answers[0].json()["state"] == "downloaded"


def test_unloading_by_force_cancels_them(http: httpx.Client, own: Served) -> None:
    http.post("/load_model", json={"name": "slow"})
    worker = pid(own, "slow")
    with http.stream("POST", "/infer_stream", json={"prompt": "Go", "model": "slow", "ignore_eos": True}) as running:
        coming = events(running.iter_lines())
        next(coming)
        with own.http() as other:
            forced = other.post("/unload_model", json={"name": "slow", "force": True})
        done = list(coming)[-1]
    assert (done.name, done.data["finish_reason"]) == ("done", "cancelled")
    assert forced.json()["state"] == "downloaded"
    assert not Path(f"/proc/{worker}").exists()


def test_unloading_ends_a_load(http: httpx.Client, own: Served) -> None:
    answers: list[httpx.Response] = []
    with own.http() as other:
        load = threading.Thread(target=lambda: answers.append(other.post("/load_model", json={"name": "lingering"})))
        load.start()
        until(lambda: state(http, "lingering") == "loading")
        assert http.post("/unload_model", json={"name": "lingering"}).json()["state"] == "downloaded"
        load.join(10)
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (409, "conflict")


def test_a_worker_that_dies_fails_its_own_requests_and_is_brought_back(http: httpx.Client, own: Served) -> None:
    http.post("/set_model", json={"name": "mortal"})
    whole = http.post("/infer", json={"prompt": "#", "raw": True})
    assert (whole.status_code, whole.json()["error"]["code"]) == (503, "engine_failed")
    until(lambda: http.get("/health").status_code == 503, within_s=1)
    health = http.get("/health")
    assert health.json()["status"] == "degraded"
    assert "mortal was ended by SIGKILL" in health.json()["reason"]
    assert http.post("/infer", json={"prompt": "Hi", "model": "hello"}).json()["text"] == HELLO
    assert http.post("/infer", json={"prompt": "Hi"}).json()["text"] == "I live"  # it waited for the new worker
    assert http.get("/health").status_code == 200


def test_one_that_dies_again_and_again_has_failed(
    http: httpx.Client, own: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead.service.supervision.RESTART_AFTER_S", (0.01, 0.02))
    http.post("/set_model", json={"name": "mortal"})
    for _ in range(3):
        assert http.post("/infer", json={"prompt": "#", "raw": True}).json()["error"]["code"] == "engine_failed"
    until(lambda: state(http, "mortal") == "failed")
    refused = http.post("/infer", json={"prompt": "Hi"})
    assert refused.status_code == 503
    assert "3 times in a row, the last was ended by SIGKILL" in refused.json()["error"]["message"]
    assert "mortal" in http.get("/health").json()["reason"]
    assert http.post("/load_model", json={"name": "mortal"}).json()["state"] == "loaded"
    assert http.get("/health").status_code == 200


def test_a_killed_worker_ends_its_streams_with_an_error(http: httpx.Client, own: Served) -> None:
    http.post("/load_model", json={"name": "slow"})
    for route, body in (
        ("/infer_stream", {"prompt": "Go"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Go"}], "stream": True}),
    ):
        with http.stream("POST", route, json={**body, "model": "slow", "ignore_eos": True}) as running:
            lines = running.iter_lines()
            next(lines)
            worker, began = pid(own, "slow"), time.monotonic()
            os.kill(worker, signal.SIGKILL)
            rest = [line for line in lines if line.startswith("data: {")]
            assert time.monotonic() - began < 1
        assert '"code":"engine_failed"' in rest[-1]
        until(lambda old=worker: pids(own, "slow") not in ([], [old]), within_s=5)  # type: ignore[misc]  # of the loop
        assert not Path(f"/proc/{worker}").exists(), "a zombie"


def test_a_worker_that_is_stopped_is_told_of_and_replaced(tmp_path: Path) -> None:
    with (
        serving(settings_with_models(tmp_path / "home", watchdog_s=2.0), "slow") as own,
        own.http() as http,
        http.stream("POST", "/infer_stream", json={"prompt": "Go", "ignore_eos": True}) as running,
    ):
        lines = running.iter_lines()
        next(lines)
        worker, began = pid(own, "slow"), time.monotonic()
        os.kill(worker, signal.SIGSTOP)
        with own.http() as other:
            until(lambda: other.get("/health").status_code == 503, within_s=2)
            assert "no step" in other.get("/health").json()["reason"]
            last = list(events(iter([*lines])))[-1]
            assert time.monotonic() - began < 2.0 + 1.5
            assert (last.name, last.data["error"]["code"]) == ("error", "engine_failed")
            until(lambda: pids(own, "slow") not in ([], [worker]), within_s=5)
            assert other.get("/health").status_code == 200
            assert not Path(f"/proc/{worker}").exists()


def test_a_request_has_its_model_loaded_and_says_how_long_to_keep_it(http: httpx.Client) -> None:
    body = {"prompt": "Hi", "model": "other", "keep_alive": 0}
    with http.stream("POST", "/infer_stream", json=body) as response:
        *_, done = events(response.iter_lines())
    assert (done.name, done.data["model"]) == ("done", "other")
    until(lambda: state(http, "other") == "downloaded", within_s=3)
    assert http.post("/infer", json={**body, "keep_alive": "5m"}).json()["text"] == "Another model."
    told = next(model for model in http.get("/models").json()["models"] if model["name"] == "other")
    assert (told["state"], told["keep_alive_s"]) == ("loaded", 300)
    assert http.get("/models").json()["active"] == "hello"


def test_who_goes_away_while_the_model_is_loaded_leaves_nothing(http: httpx.Client, own: Served) -> None:
    with own.http() as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post("/infer_stream", json={"prompt": "Hi", "model": "lingering"}, timeout=0.2)
    until(lambda: state(http, "lingering") == "loaded")
    assert own.services.generator._roster.empty.is_set()
    assert http.post("/unload_model", json={"name": "lingering"}).json()["state"] == "downloaded"
