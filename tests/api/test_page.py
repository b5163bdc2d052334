"""The page as it is served: what a browser is told about it, and what it is sent."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from fairlead.api import errors, page
from fairlead.api.app import create_app
from fairlead.config import Settings

SCRIPT = b"console.log(1);" * 20


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>Fairlead</title>")
    (tmp_path / "favicon.svg").write_text("<svg/>")
    (tmp_path / "assets" / "index-1a2b.js").write_bytes(SCRIPT)
    (tmp_path / "assets" / "index-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT))
    (tmp_path / "assets" / "index-1a2b.js.br").write_bytes(b"brotli")
    (tmp_path / "assets" / "stray.map").write_text("{}")
    return tmp_path


@pytest.fixture
def http(built: Path) -> Iterator[TestClient]:
    app = FastAPI()
    errors.install(app)
    page.install(app, built)
    with TestClient(app) as client:
        yield client


def test_start_is_revalidated_each_time(http: TestClient) -> None:
    first = http.get("/")
    assert first.status_code == 200
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    again = http.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_hashed_files_are_kept_for_ever(http: TestClient) -> None:
    answer = http.get("/assets/index-1a2b.js", headers={"Accept-Encoding": "identity"})
    assert answer.content == SCRIPT
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("gzip, br", "br"),
        ("GZIP;q=0.5, br;q=0", "gzip"),
        ("br;q=0.0, gzip;q=0", None),
        ("brotli", None),
        ("", None),
    ],
)
def test_compressed_for_those_who_take_it(built: Path, accepted: str, encoding: str | None) -> None:
    answer = page.page_files(built)["assets/index-1a2b.js"].response(accepted, None)
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "Accept-Encoding"


def test_policy_and_sniffing_on_every_file(http: TestClient) -> None:
    for path in ("/", "/favicon.svg", "/assets/index-1a2b.js"):
        headers = http.get(path, headers={"Accept-Encoding": "gzip"}).headers
        assert headers["content-security-policy"] == page.POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_policy_allows_nothing_inline_and_nobody_else() -> None:
    assert "unsafe" not in page.POLICY
    assert "http" not in page.POLICY
    assert "*" not in page.POLICY
    assert page.POLICY.startswith("default-src 'none'")


@pytest.mark.parametrize(
    "path",
    ["/assets/nothing.js", "/assets/..%2Findex.html", "/assets/stray.map", "/assets/index-1a2b.js.gz", "/index.html"],
)
def test_nothing_else_is_served(http: TestClient, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_head_has_no_body(http: TestClient) -> None:
    answer = http.head("/")
    assert (answer.status_code, answer.content) == (200, b"")


def test_not_built_is_not_served(tmp_path: Path) -> None:
    app = FastAPI()
    errors.install(app)
    assert not page.install(app, tmp_path / "none")
    with TestClient(app) as client:
        assert client.get("/").status_code == 404


def test_not_built_is_told_where_it_would_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(page, "page_files", lambda _: {})
    app = create_app(Settings(tmp_path, default_model=None))
    assert app.openapi()["paths"]
    assert "make build" not in caplog.text
    with TestClient(app):
        assert "make build" in caplog.text


def test_the_page_asks_for_no_key_and_all_else_does() -> None:
    assert all(map(page.is_page, ("/", "/favicon.svg", "/assets/index-1a2b.js")))
    assert not any(map(page.is_page, ("/chats", "/assets", "/favicon.svg/x", "/index.html", "//", "")))
