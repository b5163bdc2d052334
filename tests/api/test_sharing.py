"""Several people at one model: who they are, who waits, who is refused, and what is left when they go."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fairlead.config import UserSettings
from fairlead.engine.messages import Stats
from fairlead.queue import ModelQueue, Queue
from tests.api.sse import Event, events
from tests.served import CONTEXT, Served, serving, settings_with_models, until

LONG: Mapping[str, object] = {"prompt": "Go on", "model": "slow", "ignore_eos": True}
"""Runs for seconds."""


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose models serve one request at a time, without guessing ahead, and where few may wait."""
    home: Path = tmp_path_factory.mktemp("served")
    settings = settings_with_models(
        home,
        lookup=False,
        max_running=1,
        max_waiting=4,
        max_waiting_per_user=2,
        users={"anna": UserSettings(weight=2.0, max_waiting=3)},
    )
    with serving(settings, "slow") as server:
        with server.http() as http:
            http.post("/load_model", json={"name": "crawling"}).raise_for_status()
        until(lambda: len(server.services.registry.engine_stats()) == 2)
        yield server


@pytest.fixture
def narrow(one_by_one: Served) -> Iterator[httpx.Client]:
    """A client of it."""
    with one_by_one.http() as client:
        yield client


def stats(served: Served, name: str) -> Stats:
    """What the engine of a model told last."""
    return next(told for model, told in served.services.registry.engine_stats() if model == name)


def idle(served: Served, name: str) -> bool:
    """Whether a model has nothing to do, and its pages are back."""
    told = stats(served, name)
    return not told.running and not told.waiting and told.free_pages + told.cached_pages == told.total_pages


@contextmanager
def stream(http: httpx.Client, request_id: str, body: Mapping[str, object]) -> Iterator[Iterator[Event]]:
    """The events of a stream that is closed in the end."""
    with http.stream("POST", "/infer_stream", json=body, headers={"X-Request-Id": request_id}) as response:
        assert response.status_code == 200, response.read()
        yield events(response.iter_lines())


@contextmanager
def busy(served: Served, http: httpx.Client, request_id: str = "busy", user: str = "anna") -> Iterator[None]:
    """Keep the model "slow" busy, so that everybody else waits."""
    with stream(http, request_id, {**LONG, "user": user}) as running:
        assert next(running).name == "token"
        yield
    until(lambda: idle(served, "slow"))


# ---- who asks -------------------------------------------------------------------------------------


def tokens_of(http: httpx.Client, user: str) -> float:
    """Answered tokens that the metrics count for a user."""
    families = text_string_to_metric_families(http.get("/metrics").text)
    samples = [sample for family in families if family.name == "fairlead_user_tokens" for sample in family.samples]
    wanted = {"user": user, "kind": "completion"}
    return sum(one.value for one in samples if one.name.endswith("_total") and one.labels == wanted)


