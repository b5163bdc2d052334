"""The routes of chats, on a live server with real workers and a real database."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.sse import Event, events
from tests.served import HELLO, Served, serving, settings_with_models, until


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of its own, because models are loaded and die here."""
    with serving(settings_with_models(tmp_path_factory.mktemp("chats"))) as server:
        with server.http() as http:
            for name in ("counting", "slow", "other"):
                http.post("/load_model", json={"name": name}).raise_for_status()
        yield server


_names = (f"person {number}" for number in itertools.count())


@pytest.fixture
def user() -> str:
    """Somebody who has no chats yet."""
    return next(_names)


@pytest.fixture
def http(served: Served, user: str) -> Iterator[httpx.Client]:
    """A client of the shared server, for this user."""
    with served.http() as client:
        client.headers["X-Fairlead-User"] = user
        yield client


def told(response: httpx.Response) -> list[Event]:
    assert response.status_code == 200, response.read()
    assert response.headers["content-type"].startswith("text/event-stream")
    return list(events(response.iter_lines()))


def send(http: httpx.Client, chat: int, **body: object) -> list[Event]:
    with http.stream("POST", f"/chats/{chat}/messages", json=body) as response:
        return told(response)


def text(stream: list[Event]) -> str:
    return "".join(event.data["text"] for event in stream if event.name == "token")


def new_chat(http: httpx.Client, **body: object) -> int:
    made = http.post("/chats", json=body)
    assert made.status_code == 201, made.text
    return int(made.json()["chat_id"])


def fetched(http: httpx.Client, chat: int) -> dict[str, Any]:
    response = http.get(f"/chats/{chat}")
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def contents(chat: dict[str, Any]) -> list[str]:
    return [message["content"] for message in chat["messages"]]


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# ---- the contract's four --------------------------------------------------------------------------


def test_the_four_routes_of_the_contract(served: Served, user: str) -> None:
    with served.http() as http:
        number = http.get("/next_chat_id", params={"user": user}).json()["chat_id"]
        assert number == 1
        for prompt in ("Hi", "And now?"):
            body = {"user": user, "chat_id": number, "prompt": prompt}
            with http.stream("POST", "/generate", json=body) as response:
                stream = told(response)
            assert text(stream) == HELLO
            assert [event.name for event in stream if event.name != "token"] == ["start", "done"]
        (chat,) = http.get("/history", params={"user": user}).json()["chats"]
        assert chat["chat_id"] == number
        assert chat["message_count"] == 4
        assert chat["preview"] == HELLO
        assert chat["title"] == "Hi"
        whole = http.get("/fetch", params={"user": user, "chat_id": number}).json()
        assert contents(whole) == ["Hi", HELLO, "And now?", HELLO]
        assert [message["role"] for message in whole["messages"]] == ["user", "assistant"] * 2
        assert http.get("/next_chat_id", params={"user": user}).json() == {"chat_id": 2}
        assert http.get("/history", params={"user": "nobody else"}).json()["chats"] == []


def test_a_number_that_was_never_given_out_or_whose_chat_is_gone(http: httpx.Client) -> None:
    assert code(http.post("/generate", json={"chat_id": 1, "prompt": "Hi"})) == (404, "chat_not_found")
    number = http.get("/next_chat_id").json()["chat_id"]
    assert http.post("/generate", json={"chat_id": number, "prompt": "Hi"}).status_code == 200
    assert http.delete(f"/chats/{number}").json() == {"chat_id": number, "deleted": True}
    assert code(http.post("/generate", json={"chat_id": number, "prompt": "Hi"})) == (404, "chat_not_found")
    assert http.get("/next_chat_id").json()["chat_id"] == number + 1


def test_what_is_refused_leaves_nothing_behind(http: httpx.Client) -> None:
    number = http.get("/next_chat_id").json()["chat_id"]
    refused = http.post("/generate", json={"chat_id": number, "prompt": "word " * 300})
    assert code(refused) == (400, "prompt_too_long")
    assert http.get("/history").json()["chats"] == []
    assert http.post("/generate", json={"chat_id": number, "prompt": "Hi"}).status_code == 200
    before = fetched(http, number)
    for body, expected in (
        ({"prompt": "word " * 300}, (400, "prompt_too_long")),
        ({"prompt": "Hi", "model": "nobody"}, (404, "model_not_found")),
        ({"prompt": "Hi", "model": "absent"}, (503, "model_not_ready")),
        ({"regenerate": 2, "model": "absent"}, (503, "model_not_ready")),
        ({"prompt": "Hi", "system": "Be kind.", "model": "absent"}, (503, "model_not_ready")),
    ):
        assert code(http.post(f"/chats/{number}/messages", json=body)) == expected
    assert fetched(http, number) == before


