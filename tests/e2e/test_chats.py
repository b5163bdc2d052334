"""Conversations with the real model in a real server process: what is kept, what is taken up, what is computed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.sse import Event, events
from tests.e2e.conftest import STARTER, Server, start, until

LONG = {"ignore_eos": True, "temperature": 0}


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


def new_chat(http: httpx.Client, **body: object) -> int:
    made = http.post("/chats", json=body)
    assert made.status_code == 201, made.text
    return int(made.json()["chat_id"])


def send(http: httpx.Client, chat: int, **body: object) -> list[Event]:
    with http.stream("POST", f"/chats/{chat}/messages", json=body) as response:
        assert response.status_code == 200, response.read()
        return list(events(response.iter_lines()))


def follow(http: httpx.Client, chat: int, after: str | None = None) -> list[Event]:
    with http.stream("GET", f"/chats/{chat}/stream", params={"after": after} if after else None) as response:
        assert response.status_code == 200, response.read()
        return list(events(response.iter_lines()))


def text(stream: list[Event]) -> str:
    return "".join(event.data["text"] for event in stream if event.name == "token")


def fetched(http: httpx.Client, chat: int) -> dict[str, Any]:
    body: dict[str, Any] = http.get(f"/chats/{chat}").json()
    return body


def test_a_conversation_of_several_turns(http: httpx.Client) -> None:
    chat = new_chat(http, parameters={"temperature": 0, "max_tokens": 40})
    first = send(http, chat, prompt="What is the capital of France?")
    assert "Paris" in text(first)
    second = send(http, chat, prompt="And what did I ask you about?")
    third = send(http, chat, prompt="Thank you!")
    told = fetched(http, chat)["messages"]
    assert [message["content"] for message in told[1::2]] == [text(first), text(second), text(third)]
    # Each prompt holds all that was said before, and nothing of it is computed again but for the last page.
    for before, after in ((first, second), (second, third)):
        held, used = before[-1].data["usage"], after[-1].data["usage"]
        assert used["prompt_tokens"] > held["prompt_tokens"] + held["completion_tokens"]
        assert used["cached_tokens"] >= (held["prompt_tokens"] + held["completion_tokens"]) // 32 * 32 - 32
    again = send(http, chat, regenerate=6)
    assert text(again) == text(third)  # greedy
    assert again[-1].data["usage"]["cached_tokens"] >= third[-1].data["usage"]["prompt_tokens"] // 32 * 32 - 32


def test_the_second_turn_of_a_long_chat_computes_what_is_new(http: httpx.Client) -> None:
    """The issue's measure: over 3,000 tokens of history, at least 95 % of it is found computed."""
    chat = new_chat(http, system="Answer briefly.")
    report = " ".join(
        f"On day {day} the harbour counted {day * 37 % 101} boats, {day * 53 % 97} of them with herring."
        for day in range(1, 160)
    )
    first = send(http, chat, prompt=f"{report}\nWhat was counted?", max_tokens=60, seed=1)
    second = send(http, chat, prompt="Which fish was it?", max_tokens=60, seed=2)
    usage = first[-1].data["usage"]
    history = usage["prompt_tokens"] + usage["completion_tokens"]
    assert history > 3000
    assert second[-1].data["usage"]["cached_tokens"] >= 0.95 * history
    assert second[-1].data["timing"]["prefill_ms"] < 0.2 * first[-1].data["timing"]["prefill_ms"]


def test_a_lost_connection_and_not_a_character_lost_or_doubled(http: httpx.Client) -> None:
    chat = new_chat(http)
    parts: list[Event] = []
    with http.stream(
        "POST", f"/chats/{chat}/messages", json={"prompt": "Tell a story.", "max_tokens": 250, **LONG}
    ) as response:
        for event in events(response.iter_lines()):
            parts.append(event)
            if len(parts) == 12:
                break
    for _ in range(3):
        with http.stream("GET", f"/chats/{chat}/stream", params={"after": parts[-1].id}) as response:
            for count, event in enumerate(events(response.iter_lines())):
                parts.append(event)
                if count == 8:
                    break
    parts += follow(http, chat, parts[-1].id)
    assert parts[-1].name == "done"
    assert parts[-1].data["usage"]["completion_tokens"] == 250
    whole = fetched(http, chat)["messages"][1]["content"]
    assert text(parts) == whole
    assert text(follow(http, chat)) == whole


def test_cancelling_keeps_what_there_is(http: httpx.Client) -> None:
    chat = new_chat(http)
    seen: list[Event] = []
    with http.stream("POST", f"/chats/{chat}/messages", json={"prompt": "Tell a story.", **LONG}) as response:
        for event in events(response.iter_lines()):
            seen.append(event)
            if len(seen) == 10:
                assert http.post("/cancel", json={"id": seen[0].data["id"]}).status_code == 200
    assert seen[-1].data["finish_reason"] == "cancelled"
    answer = fetched(http, chat)["messages"][1]
    assert (answer["content"], answer["state"]) == (text(seen), "complete")


