"""What no route may fall for: each of these gets a 4xx in the contract's shape, and the server goes on."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

import httpx
import pytest

from fairlead.api import protocol, security
from tests.served import HELLO, Served

BODIES: dict[str, dict[str, Any]] = {
    "/load_model": {"name": "hello"},
    "/set_model": {"name": "hello"},
    "/unload_model": {"name": "other"},
    "/infer": {"prompt": "Hi"},
    "/infer_stream": {"prompt": "Hi"},
    "/cancel": {"id": "nobody"},
    "/tokenize": {"text": "Hi"},
    "/detokenize": {"tokens": [1]},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/completions": {"prompt": "Hi"},
}
"""A good body, or one that fails late, for each route that takes one."""

GENERATING = ["/infer", "/infer_stream", "/v1/chat/completions", "/v1/completions"]
JSON = {"Content-Type": "application/json"}

HOSTILE = {
    "nothing": b"",
    "no JSON": b"{'a': 1}",
    "cut short": b'{"prompt": "Hi"',
    "nested arrays": b"[" * 100_000 + b"]" * 100_000,
    "nested objects": b'{"prompt":' * 100_000 + b"1" + b"}" * 100_000,
    "a number of a million digits": b'{"seed": ' + b"9" * 1_000_000 + b"}",
    "an exponent of a million digits": b'{"temperature": 1e' + b"9" * 1_000_000 + b"}",
    "invalid UTF-8": b'{"prompt": "\xff\xfe"}',
    "a surrogate in UTF-8": b'{"prompt": "\xed\xa0\x80"}',
    "a lone surrogate": b'{"prompt": "\\ud800"}',
    "a lone surrogate as a key": b'{"\\udfff": 1}',
    "NaN": b'{"prompt": NaN}',
    "infinity": b'{"prompt": -Infinity}',
    "an array": b"[1, 2]",
    "a string": b'"Hi"',
    "null": b"null",
    "a number": b"1",
    "UTF-16": '{"prompt": "Hi"}'.encode("utf-16"),
}


def check(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    """The error in an answer, which must be of the contract's shape."""
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}
    error: dict[str, Any] = response.json()["error"]
    assert error.keys() == {"code", "message", "type", "param", "details"}
    assert error["message"]
    assert "Traceback" not in response.text
    assert "/src/" not in response.text
    return error


@pytest.fixture(autouse=True)
def goes_on(http: httpx.Client) -> Any:
    """After each test a good request is answered."""
    yield
    assert http.post("/infer", json={"prompt": "Hi"}).json()["text"] == HELLO


@pytest.mark.parametrize("route", BODIES)
def test_hostile_bodies(http: httpx.Client, route: str) -> None:
    for name, body in HOSTILE.items():
        began = time.monotonic()
        error = check(http.post(route, content=body, headers=JSON))
        assert error["code"] == "invalid_request", name
        assert time.monotonic() - began < 1, name


@pytest.mark.parametrize("route", BODIES)
def test_other_content_types(http: httpx.Client, route: str) -> None:
    body = json.dumps(BODIES[route]).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        error = check(http.post(route, content=body, headers={"Content-Type": kind}), 415)
        assert error["code"] == "unsupported_media_type"
    check(http.post(route, content=body, headers={"Content-Type": "application/json; charset=latin-1"}), 415)


@pytest.mark.parametrize("route", BODIES)
def test_other_methods(http: httpx.Client, route: str) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        response = http.request(method, route)
        assert check(response, 405)["code"] == "method_not_allowed"
        assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize("route", BODIES)
def test_unknown_and_missing_fields(http: httpx.Client, route: str) -> None:
    error = check(http.post(route, json={**BODIES[route], "bogus": 1}))
    assert (error["code"], error["param"]) == ("invalid_request", "bogus")
    required = next(iter(BODIES[route]))
    error = check(http.post(route, json={}))
    assert error["param"] == required
    for wrong in (1.5, True, {"a": 1}):
        error = check(http.post(route, json={**BODIES[route], required: wrong}))
        assert error["param"].startswith(required)


@pytest.mark.parametrize("route", BODIES)
def test_bodies_too_large(http: httpx.Client, route: str) -> None:
    large = b'{"prompt": "' + b"a" * security.MAX_BODY_BYTES + b'"}'
    assert check(http.post(route, content=large, headers=JSON), 413)["code"] == "body_too_large"
    in_chunks = (large[start : start + 65536] for start in range(0, len(large), 65536))
    check(http.post(route, content=in_chunks, headers=JSON), 413)


RANGES: list[tuple[str, list[object]]] = [
    ("temperature", [-0.1, 2.1, "1", True, []]),
    ("top_p", [0, -1, 1.1, "x"]),
    ("top_k", [-2, 1.5, 2**31]),
    ("min_p", [-0.1, 1.1]),
    ("max_tokens", [0, -1, 2**31, 1.5, "9"]),
    ("min_tokens", [-1, 2**31]),
    ("seed", [-1, 2**64, 1.5, "7", 10**400]),
    ("stop", ["", ["a"] * 17, [""], 5, [1], ["x" * 1001]]),
    ("repetition_penalty", [0, -1, 11]),
    ("presence_penalty", [-2.1, 2.1]),
    ("frequency_penalty", [-2.1, 2.1]),
    ("logit_bias", [{"a": 1}, {"-1": 1}, {"1": 101}, {"1": "x"}, {"100000": 1}, [1], {str(n): 1 for n in range(1025)}]),
    ("timeout_s", [0, -1, 86401]),
    ("model", ["", "x" * 201, 1]),
    ("user", [1, "x" * 257]),
    ("on_overflow", ["drop_all", 1]),
]


