"""Summaries over HTTP: real workers with a model that says what its name says, and the starter model itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead.config import Settings
from fairlead.model_entry import FileSource, ModelEntry
from tests.api.sse import named
from tests.api.test_bad_input import check
from tests.served import ENCODER, Served, serving, settings_with_models, until

SENTENCE = "A rope holds a ship in the harbour, and a fairlead guides the rope. "
TEXT = "\n".join(SENTENCE * 3 for _ in range(20))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("summaries")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Served]:
    with serving(settings_with_models(home, context_length=1024, kv_tokens=8192)) as running:
        yield running


@pytest.fixture
def http(server: Served) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


def test_a_long_text_is_read_whole_in_parts_and_rounds(http: httpx.Client) -> None:
    answer = http.post("/summarize", json={"text": TEXT, "max_words": 40}).raise_for_status().json()
    assert answer["share_read"] == 1.0
    assert answer["parts"] > 3
    assert answer["rounds"] >= 2
    assert answer["words"] == len(answer["summary"].split()) <= 40
    assert answer["usage"]["prompt_tokens"] > len(TEXT) / 4  # merges of the tiny tokenizer are few
    assert answer["usage"]["cached_tokens"] > 0  # the instruction, of all parts but the first


def test_a_text_that_is_short_enough_is_its_own_summary(http: httpx.Client) -> None:
    answer = http.post("/summarize", json={"text": " A rope. "}).raise_for_status().json()
    assert (answer["summary"], answer["rounds"], answer["share_read"]) == ("A rope.", 0, 1.0)
    assert answer["usage"]["prompt_tokens"] == 0


def test_a_share_is_told_as_it_was_read(http: httpx.Client) -> None:
    answer = http.post("/summarize", json={"text": TEXT, "share": 0.25, "max_words": 20}).raise_for_status().json()
    assert 0.1 < answer["share_read"] < 0.4


def test_progress_is_told_and_the_last_round_streamed(http: httpx.Client) -> None:
    with http.stream("POST", "/summarize", json={"text": TEXT, "max_words": 40, "stream": True}) as response:
        told = list(named(response.iter_lines()))
    name, end = told[-1]
    assert name == "done"
    progress = [data for name, data in told if name == "progress"]
    done = [data["done"] for data in progress if data["phase"] == "parts"]
    assert (done, done[0], done[-1]) == (sorted(done), 0, end["parts"])
    assert progress[-1]["phase"] == "writing"
    said = "".join(data["text"] for name, data in told if name == "token")
    assert said.strip() == end["summary"]


@pytest.mark.parametrize("by_id", [True, False])
def test_ended_half_way_it_leaves_the_engine_free(server: Served, http: httpx.Client, by_id: bool) -> None:
    http.post("/load_model", json={"name": "slow"}).raise_for_status()
    under_way = server.services.generator.under_way
    told: list[tuple[str, dict[str, Any]]] = []
    leave = threading.Event()

    def ask() -> None:
        with server.http() as other:
            body = {"text": TEXT, "model": "slow", "stream": True}
            with other.stream("POST", "/summarize", json=body) as response:
                request_id.append(response.headers["X-Request-Id"])
                if by_id:
                    told.extend(named(response.iter_lines()))
                else:
                    assert leave.wait(10)

    request_id: list[str] = []
    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: any(answer.began for answer in under_way()))
    assert len(under_way()) <= 4
    if by_id:
        http.post("/cancel", json={"id": request_id[0]}).raise_for_status()
    leave.set()
    until(lambda: not under_way(), within_s=2)
    thread.join(20)
    loaded = {model.name: model for model in server.services.registry.loaded()}
    until(lambda: (stats := loaded["slow"].engine.stats) is not None and stats.running + stats.waiting == 0)
    if by_id:
        name, end = told[-1]
        assert (name, end["finish_reason"], end["summary"]) == ("done", "cancelled", "")
        assert end["share_read"] < 1


def test_a_file_is_read_and_not_kept(home: Path, http: httpx.Client) -> None:
    files = {"file": ("story.md", f"# The rope\n\n{TEXT}".encode())}
    answer = http.post("/summarize/file", params={"max_words": 40}, files=files).raise_for_status().json()
    assert answer["share_read"] == 1.0
    assert answer["parts"] > 3
    assert not [path for path in (home / "files").rglob("*") if path.is_file()]


def test_a_file_of_a_chat_is_found_by_whose_it_is(http: httpx.Client) -> None:
    chat = http.post("/chats", json={"user": "anna"}).raise_for_status().json()["chat_id"]
    files = {"file": ("story.txt", TEXT.encode())}
    http.post(f"/chats/{chat}/files", params={"user": "anna"}, files=files).raise_for_status()
    path = f"/chats/{chat}/files/1"
    until(lambda: http.get(path, params={"user": "anna"}).json()["state"] == "ready")
    body = {"file": {"chat_id": chat, "file_id": 1}, "user": "anna", "max_words": 40}
    assert http.post("/summarize", json=body).raise_for_status().json()["share_read"] == 1.0
    check(http.post("/summarize", json={**body, "user": "ben"}), 404)
    check(http.post("/summarize", json={**body, "file": {"chat_id": chat, "file_id": 2}}), 404)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text": ""}, "text"),
        ({"text": " \n"}, "text"),
        ({}, "text"),
        ({"text": "A rope.", "file": {"chat_id": 1, "file_id": 1}}, "text"),
        ({"text": "A rope.", "max_words": 9}, "max_words"),
        ({"text": "A rope.", "max_words": 2001}, "max_words"),
        ({"text": TEXT * 9, "max_words": 2000}, "max_words"),
        ({"text": "A rope.", "share": 0}, "share"),
        ({"text": "A rope.", "words": 10}, "words"),
        ({"text": TEXT, "model": ENCODER}, "model"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_what_cannot_be_right_is_refused_by_name(
    http: httpx.Client, body: dict[str, object], param: str, stream: bool
) -> None:
    assert check(http.post("/summarize", json={**body, "stream": stream}), 400)["param"] == param


def test_what_is_no_text_is_refused(http: httpx.Client) -> None:
    for name, content, status in (("a.png", b"\x89PNG", 415), ("a.txt", b"\x7fELF\0\1\2\3", 422)):
        check(http.post("/summarize/file", files={"file": (name, content)}), status)
    two = [("file", ("a.txt", b"One.")), ("file", ("b.txt", b"Two."))]
    check(http.post("/summarize/file", files=two), 400)


def test_the_starter_model_reads_all_of_a_text(starter_model: Path, tmp_path: Path) -> None:
    entry = ModelEntry("starter", "starter.gguf", (FileSource(starter_model),))
    with serving(Settings(home=tmp_path, models=(entry,), default_model=None), "starter") as running:
        text = " ".join(f"On day {day} the ship Aurora sailed {day * 7} miles to the north." for day in range(1, 200))
        with running.http() as http:
            answer = http.post("/summarize", json={"text": text, "max_words": 30}).raise_for_status().json()
    assert (answer["share_read"], answer["rounds"]) == (1.0, 2)
    assert answer["parts"] >= 2
    assert 0 < answer["words"] <= 30
