"""Who asks: with keys and without, on every route."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from fairlead.api.app import create_app
from fairlead.api.page import is_page
from fairlead.config import Settings, UserSettings
from fairlead.service.keys import Keys
from fairlead.service.store import opened
from tests.served import Served, routes_of, serving, settings_with_models

USERS = {"carl": UserSettings(tokens_per_day=10)}


async def make_keys(settings: Settings, *names: str) -> dict[str, str]:
    async with opened(settings) as database:
        keys = Keys(database, settings.key_secret)
        return {name: await keys.add(name) for name in names}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_with_models(tmp_path_factory.mktemp("secured"), users=USERS)


@pytest.fixture(scope="module")
def keys(settings: Settings) -> dict[str, str]:
    return asyncio.run(make_keys(settings, "anna", "ben", "carl"))


@pytest.fixture(scope="module")
def secured(settings: Settings, keys: dict[str, str]) -> Iterator[Served]:
    """A server that asks for keys."""
    with serving(settings) as server:
        yield server


def client(server: Served, key: str | None = None, **headers: str) -> httpx.Client:
    given = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=server.url, timeout=20, trust_env=False, headers={**given, **headers})


def tokens_of(server: Served, key: str) -> int:
    with client(server, key) as http:
        return int(http.get("/me").json()["used"]["tokens_today"])


def test_every_route_but_two_and_the_page_asks_for_a_key(secured: Served, settings: Settings) -> None:
    every = routes_of(create_app(settings))
    assert len(every) > 20
    with client(secured) as nobody, client(secured, "fl_" + "x" * 43) as stranger:
        for method, path in every:
            for http in (nobody, stranger):
                response = http.request(method, re.sub(r"{.*?}", "1", path))
                if path in ("/health", "/metrics") or is_page(path):
                    assert response.status_code == (404 if path.startswith("/assets/") else 200)
                    continue
                assert response.status_code == 401, (method, path)
                assert response.headers["WWW-Authenticate"].startswith("Bearer")
                if method != "HEAD":
                    error = response.json()["error"]
                    assert (error["code"], error["type"]) == ("unauthorized", "authentication_error")
        assert nobody.get("/no/such/route").status_code == 401


def test_the_key_names_the_user_whatever_else_says_otherwise(secured: Served, keys: dict[str, str]) -> None:
    with client(secured, keys["anna"], **{"X-Fairlead-User": "ben"}) as http:
        for query in ("", "?user=ben", "?%75ser=ben", "?user=anna&user=ben", "?x=1&user="):
            assert http.get(f"/me{query}").json()["user"] == "anna", query
        assert http.get("/queue?user=ben").json()["user"] == "anna"
        before = [tokens_of(secured, keys[name]) for name in ("anna", "ben")]
        body = {"prompt": "Hi", "model": "hello", "user": "ben"}
        http.post("/infer", json=body).raise_for_status()
        messages = [{"role": "user", "content": "Hi"}]
        http.post(
            "/v1/chat/completions", json={"model": "hello", "messages": messages, "user": "ben"}
        ).raise_for_status()
        after = [tokens_of(secured, keys[name]) for name in ("anna", "ben")]
        assert after[0] > before[0]
        assert after[1] == before[1]


def test_openais_client_sends_its_key_this_way(secured: Served, keys: dict[str, str]) -> None:
    for key, works in ((keys["ben"], True), ("sk-none", False)):
        with openai.OpenAI(base_url=f"{secured.url}/v1", api_key=key, max_retries=0) as ours:
            if works:
                assert [model.id for model in ours.models.list()] == ["hello"]
            else:
                with pytest.raises(openai.AuthenticationError):
                    ours.models.list()


def test_only_ones_own_requests_can_be_cancelled(secured: Served, keys: dict[str, str]) -> None:
    with client(secured, keys["anna"]) as anna, client(secured, keys["ben"]) as ben:
        anna.post("/load_model", json={"name": "slow"}).raise_for_status()
        headers = {"X-Request-Id": "annas"}
        body = {"prompt": "Hi", "model": "slow", "max_tokens": 200}
        with anna.stream("POST", "/infer_stream", json=body, headers=headers) as response:
            events = response.iter_lines()
            next(events)
            assert ben.post("/cancel", json={"id": "annas"}).status_code == 404
            assert ben.post("/cancel", json={"id": "none"}).status_code == 404
            assert anna.post("/cancel", json={"id": "annas"}).status_code == 200
            assert any("cancelled" in line for line in events)


def test_who_had_the_tokens_of_the_day_waits_for_the_next(secured: Served, keys: dict[str, str]) -> None:
    with client(secured, keys["carl"]) as carl, client(secured, keys["ben"]) as ben:
        body = {"prompt": "Hello", "model": "hello"}
        carl.post("/infer", json=body).raise_for_status()
        response = carl.post("/infer", json=body)
        assert response.status_code == 429
        assert response.json()["error"]["code"] == "tokens_used_up"
        assert 0 < int(response.headers["Retry-After"]) <= 86_400
        told = carl.get("/me").json()
        assert told["limits"]["tokens_per_day"] == 10
        assert told["used"]["tokens_today"] >= 10
        assert told["secured"] is True
        ben.post("/infer", json=body).raise_for_status()


def test_a_running_server_follows_what_happens_to_keys(tmp_path: Path) -> None:
    settings = settings_with_models(tmp_path)

    async def revoke() -> None:
        async with opened(settings) as database:
            await Keys(database, settings.key_secret).revoke(1)

    with serving(settings, None) as server:
        with client(server, None, **{"X-Fairlead-User": "dora"}) as http:
            told = http.get("/me").json()
            assert (told["user"], told["secured"]) == ("dora", False)
        key = asyncio.run(make_keys(settings, "anna"))["anna"]
        time.sleep(1.1)
        with client(server) as nobody, client(server, key) as anna:
            assert nobody.get("/me").status_code == 401
            assert anna.get("/me").json()["user"] == "anna"
            asyncio.run(revoke())
            time.sleep(1.1)
            assert anna.get("/me").status_code == 401