@pytest.mark.parametrize(
    ("body", "header", "user"),
    [({}, None, "local"), ({}, "zoë", "zoë"), ({"user": "body"}, "header", "body"), ({"user": ""}, None, "local")],
)
def test_the_body_says_who_asks_else_the_header(
    http: httpx.Client, body: dict[str, str], header: str | None, user: str
) -> None:
    headers = [] if header is None else [(b"X-Fairlead-User", header.encode())]
    messages = [{"role": "user", "content": "Hi"}]
    calls: list[tuple[str, dict[str, object]]] = [
        ("/infer", {"prompt": "Hi"}),
        ("/infer_stream", {"prompt": "Hi"}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/chat/completions", {"messages": messages}),
    ]
    for path, asked in calls:
        before = tokens_of(http, user)
        response = http.post(path, json={**asked, **body, "max_tokens": 3}, headers=headers)
        assert response.status_code == 200, response.text
        until(lambda: tokens_of(http, user) == before + 3)  # noqa: B023 - called before the next round


@pytest.mark.parametrize(
    ("body", "headers", "param"),
    [
        ({"user": "a\nb"}, {}, "user"),
        ({"user": "a" * 257}, {}, "user"),
        ({}, {"X-Fairlead-User": b"a\tb"}, "X-Fairlead-User"),
        ({}, {"X-Fairlead-User": b"\xff"}, "X-Fairlead-User"),
        ({}, {"X-Fairlead-User": b"a" * 257}, "X-Fairlead-User"),
        ({"priority": "urgent"}, {}, "priority"),
        ({"priority": 1}, {}, "priority"),
    ],
)
def test_what_is_no_name_and_no_priority_is_refused(
    http: httpx.Client, body: dict[str, object], headers: dict[str, bytes], param: str
) -> None:
    named = [(name.encode(), value) for name, value in headers.items()]
    response = http.post("/infer", json={"prompt": "Hi", **body}, headers=named)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


# ---- waiting --------------------------------------------------------------------------------------


def test_whoever_waits_is_told_of_it_each_second(one_by_one: Served, narrow: httpx.Client) -> None:
    with ExitStack() as others:
        others.enter_context(busy(one_by_one, narrow))
        with (
            stream(narrow, "first", {**LONG, "user": "bob", "max_tokens": 2}) as first,
            stream(narrow, "second", {**LONG, "user": "bob", "max_tokens": 2}) as second,
        ):
            for told, position in ((next(first), 0), (next(second), 1), (next(first), 0)):
                assert told.name == "queued"
                assert told.data["position"] == position
                assert told.data["estimated_wait_ms"] is None or told.data["estimated_wait_ms"] >= 0
            others.close()  # whose turn it was goes away
            for waiting in (first, second):
                rest = list(waiting)
                names = [event.name for event in rest]
                assert names == sorted(names, key=["queued", "token", "done"].index)
                assert names.count("token") >= 1
                assert rest[-1].data["finish_reason"] == "length"
                assert rest[-1].data["timing"]["queue_ms"] >= 1000


def test_an_openai_stream_is_silent_while_it_waits(one_by_one: Served, narrow: httpx.Client) -> None:
    with busy(one_by_one, narrow):
        body = {"model": "slow", "prompt": "Hi", "stream": True, "timeout_s": 1.5}
        with narrow.stream("POST", "/v1/completions", json=body) as response:
            lines = [line for line in response.iter_lines() if line]
        *chunks, done = lines
        assert done == "data: [DONE]"
        reasons = [json.loads(chunk.removeprefix("data: "))["choices"][0]["finish_reason"] for chunk in chunks]
        assert reasons == ["timeout"]


def test_the_queue_tells_of_ones_own_and_counts_others(one_by_one: Served, narrow: httpx.Client) -> None:
    with ExitStack() as others:
        others.enter_context(busy(one_by_one, narrow))
        for name in ("b1", "b2"):
            others.enter_context(stream(narrow, name, {**LONG, "user": "bob"}))
        until(lambda: stats(one_by_one, "slow").waiting == 2)

        def queue(user: str | None = None, header: str = "") -> tuple[str, ModelQueue]:
            parameters = {} if user is None else {"user": user}
            response = narrow.get("/queue", params=parameters, headers={"X-Fairlead-User": header})
            told = msgspec.json.decode(response.content, type=Queue)
            return told.user, next(model for model in told.models if model.name == "slow")

        asker, slow = queue("bob")
        assert (asker, slow.running, slow.waiting) == ("bob", 1, 2)
        assert [(one.id, one.state, one.position) for one in slow.requests] == [
            ("b1", "waiting", 0),
            ("b2", "waiting", 1),
        ]
        loads = {load.user: (load.running, load.waiting) for load in slow.users}
        assert (loads["anna"], loads["bob"]) == ((1, 0), (0, 2))
        asker, slow = queue(header="anna")
        (own,) = slow.requests
        assert (own.id, own.state, own.position, own.estimated_wait_ms) == ("busy", "running", None, None)
        assert own.completion_tokens > 0
        assert queue()[1].requests == []
        assert queue("bob", header="anna")[0] == "bob"


# ---- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/infer", "/infer_stream", "/v1/completions"])
def test_more_than_a_user_may_have_waiting_are_refused(one_by_one: Served, narrow: httpx.Client, path: str) -> None:
    with ExitStack() as others:
        others.enter_context(busy(one_by_one, narrow))
        for name in ("b1", "b2"):
            others.enter_context(stream(narrow, name, {**LONG, "user": "bob"}))
        until(lambda: stats(one_by_one, "slow").waiting == 2)
        refused = narrow.post(path, json={**LONG, "user": "bob"})
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert error["code"] == "queue_full"
        assert "2 of your requests" in error["message"]
        assert re.fullmatch("[0-9]+", refused.headers["Retry-After"])
        assert int(refused.headers["Retry-After"]) >= error["details"]["retry_after_s"] >= 1
        for name in ("c1", "c2"):  # others still may, until nobody may
            others.enter_context(stream(narrow, name, {**LONG, "user": "cleo"}))
        assert "At most 4 requests" in narrow.post(path, json={**LONG, "user": "anna"}).json()["error"]["message"]


def test_choices_each_need_a_place(one_by_one: Served, narrow: httpx.Client) -> None:
    refused = narrow.post("/v1/completions", json={**LONG, "n": 3, "user": "dora"})
    assert refused.status_code == 429
    answered = narrow.post("/v1/completions", json={**LONG, "n": 3, "max_tokens": 1, "user": "anna"})
    assert answered.status_code == 200, answered.text  # who may have three


@pytest.mark.parametrize("path", ["/infer", "/v1/completions"])
def test_time_runs_out_waiting_and_running(one_by_one: Served, narrow: httpx.Client, path: str) -> None:
    def reason(response: httpx.Response) -> object:
        told = response.json()
        return told["finish_reason"] if path == "/infer" else told["choices"][0]["finish_reason"]

    ended = narrow.post(path, json={**LONG, "timeout_s": 0.3})
    assert reason(ended) == "timeout"
    assert ended.json()["usage"]["completion_tokens"] > 0
    with busy(one_by_one, narrow):
        ended = narrow.post(path, json={**LONG, "timeout_s": 0.3})
        assert reason(ended) == "timeout"
        assert ended.json()["usage"]["completion_tokens"] == 0


# ---- going away -----------------------------------------------------------------------------------


def post_and_go(served: Served, path: str, body: Mapping[str, object], when: Callable[[], bool]) -> None:
    """Send a request, and close the connection once something holds."""
    address = urlsplit(served.url)
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        until(when)


PATHS = ["/infer", "/infer_stream", "/v1/completions"]


@pytest.mark.parametrize("path", PATHS)
def test_gone_while_decoding(one_by_one: Served, path: str) -> None:
    generator = one_by_one.services.generator
    before = stats(one_by_one, "crawling").decode_tokens
    seen: list[int] = []

    def decodes() -> bool:
        seen[:] = [answer.tokens for answer in generator.under_way()]
        return sum(seen) >= 2

    post_and_go(one_by_one, path, {**LONG, "model": "crawling"}, decodes)
    until(lambda: idle(one_by_one, "crawling") and not generator.under_way())
    drawn = stats(one_by_one, "crawling").decode_tokens - before
    assert sum(seen) <= drawn <= sum(seen) + 8


@pytest.mark.parametrize("path", PATHS)
def test_gone_while_waiting(one_by_one: Served, narrow: httpx.Client, path: str) -> None:
    with busy(one_by_one, narrow):
        until(lambda: stats(one_by_one, "slow").running == 1)
        prefilled = stats(one_by_one, "slow").prefill_tokens
        post_and_go(one_by_one, path, LONG, lambda: stats(one_by_one, "slow").waiting == 1)
        until(lambda: stats(one_by_one, "slow").waiting == 0)
        assert len(one_by_one.services.generator.under_way()) == 1
        assert stats(one_by_one, "slow").prefill_tokens == prefilled


@pytest.mark.parametrize("path", PATHS)
def test_gone_while_its_prompt_is_read(one_by_one: Served, path: str) -> None:
    generator = one_by_one.services.generator
    before = stats(one_by_one, "crawling")
    body = {"prompt": path + " x" * 220, "model": "crawling"}

    def reads() -> bool:
        now = stats(one_by_one, "crawling")
        return now.running == 1 and now.prefill_tokens > before.prefill_tokens

    post_and_go(one_by_one, path, body, reads)
    until(lambda: idle(one_by_one, "crawling"))
    after = stats(one_by_one, "crawling")
    assert after.decode_tokens == before.decode_tokens
    assert after.prefill_tokens - before.prefill_tokens <= CONTEXT * 3 // 4
    assert not generator.under_way()


def test_cancel_ends_what_waits_and_what_runs(one_by_one: Served, narrow: httpx.Client) -> None:
    ended: dict[str, httpx.Response] = {}

    def ask(request_id: str) -> None:
        with one_by_one.http() as http:
            ended[request_id] = http.post("/infer", json=LONG, headers={"X-Request-Id": request_id})

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("one", "two")]
    threads[0].start()
    until(lambda: stats(one_by_one, "slow").running == 1)
    threads[1].start()
    until(lambda: stats(one_by_one, "slow").waiting == 1)
    for name, thread in zip(("two", "one"), reversed(threads), strict=True):
        assert narrow.post("/cancel", json={"id": name}).json() == {"id": name, "cancelled": True}
        thread.join(5)
        assert ended[name].json()["finish_reason"] == "cancelled"
    until(lambda: idle(one_by_one, "slow"))
    assert ended["two"].json()["usage"]["completion_tokens"] == 0
    assert narrow.post("/cancel", json={"id": "one"}).status_code == 404


# ---- what prompts have in common ------------------------------------------------------------------


def test_a_prompt_asked_twice_is_computed_once_for_its_user_alone(http: httpx.Client) -> None:
    asked = {"prompt": "The same words for everybody, " * 3, "max_tokens": 1}
    messages = [{"role": "user", "content": asked["prompt"]}]

    def cached(user: str, path: str = "/infer") -> int:
        body = {"max_tokens": 1, "messages": messages} if path.startswith("/v1") else asked
        response = http.post(path, json={**body, "user": user})
        usage = response.json()["usage"]
        return int(
            usage["prompt_tokens_details"]["cached_tokens"] if path.startswith("/v1") else usage["cached_tokens"]
        )

    assert cached("hugo") < 16  # what the template alone writes is everybody's
    assert cached("hugo") >= 48
    assert cached("hugo", "/v1/chat/completions") >= 48
    assert cached("iris") < 16
