"""Answers from texts over HTTP: real workers, of a model that says what its name says and of a tiny encoder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.sse import named
from tests.api.test_bad_input import check
from tests.served import ENCODER, HELLO, Served, serving, settings_with_models, until

ROPE = "A fairlead guides the rope so that it chafes on nothing."
TEXT = "\n\n".join(
    f"{number}. {what} " * 6 for number, what in enumerate(("Ships lie still.", "Tides turn.", "Buoys ring."))
)
CONTEXT = f"{TEXT}\n\n{ROPE}"
SURE = {"question": ROPE, "threshold": 0.9}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Served]:
    with serving(settings_with_models(home, context_length=2048, kv_tokens=8192)) as running:
        yield running


@pytest.fixture
def http(server: Served) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


def test_a_context_is_answered_from_with_the_passages_that_were_given(http: httpx.Client) -> None:
    answer = http.post("/answer", json={**SURE, "context": CONTEXT}).raise_for_status().json()
    assert (answer["answered"], answer["answer"], answer["finish_reason"]) == (True, HELLO, "stop")
    assert answer["best_score"] == max(source["score"] for source in answer["sources"]) > 0.9
    for source in answer["sources"]:
        assert source["kind"] == "context"
        assert CONTEXT[source["start"] : source["end"]] == source["text"]
    assert ROPE in answer["sources"][0]["text"]
    assert answer["usage"]["prompt_tokens"] > answer["usage"]["completion_tokens"] > 0
    assert answer["timing"]["search_ms"] <= answer["timing"]["ttft_ms"] <= answer["timing"]["total_ms"]


def test_where_nothing_is_near_no_model_is_asked(http: httpx.Client) -> None:
    body = {"question": "What does a half plot cost?", "context": CONTEXT, "threshold": 1.0}
    answer = http.post("/answer", json=body).raise_for_status().json()
    assert not answer["answered"]
    assert answer["answer"].startswith("I do not know: ")
    assert (answer["sources"], answer["finish_reason"]) == ([], "stop")
    assert -1 <= answer["best_score"] < answer["threshold"] == 1.0
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (0, 0)


def test_a_stream_tells_the_sources_then_the_answer_then_the_whole(http: httpx.Client) -> None:
    body = {**SURE, "context": CONTEXT, "stream": True, "request_id": "mine"}
    with http.stream("POST", "/answer", json=body) as response:
        (first, sources), *pieces, (last, whole) = named(response.iter_lines())
    assert (first, last) == ("sources", "done")
    assert {name for name, _ in pieces} == {"token"}
    assert "".join(data["text"] for _, data in pieces).strip() == whole["answer"] == HELLO
    assert sources == {name: whole[name] for name in ("sources", "best_score", "threshold")}
    assert whole["id"] == "mine"


def test_a_chats_file_is_found_by_whose_it_is(http: httpx.Client) -> None:
    chat = http.post("/chats", json={"user": "anna"}).raise_for_status().json()["chat_id"]
    files = {"file": ("rope.txt", CONTEXT.encode())}
    http.post(f"/chats/{chat}/files", params={"user": "anna"}, files=files).raise_for_status()
    until(lambda: http.get(f"/chats/{chat}/files/1", params={"user": "anna"}).json()["state"] == "ready")
    body = {**SURE, "files": [{"chat_id": chat, "file_id": 1}], "user": "anna"}
    answer = http.post("/answer", json=body).raise_for_status().json()
    best = answer["sources"][0]
    assert (best["kind"], best["chat_id"], best["file_id"], best["name"]) == ("file", chat, 1, "rope.txt")
    assert ROPE in best["text"]
    check(http.post("/answer", json={**body, "user": "ben"}), 404)
    check(http.post("/answer", json={**body, "files": [{"chat_id": chat, "file_id": 2}]}), 404)


def test_files_are_read_and_not_kept(home: Path, http: httpx.Client) -> None:
    before = [path for path in (home / "files").rglob("*") if path.is_file()]
    files = [("file", ("tides.md", TEXT.encode())), ("file", ("rope.md", f"# Ropes\n\n{ROPE}\n".encode()))]
    params: dict[str, str | float] = {"question": f"Ropes\n# Ropes\n\n{ROPE}", "threshold": 0.9}
    answer = http.post("/answer/file", params=params, files=files).raise_for_status().json()
    assert answer["answered"]
    assert (answer["sources"][0]["name"], answer["sources"][0]["line_from"]) == ("rope.md", 1)
    assert "file_id" not in answer["sources"][0]
    assert [path for path in (home / "files").rglob("*") if path.is_file()] == before


@pytest.mark.parametrize("by_id", [True, False])
def test_ended_half_way_it_leaves_the_engine_free(server: Served, http: httpx.Client, by_id: bool) -> None:
    http.post("/load_model", json={"name": "slow"}).raise_for_status()
    under_way = server.services.generator.under_way
    told: list[tuple[str, dict[str, Any]]] = []
    leave = threading.Event()

    def ask() -> None:
        body = {
            **SURE,
            "context": CONTEXT,
            "model": "slow",
            "max_tokens": 900,
            "stream": True,
            "request_id": "slow-one",
        }
        with server.http() as other, other.stream("POST", "/answer", json=body) as response:
            if by_id:
                told.extend(named(response.iter_lines()))
            else:
                assert leave.wait(10)

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: any(answer.began for answer in under_way()))
    if by_id:
        http.post("/cancel", json={"id": "slow-one"}).raise_for_status()
    leave.set()
    until(lambda: not under_way(), within_s=2)
    thread.join(20)
    if by_id:
        name, end = told[-1]
        assert (name, end["finish_reason"]) == ("done", "cancelled")
        assert end["sources"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "question"),
        ({"question": " ", "context": TEXT}, "question"),
        ({"question": "What?"}, "context"),
        ({"question": "What?", "context": " \n"}, "context"),
        ({"question": "What?", "context": TEXT, "files": [{"chat_id": 1, "file_id": 1}]}, "context"),
        ({"question": "What?", "context": TEXT, "collection": "topics"}, "context"),
        ({"question": "What?", "files": []}, "files"),
        ({"question": "What?", "context": TEXT, "top_k": 0}, "top_k"),
        ({"question": "What?", "context": TEXT, "threshold": 1.1}, "threshold"),
        ({"question": "What?", "context": TEXT, "max_tokens": 4097}, "max_tokens"),
        ({"question": "What?", "context": TEXT, "request_id": "a b"}, "request_id"),
        ({"question": "What? " * 900, "context": TEXT}, "question"),
        ({"question": "What?", "context": TEXT, "model": ENCODER}, "model"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_what_cannot_be_right_is_refused_by_name(
    http: httpx.Client, body: dict[str, object], param: str, stream: bool
) -> None:
    assert check(http.post("/answer", json={**body, "stream": stream}), 400)["param"] == param


def test_files_that_cannot_be_read_are_refused(http: httpx.Client) -> None:
    ask = {"question": "What?"}
    check(http.post("/answer/file", params=ask, files={"file": ("a.png", b"\x89PNG")}), 415)
    check(http.post("/answer/file", params=ask, files={"file": ("a.txt", b"\x7fELF\0\1\2\3")}), 422)
    check(http.post("/answer/file", files={"file": ("a.txt", b"A text.")}), 400)


def test_what_the_server_cannot_do_is_refused(tmp_path: Path) -> None:
    settings = settings_with_models(tmp_path, embedding_model="absent", context_length=2048, max_file_bytes=101)
    with serving(settings) as poor, poor.http() as http:
        refused = check(http.post("/answer", json={**SURE, "context": ROPE}), 502)
        assert "absent" in refused["message"]
        ask = {"question": "What?"}
        half = [("file", (f"{number}.txt", b"A rope. " * 7)) for number in range(2)]
        assert "together" in check(http.post("/answer/file", params=ask, files=half), 413)["message"]
        many = [("file", (f"{number}.txt", b".")) for number in range(101)]
        check(http.post("/answer/file", params=ask, files=many), 400)
