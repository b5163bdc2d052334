"""Adding, finding, estimating, fetching, checking and removing models over HTTP, against a hub on loopback."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.sse import events
from tests.loopback_hub import Hub
from tests.loopback_hub import serving as serving_hub
from tests.served import HELLO, Served, serving, settings_with_models, until, write_model


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    write_model(tmp_path / "on_hub.gguf")
    content = (tmp_path / "on_hub.gguf").read_bytes()
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving_hub(Hub(content=content, sha256=hashlib.sha256(content).hexdigest())) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def own(hub: Hub, tmp_path: Path) -> Iterator[Served]:
    with serving(settings_with_models(tmp_path / "home")) as server:
        yield server


@pytest.fixture
def http(own: Served) -> Iterator[httpx.Client]:
    with own.http() as client:
        yield client


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server for the tests that leave its models as they are."""
    with serving(settings_with_models(tmp_path_factory.mktemp("standing"))) as server, server.http() as client:
        yield client


ADD = {"hub": "owner/repo", "file": "some/tiny.gguf", "name": "hello2"}


def model(http: httpx.Client, name: str) -> dict[str, Any] | None:
    found = [model for model in http.get("/models").json()["models"] if model["name"] == name]
    return found[0] if found else None


def test_a_model_is_added_estimated_fetched_checked_and_removed(http: httpx.Client, tmp_path: Path) -> None:
    added = http.post("/models", json=ADD)
    assert (added.status_code, added.json()["state"], added.json()["source"]) == (201, "available", "hub owner/repo")
    estimate = http.post("/models/estimate", json={"name": "hello2", "context_length": 128}).json()
    assert estimate["fits"] is True
    assert estimate["context_length"] == 128
    parts = sum(estimate[part] for part in ("weight_bytes", "kv_bytes", "work_bytes", "margin_bytes"))
    assert estimate["required_bytes"] == parts <= estimate["available_bytes"]
    assert estimate["largest_context_that_fits"] > 0
    pulled = http.post("/models/pull", json={"name": "hello2"}).json()
    assert pulled["state"] == "downloaded"
    disk = http.get("/models").json()["disk"]
    assert disk["models_bytes"] == pulled["size_bytes"]
    checked = http.post("/models/verify", json={"name": "hello2"}).json()
    file = tmp_path / "home" / "models" / "hello2.gguf"
    assert checked == {"name": "hello2", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    removed = http.delete("/models/hello2")
    assert (removed.status_code, removed.json()["freed_bytes"]) == (200, disk["models_bytes"])
    assert not file.exists()
    assert model(http, "hello2") is None
    assert http.post("/models/estimate", json={"name": "hello2"}).json()["error"]["param"] == "name"


def test_added_models_outlive_the_server(hub: Hub, tmp_path: Path) -> None:
    settings = settings_with_models(tmp_path / "home")
    with serving(settings) as first, first.http() as http:
        http.post("/models", json=ADD)
    with serving(replace(settings, port=0)) as second, second.http() as http:
        assert model(http, "hello2") is not None


def test_a_search_finds_models_by_words(standing: httpx.Client) -> None:
    found = standing.get("/models", params={"q": "8b llama"}).json()["models"]
    assert [model["name"] for model in found] == ["llama-3-8b", "llama-3.1-8b"]


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"hub": "../etc"}, 400, "hub"),
        ({"file": "../../x.gguf"}, 400, "file"),
        ({"file": "/etc/x.gguf"}, 400, "file"),
        ({"file": "x.bin"}, 400, "file"),
        ({"name": "a/b"}, 400, "name"),
        ({"revision": "../x"}, 400, "revision"),
        ({"path": "/etc/passwd"}, 400, "path"),
        ({"name": "HELLO"}, 409, "name"),
    ],
)
def test_what_cannot_be_added(standing: httpx.Client, change: dict[str, str], status: int, param: str) -> None:
    refused = standing.post("/models", json={**ADD, **change})
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param)