# ---- streams --------------------------------------------------------------------------------------


def test_what_a_stream_tells(http: httpx.Client) -> None:
    chat = new_chat(http)
    start, *pieces, done = send(http, chat, prompt="Hi")
    assert start.data == {"id": start.data["id"], "chat_id": chat, "user_message_id": 1, "message_id": 2}
    assert [event.name for event in pieces] == ["token"] * len(pieces)
    assert done.data["finish_reason"] == "stop"
    assert done.data["model"] == "hello"
    assert {"usage", "timing"} <= done.data.keys()
    assert done.data["context"] == {
        "dropped_messages": 0,
        "dropped_tokens": 0,
        "summarized_messages": 0,
        "dropped_passages": 0,
    }
    assert start.id == "2:0"
    assert done.id == f"2:{len(HELLO)}"
    answer = fetched(http, chat)["messages"][1]
    assert answer["usage"] == done.data["usage"]
    assert answer["state"] == "complete"
    assert answer["finish_reason"] == "stop"


def test_a_stream_is_taken_up_again_without_a_gap(http: httpx.Client, served: Served) -> None:
    chat = new_chat(http)
    with http.stream(
        "POST", f"/chats/{chat}/messages", json={"prompt": "Hi", "model": "slow", "ignore_eos": True, "max_tokens": 40}
    ) as response:
        coming = events(response.iter_lines())
        first = list(itertools.islice(coming, 5))
    running = fetched(http, chat)
    assert running["running"]["message_id"] == 2
    assert running["messages"][1]["state"] == "generating"
    refused = http.post(f"/chats/{chat}/messages", json={"prompt": "More"})
    assert code(refused) == (409, "conflict")
    with http.stream("GET", f"/chats/{chat}/stream", params={"after": first[-1].id}) as response:
        rest = told(response)
    with http.stream("GET", f"/chats/{chat}/stream", headers={"Last-Event-ID": str(first[2].id)}) as response:
        again = told(response)
    with http.stream("GET", f"/chats/{chat}/stream") as response:
        whole = told(response)
    assert text(first) + text(rest) == text(first[:3]) + text(again) == text(whole)
    assert text(whole) == fetched(http, chat)["messages"][1]["content"]
    assert {tuple(stream[-1].data.items().__iter__().__next__()) for stream in (rest, again, whole)} == {
        ("id", first[0].data["id"])
    }
    assert rest[-1].data == again[-1].data == whole[-1].data
    assert rest[-1].data["usage"]["completion_tokens"] == 40
    assert fetched(http, chat)["running"] is None


def test_two_devices_read_one_answer(http: httpx.Client, served: Served) -> None:
    chat = new_chat(http)
    body = {"prompt": "Hi", "model": "slow", "ignore_eos": True, "max_tokens": 20}
    with http.stream("POST", f"/chats/{chat}/messages", json=body) as one:
        coming = events(one.iter_lines())
        next(coming)
        with http.stream("GET", f"/chats/{chat}/stream") as other:
            theirs = told(other)
        ours = list(coming)
    assert text(ours) == text(theirs) != ""


def test_cancel_ends_an_answer_and_keeps_what_there_is(http: httpx.Client, served: Served) -> None:
    chat = new_chat(http, model="slow")
    with http.stream("POST", f"/chats/{chat}/messages", json={"prompt": "Hi", "ignore_eos": True}) as response:
        coming = events(response.iter_lines())
        start = next(coming)
        next(coming)
        with served.http() as other:
            other.headers["X-Fairlead-User"] = "somebody else"
            assert other.get(f"/chats/{chat}/stream").status_code == 404
        assert http.post("/cancel", json={"id": start.data["id"]}).status_code == 200
        rest = list(coming)
    assert rest[-1].name == "done"
    assert rest[-1].data["finish_reason"] == "cancelled"
    answer = fetched(http, chat)["messages"][1]
    assert (answer["state"], answer["finish_reason"]) == ("complete", "cancelled")
    assert answer["content"]
    assert http.post("/cancel", json={"id": start.data["id"]}).status_code == 404