def test_a_killed_server_leaves_what_was_said(own_server: Server, tmp_path: Path, starter_model: Path) -> None:
    with own_server.http() as http:
        chat = new_chat(http)
        done = send(http, chat, prompt="What is gravity?", max_tokens=20, temperature=0)
        seen: list[Event] = []
        with http.stream("POST", f"/chats/{chat}/messages", json={"prompt": "Tell a story.", **LONG}) as response:
            for event in events(response.iter_lines()):
                seen.append(event)
                if len(seen) == 150:
                    own_server.process.kill()
                    break
        own_server.process.wait()
    again = start(tmp_path / "home", starter_model)
    try:
        with again.http() as http:
            told = fetched(http, chat)
            assert told["running"] is None
            assert [message["message_id"] for message in told["messages"]] == [1, 2, 3, 4]
            assert told["messages"][1]["content"] == text(done)
            cut = told["messages"][3]
            assert (cut["state"], cut["finish_reason"]) == ("cut_off", "error")
            assert cut["content"]
            assert text(seen).startswith(cut["content"]) or cut["content"].startswith(text(seen))
            rest = follow(http, chat, f"4:{len(cut['content']) - 5}")
            assert (text(rest), rest[-1].name) == (cut["content"][-5:], "error")
            assert [event.name for event in follow(http, chat, str(seen[-1].id))][-1] == "error"
            assert text(send(http, chat, prompt="Go on.", max_tokens=10))
            assert http.get("/next_chat_id").json()["chat_id"] == chat + 1
    finally:
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(30) == 0


def test_a_server_that_drains_ends_answers_properly(own_server: Server, tmp_path: Path, starter_model: Path) -> None:
    with own_server.http() as http:
        chat = new_chat(http)
        body = {"prompt": "Tell a story.", "max_tokens": 150, **LONG}
        with http.stream("POST", f"/chats/{chat}/messages", json=body) as response:
            coming = events(response.iter_lines())
            next(coming)
            own_server.process.send_signal(signal.SIGTERM)
            rest = list(coming)
    assert rest[-1].data["finish_reason"] == "length"
    assert own_server.process.wait(15) == 0
    again = start(tmp_path / "home", starter_model)
    try:
        with again.http() as http:
            answer = fetched(http, chat)["messages"][1]
            assert (answer["content"], answer["state"], answer["finish_reason"]) == (text(rest), "complete", "length")
            assert answer["usage"]["completion_tokens"] == 150
    finally:
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(30) == 0


@pytest.fixture
def short_context(http: httpx.Client) -> Iterator[None]:
    """The model with a context of 1,024 tokens, for one test."""
    http.post("/unload_model", json={"name": STARTER}).raise_for_status()
    http.post("/load_model", json={"name": STARTER, "context_length": 1024}).raise_for_status()
    yield
    http.post("/unload_model", json={"name": STARTER}).raise_for_status()
    http.post("/load_model", json={"name": STARTER}).raise_for_status()


@pytest.mark.usefixtures("short_context")
def test_a_long_chat_is_summarised_and_says_so(http: httpx.Client) -> None:
    chat = new_chat(http, on_overflow="summarize", parameters={"temperature": 0, "max_tokens": 40})
    filler = "The committee met again and spoke about the budget of the harbour for the coming year. "
    told = [send(http, chat, prompt=f"Point {number}. {filler * 8} Why?")[-1].data for number in range(8)]
    summarized = [answer["context"]["summarized_messages"] for answer in told]
    assert summarized == sorted(summarized)
    assert summarized[-1] > 0
    assert len(set(summarized)) < len(summarized)  # a summary serves several turns
    assert all(answer["context"]["dropped_messages"] == 0 for answer in told)


def test_a_file_is_asked_about_each_turn_until_it_is_removed(http: httpx.Client) -> None:
    chat = new_chat(http, parameters={"temperature": 0, "max_tokens": 30})
    text_of_it = (
        "# Lighthouse\n\nThe lamp of the lighthouse of Ostrava Point was made by Anneliese Brandt in 1887.\n" * 8
    )
    attached = http.post(f"/chats/{chat}/files", files=[("file", ("lighthouse.md", text_of_it.encode()))])
    assert attached.status_code == 201, attached.text
    (number,) = [file["file_id"] for file in attached.json()["files"]]
    until(lambda: http.get(f"/chats/{chat}/files/{number}").json()["state"] == "ready")
    first = send(http, chat, prompt="Who made the lamp?")
    assert "Brandt" in text(first)
    assert first[-1].data["files"] == {"whole": True, "selected": False, "notes": []}
    assert [source["name"] for source in first[-1].data["sources"]] == ["lighthouse.md"]
    second = send(http, chat, prompt="And when?")
    assert "1887" in text(second)
    usage = first[-1].data["usage"]
    assert second[-1].data["usage"]["cached_tokens"] >= usage["prompt_tokens"] // 32 * 32
    assert http.delete(f"/chats/{chat}/files/{number}").status_code == 200
    third = send(http, chat, prompt="Thank you.")
    assert "files" not in third[-1].data
    assert third[-1].data["usage"]["prompt_tokens"] < second[-1].data["usage"]["prompt_tokens"]