@pytest.mark.parametrize("route", GENERATING)
@pytest.mark.parametrize(("field", "values"), RANGES, ids=lambda value: value if isinstance(value, str) else "")
def test_ranges(http: httpx.Client, route: str, field: str, values: list[object]) -> None:
    for value in values:
        content = json.dumps({**BODIES[route], field: value})
        error = check(http.post(route, content=content, headers=JSON))
        assert error["param"].startswith(field), (value, error)


@pytest.mark.parametrize("route", GENERATING)
def test_nan_is_no_number(http: httpx.Client, route: str) -> None:
    for field in ("temperature", "top_p", "seed"):
        for value in ("NaN", "Infinity", "1e999", "-1e999"):
            content = json.dumps({**BODIES[route], field: "?"}).replace('"?"', value)
            check(http.post(route, content=content, headers=JSON))


@pytest.mark.parametrize("route", GENERATING)
def test_models_that_cannot_answer(http: httpx.Client, route: str) -> None:
    for name in ("nobody", "../../etc/passwd", "/etc/passwd", "hello\x00", "hello.gguf", "..\\x"):
        error = check(http.post(route, json={**BODIES[route], "model": name}), 404)
        assert error["code"] == "model_not_found"
    response = http.post(route, json={**BODIES[route], "model": "absent"})
    assert check(response, 503)["code"] == "model_not_ready"
    assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("route", ["/load_model", "/set_model", "/unload_model"])
def test_no_path_is_a_model(http: httpx.Client, served: Served, route: str) -> None:
    for name in ("nobody", "../hello.gguf", "/etc/passwd", "hello.gguf", "C:\\hello.gguf", "hello\x00"):
        assert check(http.post(route, json={"name": name}), 404)["code"] == "model_not_found"


def test_fields_that_contradict_each_other(http: httpx.Client) -> None:
    assert check(http.post("/infer", json={"prompt": "a", "raw": True, "system": "b"}))["param"] == "system"
    body = {"prompt": "a", "min_tokens": 5, "max_tokens": 4}
    assert check(http.post("/infer", json=body))["param"] == "min_tokens"
    assert check(http.post("/infer", json={"prompt": "", "raw": True}))["code"] == "invalid_request"
    assert check(http.post("/tokenize", json={"text": "a", "messages": [{"role": "user", "content": "b"}]}))
    assert check(http.post("/detokenize", json={"tokens": [10**6]}))["param"] == "tokens"
    assert check(http.post("/v1/completions", json={"prompt": [10**6]}))["param"] == "prompt"
    assert check(http.post("/v1/completions", json={"prompt": ["a"] * 9, "n": 2}))["param"] == "n"
    assert check(http.post("/v1/completions", json={"prompt": []}))["param"].startswith("prompt")


def test_messages_are_checked_by_name(http: httpx.Client) -> None:
    def param(*messages: object) -> str:
        name = check(http.post("/v1/chat/completions", json={"messages": messages}))["param"]
        assert isinstance(name, str)
        return name

    good = {"role": "user", "content": "Hi"}
    assert param() == "messages"
    assert param(good, {"role": "robot", "content": "Hi"}) == "messages[1].role"
    assert param(good, {"role": "user"}) == "messages[1].content"
    assert param({"role": "user", "content": 5}) == "messages[0].content"
    assert param({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}).startswith(
        "messages[0].content"
    )
    assert param({"role": "tool", "content": "x"}) == "messages[0].role"
    assert param("Hi") == "messages[0]"


def test_a_great_many_bad_messages_are_refused_soon(http: httpx.Client) -> None:
    began = (
        time.process_time()
    )  # of the server too, which is a thread of ours: other work on the machine does not count
    check(http.post("/v1/chat/completions", json={"messages": [{}] * 400_000}))
    check(http.post("/v1/completions", json={"prompt": ["x"] * 400_000}))
    check(http.post("/detokenize", json={"tokens": ["x"] * 400_000}))
    check(http.post("/infer", json={"prompt": "x", "logit_bias": {str(n): "x" for n in range(100_000)}}))
    assert time.process_time() - began < 4


def test_hosts_and_origins(http: httpx.Client, served: Served) -> None:
    body = {"prompt": "Hi", "max_tokens": 1}
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "[::1", "a b"):
        assert check(http.post("/infer", json=body, headers={"Host": host}), 403)["code"] == "forbidden"
        check(http.get("/health", headers={"Host": host}), 403)
    for host in ("localhost", "localhost:9", "127.0.0.1", "[::1]:8081", "LOCALHOST"):
        assert http.post("/infer", json=body, headers={"Host": host}).status_code == 200
    for origin in ("http://evil.example", "null", "http://localhost:1", "https://127.0.0.1"):
        check(http.post("/infer", json=body, headers={"Origin": origin}), 403)
    assert http.post("/infer", json=body, headers={"Origin": served.url}).status_code == 200


def test_routes_that_are_not_there(http: httpx.Client) -> None:
    for path in ("/nowhere", "/v1/nowhere", "/infer/x", "/%2e%2e/etc/passwd", "/<script>", "/v1/models/a/b"):
        assert check(http.get(path), 404)["code"] == "not_found"
        check(http.post(path, json={}), 404)


def test_heads_that_never_end(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    for head in (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 10_000_000, b"GET /" + b"a" * 10_000_000):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            with contextlib.suppress(OSError):  # cut off in the middle, as it should be
                connection.sendall(head)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(4096).startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


def test_what_is_no_http(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        head, _, body = connection.recv(4096).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error"]["code"] == "invalid_request"


def test_heads_that_come_too_slowly(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_WITHIN_S", 0.2)
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"POST /infer HTTP/1.1\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")
        assert connection.recv(4096) == b""


def test_bodies_that_come_too_slowly(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "_BODY_WITHIN_S", 0.2)
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(
            b"POST /infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")