def test_cancel_while_the_model_is_loaded(http: httpx.Client) -> None:
    chat = new_chat(http, model="lingering")
    http.post("/unload_model", json={"name": "lingering"})
    with http.stream(
        "POST", f"/chats/{chat}/messages", json={"prompt": "Hi"}, headers={"X-Request-Id": "lost"}
    ) as sent:
        assert http.post("/cancel", json={"id": "lost"}).status_code in (200, 404)
        stream = told(sent)
    assert stream[-1].name == "done"


def test_a_worker_that_dies_leaves_what_there_is(http: httpx.Client, served: Served) -> None:
    chat = new_chat(http)
    http.post("/load_model", json={"name": "mortal"}).raise_for_status()
    stream = send(http, chat, prompt="#", model="mortal")
    assert stream[-1].name == "error"
    assert stream[-1].data["error"]["code"] == "engine_failed"
    question, answer = fetched(http, chat)["messages"]
    assert question["content"] == "#"
    assert (answer["state"], answer["finish_reason"]) == ("cut_off", "error")
    with http.stream("GET", f"/chats/{chat}/stream") as response:
        assert told(response)[-1] == stream[-1]
    assert text(send(http, chat, prompt="Go on", model="hello")) == HELLO
    until(lambda: served.services.registry.states()["mortal"] == "loaded")


def test_an_answer_that_nobody_takes_up_again_is_ended(tmp_path: Path) -> None:
    with serving(settings_with_models(tmp_path, grace_s=0.3), "slow") as served, served.http() as http:
        chat = new_chat(http)
        body = {"prompt": "Hi", "ignore_eos": True}
        with http.stream("POST", f"/chats/{chat}/messages", json=body) as response:
            next(response.iter_lines())
        assert "fairlead_chat_answers 1.0" in http.get("/metrics").text
        until(lambda: fetched(http, chat)["running"] is None)
        answer = fetched(http, chat)["messages"][1]
        assert (answer["state"], answer["finish_reason"]) == ("complete", "cancelled")
        assert answer["content"]
        assert "fairlead_chat_answers 0.0" in http.get("/metrics").text


@pytest.mark.parametrize("after", ["x", "1", "1:2:3", "-1:0"])
def test_what_is_no_event(http: httpx.Client, after: str) -> None:
    chat = new_chat(http)
    response = http.get(f"/chats/{chat}/stream", params={"after": after})
    assert code(response) == (400, "invalid_request")
    assert response.json()["error"]["param"] == "after"


def test_a_stream_where_there_is_none(http: httpx.Client) -> None:
    assert code(http.get("/chats/1/stream")) == (404, "chat_not_found")
    chat = new_chat(http)
    assert code(http.get(f"/chats/{chat}/stream")) == (404, "message_not_found")
    send(http, chat, prompt="Hi")
    assert code(http.get(f"/chats/{chat}/stream", params={"after": "1:0"})) == (404, "message_not_found")
    assert code(http.get(f"/chats/{chat}/stream", params={"after": "9:0"})) == (404, "message_not_found")
    for after in ("2:0", "2:7", "2:999"):
        with http.stream("GET", f"/chats/{chat}/stream", params={"after": after}) as response:
            stream = told(response)
        assert stream[-1].name == "done"
        assert text(stream) == HELLO[int(after[2:]) :]


# ---- branches -------------------------------------------------------------------------------------


def test_editing_and_answering_again_make_branches(http: httpx.Client) -> None:
    chat = new_chat(http)
    send(http, chat, prompt="one")
    send(http, chat, prompt="two")
    again = send(http, chat, regenerate=4, model="other")
    assert again[0].data["user_message_id"] == 3
    assert again[0].data["message_id"] == 5
    assert contents(fetched(http, chat)) == ["one", HELLO, "two", "Another model."]
    assert [m["siblings"] for m in fetched(http, chat)["messages"]] == [[1], [2], [3], [4, 5]]
    send(http, chat, edit=1, prompt="uno")
    edited = fetched(http, chat)
    assert contents(edited) == ["uno", HELLO]
    assert [m["siblings"] for m in edited["messages"]] == [[1, 6], [7]]
    assert edited["leaf"] == 7
    assert edited["message_count"] == 7
    back = http.patch(f"/chats/{chat}", json={"leaf": 1}).json()
    assert contents(back) == ["one", HELLO, "two", "Another model."]
    assert contents(http.patch(f"/chats/{chat}", json={"leaf": 4}).json()) == ["one", HELLO, "two", HELLO]
    every = http.get(f"/chats/{chat}/messages", params={"branches": "all"}).json()["messages"]
    assert [m["message_id"] for m in every] == list(range(1, 8))
    assert [m["parent"] for m in every] == [None, 1, 2, 3, 3, None, 6]
    shown = http.get(f"/chats/{chat}/messages").json()["messages"]
    assert [m["message_id"] for m in shown] == [1, 2, 3, 4]
    send(http, chat, regenerate=3)  # the question itself
    assert fetched(http, chat)["messages"][-1]["siblings"] == [4, 5, 8]