def test_what_is_loaded_is_not_removed(standing: httpx.Client) -> None:
    refused = standing.delete("/models/hello")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert standing.delete("/models/nobody").status_code == 404
    assert standing.post("/infer", json={"prompt": "Hi"}).json()["text"] == HELLO


def test_a_removed_file_of_somebodys_own_stays(http: httpx.Client, tmp_path: Path) -> None:
    assert http.delete("/models/other").json()["freed_bytes"] == 0
    assert (tmp_path / "home" / "other.gguf").exists()
    assert http.post("/load_model", json={"name": "other"}).status_code == 200


def test_a_cut_download_goes_on_later_and_tells_of_its_progress(http: httpx.Client, hub: Hub) -> None:
    http.post("/models", json=ADD)
    hub.cuts = [1000, 0, 0, 0, 0]
    failed = http.post("/models/pull", json={"name": "hello2"})
    assert (failed.status_code, failed.json()["error"]["code"]) == (502, "download_failed")
    assert http.get("/models").json()["disk"]["partial_bytes"] == 1000
    hub.requests.clear()
    with http.stream("POST", "/models/pull", json={"name": "hello2", "stream": True}) as response:
        *progress, done = events(response.iter_lines())
    assert hub.downloads() == ["bytes=1000-"]
    assert progress[0].data["phase"] == "downloading"
    assert progress[0].data["total"] == len(hub.content)
    assert (done.name, done.data["state"]) == ("done", "downloaded")


def test_what_came_corrupt_is_not_there(http: httpx.Client, hub: Hub) -> None:
    http.post("/models", json=ADD)
    hub.content = hub.content[:-1] + b"x"
    assert "thrown away" in http.post("/load_model", json={"name": "hello2"}).json()["error"]["message"]
    told = model(http, "hello2")
    assert told is not None
    assert told["state"] == "failed"
    refused = http.post("/models/verify", json={"name": "hello2"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")


def test_several_are_fetched_at_once_each_with_its_progress(http: httpx.Client, own: Served, hub: Hub) -> None:
    names = ["one", "two", "three"]
    for name in names:
        http.post("/models", json={**ADD, "name": name})
    hub.hold.clear()
    ends: list[int] = []

    def pull(name: str) -> None:
        with own.http() as client:
            ends.append(client.post("/models/pull", json={"name": name}).status_code)

    threads = [threading.Thread(target=pull, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    try:
        until(lambda: all((model(http, name) or {}).get("progress") for name in names))
        told = model(http, "two")
        assert told is not None
        assert told["state"] == "downloading"
        assert told["progress"]["total"] == len(hub.content)
        assert http.post("/unload_model", json={"name": "two"}).json()["state"] == "available"
    finally:
        hub.hold.set()
        for thread in threads:
            thread.join(20)
    assert sorted(ends) == [200, 200, 409]


def test_a_model_of_which_nothing_can_be_known_says_so(http: httpx.Client, hub: Hub) -> None:
    hub.status = 500
    http.post("/models", json=ADD)
    refused = http.post("/models/estimate", json={"name": "hello2"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "download_failed")
    assert "status 500" in refused.json()["error"]["message"]


@pytest.mark.parametrize("keep_alive", ["5 minutes", "-2", -2, "", "1h5"])
def test_a_time_that_is_none_is_refused(standing: httpx.Client, keep_alive: object) -> None:
    refused = standing.post("/load_model", json={"name": "hello", "keep_alive": keep_alive})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "keep_alive")


@pytest.mark.parametrize(
    ("keep_alive", "seconds"), [("1h30m", 5400), (90, 90), ("0", 0), (-1, None), ("forever", None)]
)
def test_times_as_people_write_them(standing: httpx.Client, keep_alive: object, seconds: float | None) -> None:
    told = standing.post("/load_model", json={"name": "other", "keep_alive": keep_alive}).json()
    assert told["keep_alive_s"] == seconds
