"""The OpenAPI description tells what every route answers; that it is true is seen by every test's client."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from fairlead.api.app import create_app
from fairlead.api.description import JSON, DescribedRoute
from fairlead.api.reference import page
from tests.described import Described
from tests.served import settings_with_models

HEALTH = '"status":"ok","version":"1","uptime_s":1.5,"active_model":null,"models":{"hello":"loaded"}'
QUEUED = '{"position":1,"estimated_wait_ms":null}'


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return create_app(settings_with_models(Path(tmp_path_factory.mktemp("described"))))


@pytest.fixture(scope="module")
def described(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def test_every_route_tells_what_it_answers(app: FastAPI, described: dict[str, Any]) -> None:
    routes = [route.original_route for route in iter_route_contexts(app.routes)]
    shown = [route for route in routes if isinstance(route, APIRoute) and route.include_in_schema]
    assert len(shown) > 50
    assert all(isinstance(route, DescribedRoute) for route in shown)
    for methods in described["paths"].values():
        for operation in methods.values():
            responses = operation["responses"]
            assert responses["default"]["content"][JSON]["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}
            assert responses.keys() - {"default"} <= {"200", "201", "503"}
            assert all(response["content"] for response in responses.values())


def test_forms_are_described_and_shown_with_what_the_address_says(described: dict[str, Any]) -> None:
    route = described["paths"]["/collections/file"]["post"]
    form = route["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"].keys() == {"file"}
    shown = page(described).partition("POST /collections/file")[2].partition("<h2>")[0]
    assert "<th>name</th><td>string, in the address, required</td>" in shown
    assert "<th>delimiter</th><td>string, in the address</td>" in shown
    assert "<th>file</th><td>file, required</td>" in shown


def test_what_is_named_is_there_and_nothing_else(described: dict[str, Any]) -> None:
    named = set(re.findall(r"'#/components/schemas/([^']+)'", str(described)))
    assert named == described["components"]["schemas"].keys()
    assert all(re.fullmatch(r"\w+", name) for name in named)


def test_fields_and_events_are_described(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    assert schemas["Model"]["properties"]["parameters"]["description"] == 'In words, such as "135M".'
    assert "match" not in schemas["ListedChat"]["required"]
    assert schemas["ModelQueue"]["required"] == list(schemas["ModelQueue"]["properties"])
    stream = described["paths"]["/infer_stream"]["post"]["responses"]["200"]["content"]
    assert stream == {"text/event-stream": {"schema": {"$ref": "#/components/schemas/InferEvents"}}}
    assert schemas["InferEvents"]["properties"].keys() == {"queued", "token", "done", "error"}


@pytest.mark.parametrize(
    ("method", "path", "status", "media_type", "body"),
    [
        ("GET", "/health", 200, JSON, f"{{{HEALTH}}}"),
        ("GET", "/health", 503, JSON, f'{{{HEALTH},"reason":"It drains."}}'),
        ("POST", "/infer_stream", 200, "text/event-stream", f": alive\n\nid: 1\nevent: queued\ndata: {QUEUED}\n\n"),
        ("GET", "/assets/a.js", 200, "text/javascript", "1"),
    ],
)  # fmt: skip
def test_what_is_described_passes(
    app: FastAPI, method: str, path: str, status: int, media_type: str, body: str
) -> None:
    assert answered(app, method, path, status, media_type, body) == body


@pytest.mark.parametrize(
    ("method", "path", "status", "media_type", "body"),
    [
        ("GET", "/health", 200, JSON, f'{{{HEALTH},"more":1}}'),
        ("GET", "/health", 200, JSON, f"{{{HEALTH.replace('1.5', 'true')}}}"),
        ("GET", "/health", 200, JSON, f"{{{HEALTH.replace('loaded', 'lost')}}}"),
        ("GET", "/health", 200, JSON, '{"status":"ok"}'),
        ("GET", "/health", 200, JSON, "null"),
        ("GET", "/health", 200, "text/plain", "ok"),
        ("GET", "/health", 201, JSON, f"{{{HEALTH}}}"),
        ("GET", "/health", 404, JSON, f"{{{HEALTH}}}"),
        ("GET", "/nowhere", 404, JSON, '{"detail":"Not Found"}'),
        ("POST", "/infer_stream", 200, "text/event-stream", "event: queued\ndata: {}\n\n"),
        ("POST", "/infer_stream", 200, "text/event-stream", f"event: waiting\ndata: {QUEUED}\n\n"),
        ("POST", "/infer_stream", 200, JSON, QUEUED),
    ],
)  # fmt: skip
def test_what_is_not_described_is_found(
    app: FastAPI, method: str, path: str, status: int, media_type: str, body: str
) -> None:
    with pytest.raises(AssertionError, match="described"):
        answered(app, method, path, status, media_type, body)


def answered(app: FastAPI, method: str, path: str, status: int, media_type: str, body: str) -> str:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"Content-Type": media_type}, stream=httpx.ByteStream(body.encode()))

    hooks = {"response": [Described(app).check]}
    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://server", event_hooks=hooks) as http:
        return http.request(method, path).text


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/hello", "/collections"])
def test_what_other_tests_read_by_clients_of_their_own(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 200