@pytest.mark.parametrize(
    ("body", "expected", "param"),
    [
        ({}, (400, "invalid_request"), "prompt"),
        ({"prompt": ""}, (400, "invalid_request"), "prompt"),
        ({"prompt": "x", "regenerate": 2}, (400, "invalid_request"), "prompt"),
        ({"edit": 1}, (400, "invalid_request"), "prompt"),
        ({"edit": 2, "prompt": "x"}, (400, "invalid_request"), "edit"),
        ({"edit": 9, "prompt": "x"}, (404, "message_not_found"), "edit"),
        ({"regenerate": 9}, (404, "message_not_found"), "regenerate"),
        ({"prompt": "x", "logprobs": 1}, (400, "invalid_request"), "logprobs"),
        ({"prompt": "x", "on_overflow": "forget"}, (400, "invalid_request"), "on_overflow"),
        ({"prompt": "x", "temperature": 3}, (400, "invalid_request"), "temperature"),
    ],
)
def test_bad_questions(http: httpx.Client, body: dict[str, object], expected: tuple[int, str], param: str) -> None:
    chat = new_chat(http)
    send(http, chat, prompt="Hi")
    response = http.post(f"/chats/{chat}/messages", json=body)
    assert code(response) == expected
    assert response.json()["error"]["param"] == param
    assert len(fetched(http, chat)["messages"]) == 2


# ---- what is set ----------------------------------------------------------------------------------


def test_a_chat_is_made_changed_and_deleted(http: httpx.Client) -> None:
    made = http.post(
        "/chats", json={"title": "Mine", "system": "Be kind.", "model": "counting", "parameters": {"max_tokens": 3}}
    )
    assert made.status_code == 201
    chat = made.json()
    assert (chat["title"], chat["titled_by"], chat["system"], chat["model"]) == (
        "Mine",
        "person",
        "Be kind.",
        "counting",
    )
    assert chat["parameters"] == {"max_tokens": 3}
    assert chat["on_overflow"] == "drop_oldest"
    assert chat["messages"] == []
    number = chat["chat_id"]
    done = send(http, number, prompt="Hi")[-1]
    assert done.data["model"] == "counting"
    assert done.data["usage"]["completion_tokens"] == 3
    changed = http.patch(
        f"/chats/{number}", json={"title": "Ours", "model": None, "parameters": None, "on_overflow": "error"}
    ).json()
    assert (changed["title"], changed["model"], changed["parameters"]) == ("Ours", None, {})
    assert changed["on_overflow"] == "error"
    assert changed["system"] == "Be kind."
    assert text(send(http, number, prompt="Hi")) == HELLO
    assert fetched(http, number)["title"] == "Ours"
    assert http.delete(f"/chats/{number}").status_code == 200
    assert code(http.get(f"/chats/{number}")) == (404, "chat_not_found")
    assert code(http.delete(f"/chats/{number}")) == (404, "chat_not_found")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"title": ""}, (400, "invalid_request")),
        ({"title": "a\nb"}, (400, "invalid_request")),
        ({"title": "x" * 201}, (400, "invalid_request")),
        ({"model": "nobody"}, (404, "model_not_found")),
        ({"parameters": {"prompt": "x"}}, (400, "invalid_request")),
        ({"parameters": {"temperature": "hot"}}, (400, "invalid_request")),
        ({"on_overflow": "forget"}, (400, "invalid_request")),
        ({"leaf": 9}, (404, "message_not_found")),
        ({"chat_id": 5}, (400, "invalid_request")),
        ({"system": "a\x00b"}, (400, "invalid_request")),
    ],
)
def test_bad_settings(http: httpx.Client, body: dict[str, object], expected: tuple[int, str]) -> None:
    chat = new_chat(http)
    before = fetched(http, chat)
    assert code(http.patch(f"/chats/{chat}", json=body)) == expected
    assert fetched(http, chat) == before


