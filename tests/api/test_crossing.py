"""Two people, every route with something of one's own in its path: to the other it is as if it were not there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fairlead.api.app import create_app
from fairlead.api.page import is_page
from tests.api.test_identity import client, make_keys
from tests.served import routes_of, serving, settings_with_models

SHARED = {"/models/{name}", "/v1/models/{name}"}
"""What everybody sees."""
BODIES = {
    ("PATCH", "/chats/{chat_id}"): {"title": "mine now"},
    ("POST", "/chats/{chat_id}/messages"): {"prompt": "Hi"},
    ("POST", "/collections/{name}/rows"): {"rows": [{"text": "mine"}]},
    ("POST", "/collections/{name}/search"): {"query": "secret"},
}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Anna and Ben, on a server that asks for keys."""
    settings = settings_with_models(tmp_path_factory.mktemp("crossed"))
    keys = asyncio.run(make_keys(settings, "anna", "ben"))
    with serving(settings) as server, client(server, keys["anna"]) as anna, client(server, keys["ben"]) as ben:
        yield anna, ben


def paths(tmp_path: Path) -> list[tuple[str, str]]:
    every = routes_of(create_app(settings_with_models(tmp_path)))
    named = [(method, path) for method, path in every if "{" in path and method != "HEAD"]
    return [(method, path) for method, path in named if path not in SHARED and not is_page(path)]


def test_every_route_crossed(people: tuple[httpx.Client, httpx.Client], tmp_path: Path) -> None:
    anna, ben = people
    chat = anna.post("/chats", json={"title": "secret"}).json()["chat_id"]
    attached = anna.post(f"/chats/{chat}/files", files={"file": ("a.txt", b"secret")})
    assert attached.status_code == 201, attached.text
    file_id = attached.json()["files"][0]["file_id"]
    made = anna.post("/collections", json={"name": "hers", "rows": [{"text": "secret"}]})
    assert made.status_code == 201, made.text
    names = {"chat_id": chat, "file_id": file_id, "name": "hers", "row_id": 1}
    unknown = {"chat_id": 999, "file_id": 999, "name": "none", "row_id": 999}
    crossed = paths(tmp_path)
    assert len(crossed) >= 10
    for method, path in crossed:
        assert set(re.findall(r"{(\w+)", path)) <= set(names), f"say how to make what {path} names"
        if path.endswith("/files") and method == "POST":
            sent: dict[str, object] = {"files": {"file": ("b.txt", b"mine")}}
        else:
            sent = {"json": BODIES[method, path]} if (method, path) in BODIES else {}
        answers = [
            ben.request(method, path.format(**ids) + "?user=anna", **sent)  # type: ignore[arg-type]  # a test's own
            for ids in (names, unknown)
        ]
        assert [answer.status_code for answer in answers] == [404, 404], (method, path, answers[0].text)
        told = [re.sub(r"\d+|hers|none", "N", answer.json()["error"]["message"]) for answer in answers]
        assert told[0] == told[1], (method, path)
    assert anna.get(f"/chats/{chat}").json()["title"] == "secret"
    assert anna.get("/collections/hers").json()["row_count"] == 1
    assert [found["name"] for found in ben.get("/collections", params={"user": "anna"}).json()["collections"]] == [
        "topics"
    ]
    assert ben.get("/history", params={"user": "anna", "q": "secret"}).json()["chats"] == []
    assert ben.get("/fetch", params={"user": "anna", "chat_id": chat}).status_code == 404
    body = {"user": "anna", "chat_id": chat, "prompt": "Hi"}
    assert ben.post("/generate", json=body).status_code == 404