def test_deleting_ends_the_answer(http: httpx.Client) -> None:
    chat = new_chat(http, model="slow")
    with http.stream("POST", f"/chats/{chat}/messages", json={"prompt": "Hi", "ignore_eos": True}) as response:
        coming = events(response.iter_lines())
        next(coming)
        assert http.delete(f"/chats/{chat}").status_code == 200
        assert list(coming)[-1].data["finish_reason"] == "cancelled"
    assert code(http.get(f"/chats/{chat}")) == (404, "chat_not_found")


def test_a_system_prompt_with_a_question_is_the_chats_from_then_on(http: httpx.Client) -> None:
    number = http.get("/next_chat_id").json()["chat_id"]
    http.post("/generate", json={"chat_id": number, "prompt": "Hi", "system": "Be kind."})
    assert fetched(http, number)["system"] == "Be kind."


# ---- lists ----------------------------------------------------------------------------------------


def test_lists_are_paged_and_searched(http: httpx.Client) -> None:
    numbers = [new_chat(http, title=f"Chat about {topic}") for topic in ("bread", "wine", "cheese", "bread and wine")]
    send(http, numbers[0], prompt="A quince pie, please")
    page = http.get("/history", params={"limit": 2}).json()
    assert [chat["chat_id"] for chat in page["chats"]] == [numbers[0], numbers[3]]
    assert page["more"]
    page = http.get("/chats", params={"limit": 2, "before": numbers[3]}).json()
    assert [chat["chat_id"] for chat in page["chats"]] == [numbers[2], numbers[1]]
    assert not page["more"]
    found = http.get("/history", params={"q": "quince"}).json()["chats"]
    assert [(chat["chat_id"], chat["match"]["message_id"]) for chat in found] == [(numbers[0], 1)]
    assert "quince" in found[0]["match"]["excerpt"]
    found = http.get("/history", params={"q": "wine"}).json()["chats"]
    assert [chat["chat_id"] for chat in found] == [numbers[3], numbers[1]]
    assert http.get("/history", params={"q": "nothing like it"}).json()["chats"] == []
    refused = http.get("/history", params={"before": 99})
    assert (code(refused), refused.json()["error"]["param"]) == ((400, "invalid_request"), "before")
    assert http.get("/history", params={"limit": 0}).status_code == 400


# ---- out and in -----------------------------------------------------------------------------------


def test_a_chat_is_taken_out_and_in_again_whole(http: httpx.Client) -> None:
    chat = new_chat(http, title="Mine", system="Be kind.", parameters={"temperature": 0.5, "stop": "END"})
    send(http, chat, prompt="one")
    send(http, chat, prompt="two *bold* <b>")
    send(http, chat, regenerate=4)
    exported = http.get(f"/chats/{chat}/export", params={"format": "json"})
    assert exported.headers["content-disposition"] == f'attachment; filename="chat-{chat}.json"'
    whole = exported.json()
    assert len(whole["messages"]) == 5
    taken = http.post("/chats/import", json=whole)
    assert taken.status_code == 201, taken.text
    number = taken.json()["chat_id"]
    assert number != chat
    again = http.get(f"/chats/{number}/export", params={"format": "json"}).json()
    assert again | {"updated_at": None} == whole | {"updated_at": None}
    assert text(send(http, number, prompt="three")) == HELLO
    assert fetched(http, number)["messages"][-1]["message_id"] == 7


def test_a_chat_to_be_read(http: httpx.Client) -> None:
    chat = new_chat(http, title="Mine", system="Be kind.")
    send(http, chat, prompt="Hi *there*")
    exported = http.get(f"/chats/{chat}/export")
    assert exported.headers["content-type"] == "text/markdown; charset=utf-8"
    assert exported.text == f"# Mine\n\n> Be kind.\n\n## You\n\nHi *there*\n\n## hello\n\n{HELLO}\n"


MESSAGE = {"message_id": 1, "parent": None, "role": "user", "content": "Hi", "created_at": "2026-01-01T00:00:00Z"}
WHOLE = {
    "format": "fairlead-chat",
    "version": 1,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "messages": [MESSAGE],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"version": 2},
        {"created_at": "2026-01-01T00:00:00"},
        {"created_at": "yesterday"},
        {"leaf": 7},
        {"messages": [MESSAGE, MESSAGE]},
        {"messages": [{**MESSAGE, "parent": 5}]},
        {"messages": [{**MESSAGE, "parent": 1}]},
        {"messages": [{**MESSAGE, "role": "assistant"}]},
        {"messages": [{**MESSAGE, "role": "system"}]},
        {"messages": [{**MESSAGE, "message_id": 2**40}]},
        {"messages": [{**MESSAGE, "report": {"selected": "x"}}]},
        {"messages": [{**MESSAGE, "state": "perfect"}]},
        {"messages": [{**MESSAGE, "message_id": n} for n in range(1, 10_002)]},
        {"title": "x" * 201},
        {"chat_id": 5},
    ],
)
def test_what_is_no_chat_is_not_taken_in(http: httpx.Client, changes: dict[str, object]) -> None:
    assert code(http.post("/chats/import", json=WHOLE | changes)) == (400, "invalid_request")
    assert http.get("/history").json()["chats"] == []


def test_what_others_wrote_by_hand_is_taken_in(http: httpx.Client) -> None:
    taken = http.post("/chats/import", json=WHOLE)
    assert taken.status_code == 201, taken.text
    assert contents(taken.json()) == ["Hi"]
    generating = {**MESSAGE, "message_id": 3, "parent": 1, "role": "assistant", "state": "generating", "content": "H"}
    taken = http.post(
        "/chats/import", json=WHOLE | {"messages": [MESSAGE, generating], "files": [{"name": "a"}]}
    ).json()
    assert taken["messages"][1]["state"] == "cut_off"
    assert taken["files_left_out"] == 1
    assert text(send(http, taken["chat_id"], prompt="Go on")) == HELLO
    assert http.post("/chats/import", json=WHOLE | {"messages": []}).status_code == 201


def test_a_report_that_others_wrote_is_told_whole(http: httpx.Client) -> None:
    report = {"usage": {"prompt_tokens": 1, "completion_tokens": 2}, "context": {}, "sources": None}
    answer = {**MESSAGE, "message_id": 2, "parent": 1, "role": "assistant", "report": report}
    taken = http.post("/chats/import", json=WHOLE | {"messages": [MESSAGE, answer]}).json()
    told = fetched(http, taken["chat_id"])["messages"][1]
    assert told["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "cached_tokens": 0}
    assert told["context"]["summarized_messages"] == 0
    assert "sources" not in told


def test_a_chat_is_taken_in_that_is_larger_than_other_bodies(http: httpx.Client) -> None:
    long = {**MESSAGE, "content": "x" * (2 << 20)}
    whole = WHOLE | {"messages": [long, {**long, "message_id": 2, "parent": 1, "role": "assistant"}]}
    assert http.post("/chats/import", json=whole).status_code == 201
    assert code(http.post("/chats/import", json=whole | {"system": "x" * (5 << 20)})) == (413, "body_too_large")


# ---- between people -------------------------------------------------------------------------------


def test_what_is_anothers_is_as_good_as_none(http: httpx.Client, served: Served) -> None:
    chat = new_chat(http)
    send(http, chat, prompt="Hi")
    with served.http() as other:
        other.headers["X-Fairlead-User"] = "a stranger"
        for method, path, body in (
            ("GET", f"/chats/{chat}", None),
            ("GET", f"/fetch?chat_id={chat}", None),
            ("PATCH", f"/chats/{chat}", {"title": "x"}),
            ("DELETE", f"/chats/{chat}", None),
            ("GET", f"/chats/{chat}/messages", None),
            ("POST", f"/chats/{chat}/messages", {"prompt": "x"}),
            ("POST", "/generate", {"chat_id": chat, "prompt": "x"}),
            ("GET", f"/chats/{chat}/stream", None),
            ("GET", f"/chats/{chat}/export", None),
        ):
            theirs = other.request(method, path, json=body)
            none = other.request(
                method,
                path.replace(str(chat), "999"),
                json=body and ({**body, "chat_id": 999} if "chat_id" in body else body),
            )
            assert theirs.status_code == 404
            assert theirs.json() == none.json()
    assert contents(fetched(http, chat)) == ["Hi", HELLO]


# ---- titles ---------------------------------------------------------------------------------------


def test_the_model_names_a_chat_when_nobody_waits(http: httpx.Client) -> None:
    http.post("/load_model", json={"name": "titled"}).raise_for_status()
    chat, named = new_chat(http), new_chat(http, title="Mine")
    for number in (chat, named):
        send(http, number, prompt="Hi", model="titled")
    assert fetched(http, chat)["title"] == "Hi"
    until(lambda: fetched(http, chat)["title"] == "A fine name")
    assert fetched(http, chat)["titled_by"] == "model"
    time.sleep(0.1)
    assert fetched(http, named)["title"] == "Mine"
