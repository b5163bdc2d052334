"""Files of chats over HTTP: a real server, real forms, the real reading process."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from fairlead.api import multipart
from fairlead.storage.blobs import Incoming
from fairlead.storage.database import Database
from tests.api.test_bad_input import check
from tests.documents import made
from tests.served import Served, serving, settings_with_models
from tests.service.attached import add_chats

MOST = 200_000
ANNA = {"X-Fairlead-User": "anna"}
BERT = {"X-Fairlead-User": "bert"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Served]:
    """A server on which "anna" has three chats and "bert" one."""
    with serving(settings_with_models(home, max_file_bytes=MOST, max_files_per_chat=30)) as running:

        async def prepare() -> None:
            database = Database.at(home / "fairlead.db")
            await add_chats(database, anna=3, bert=1)
            await database.close()

        asyncio.run(prepare())
        yield running


@pytest.fixture
def http(server: Served) -> Iterator[httpx.Client]:
    with server.http() as client:
        client.headers.update(ANNA)
        yield client


def attach(http: httpx.Client, files: dict[str, bytes], chat: int = 1, **more: Any) -> httpx.Response:
    return http.post(f"/chats/{chat}/files", files=[("file", (name, data)) for name, data in files.items()], **more)


def settled(http: httpx.Client, file: dict[str, Any], chat: int = 1) -> dict[str, Any]:
    for _ in range(1000):
        told: dict[str, Any] = http.get(f"/chats/{chat}/files/{file['file_id']}").json()
        if told["state"] != "parsing":
            return told
        time.sleep(0.02)
    raise AssertionError(f"still {told}")


def test_attach_look_take_out_and_remove(http: httpx.Client) -> None:
    pdf = made.pdf(["Ropes.", "Lines.", None])
    response = attach(http, {"größe 日本.pdf": pdf, "a.py": b"def f():\n    return 1\n"})
    assert response.status_code == 201
    first, second = response.json()["files"]
    assert (first["name"], first["kind"], first["size_bytes"]) == ("größe 日本.pdf", "pdf", len(pdf))
    assert first["created_at"].endswith("Z")
    told = settled(http, first)
    assert (told["state"], told["pages"], told["error"]) == ("ready", 3, None)
    assert told["note"] == "Page 3 is an image without text."
    assert told["progress"] is None
    assert settled(http, second)["characters"] == 22
    listed = http.get("/chats/1/files").json()["files"]
    assert [file["file_id"] for file in listed] == [first["file_id"], second["file_id"]]
    content = http.get(f"/chats/1/files/{first['file_id']}/content")
    assert content.content == pdf
    assert content.headers["Content-Type"] == "application/octet-stream"
    assert content.headers["X-Content-Type-Options"] == "nosniff"
    assert content.headers["Content-Disposition"].startswith("attachment; filename*=")
    for file in listed:
        removed = http.delete(f"/chats/1/files/{file['file_id']}")
        assert removed.json() == {"file_id": file["file_id"], "removed": True}
    assert http.get("/chats/1/files").json() == {"files": []}
    check(http.get(f"/chats/1/files/{first['file_id']}"), 404)
    check(http.delete(f"/chats/1/files/{first['file_id']}"), 404)


def test_a_page_is_served_as_a_download_alone(http: httpx.Client) -> None:
    (file,) = attach(http, {'x".html': b"<script>alert(1)</script><p>Hi"}).json()["files"]
    content = http.get(f"/chats/1/files/{file['file_id']}/content")
    assert content.headers["Content-Type"] == "application/octet-stream"
    assert content.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in content.headers["Content-Security-Policy"]
    http.delete(f"/chats/1/files/{file['file_id']}")


def test_a_file_that_cannot_be_read_says_why(http: httpx.Client) -> None:
    (file,) = attach(http, {"secret.pdf": made.pdf(["x"], password="p")}).json()["files"]
    told = settled(http, file)
    assert (told["state"], told["note"]) == ("failed", None)
    assert told["error"] == "It is encrypted: attach a copy without a password."


def test_progress_and_removal_while_a_file_is_parsed(http: httpx.Client) -> None:
    (file,) = attach(http, {"many.txt": b"- \n" * 60_000}, chat=2).json()["files"]
    assert file["state"] == "parsing"
    assert file["progress"]["phase"] == "waiting"
    http.delete(f"/chats/2/files/{file['file_id']}").raise_for_status()
    assert http.get("/chats/2/files").json() == {"files": []}
    assert not [child for child in psutil.Process().children() if "fairlead.documents.process" in child.cmdline()]


@pytest.mark.parametrize("path", ["files", "files/1", "files/1/content"])
def test_another_s_chat_is_none(http: httpx.Client, path: str) -> None:
    attach(http, {"a.txt": b"Anna's."}, chat=3).raise_for_status()
    missing = check(http.get("/chats/999/files"), 404)
    assert missing["code"] == "chat_not_found"
    for headers in (BERT, {"X-Fairlead-User": "nobody"}):
        told = check(http.get(f"/chats/3/{path}", headers=headers), 404)
        assert (told["code"], told["message"]) == (missing["code"], missing["message"])
    check(http.delete("/chats/3/files/1", headers=BERT), 404)
    check(http.post("/chats/3/files", headers=BERT, files={"file": ("a.txt", b"x")}), 404)
    assert http.get("/chats/3/files/1").status_code == 200
    assert http.get("/chats/3/files", params={"user": "anna"}, headers=BERT).status_code == 200, "user stands above"


@pytest.mark.parametrize(
    ("name", "data", "status", "code"),
    [
        ("a.exe", b"MZ", 415, "file_unsupported"),
        ("a.txt", b"\x7fELF" + bytes(99), 422, "file_unreadable"),
        ("a.pdf", b"no PDF", 422, "file_unreadable"),
        ("a.txt", b"", 422, "file_unreadable"),
        ("a.txt", b"x" * (MOST + 1), 413, "file_too_large"),
        ("a.txt", b"x" * (20 * MOST), 413, "file_too_large"),
    ],
)
def test_refused_files_leave_nothing(
    http: httpx.Client, home: Path, name: str, data: bytes, status: int, code: str
) -> None:
    before = http.get("/chats/2/files").json()
    error = check(attach(http, {"good.txt": b"Good.", name: data}, chat=2), status)
    assert error["code"] == code
    assert error["details"]["file"] == name
    assert http.get("/chats/2/files").json() == before
    assert not list((home / "files" / ".incoming").iterdir())


def test_hostile_names(http: httpx.Client) -> None:
    names = {b"../../x.txt": "x.txt", b"C:\\a\\b.txt": "b.txt", b"a%00b.txt": "a%00b.txt", b"\xff.txt": "ÿ.txt"}
    for sent, shown in names.items():
        body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\nHi\r\n--b--\r\n' % sent
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        response = http.post("/chats/2/files", content=body, headers=kind)
        assert response.status_code == 201, response.text
        (file,) = response.json()["files"]
        assert file["name"] == shown
        http.delete(f"/chats/2/files/{file['file_id']}")


PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nHi\r\n'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        PART,
        PART[:-4],
        b"--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nHi\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="other"; filename="a.txt"\r\n\r\nHi\r\n--b--\r\n',
        b"--b\r\nContent-Disposition: attachment\r\n\r\nHi\r\n--b--\r\n",
        b"--b\r\n\r\nHi\r\n--b--\r\n",
        b"--b\r\n" + b"X: y\r\n" * 100 + b"\r\nHi\r\n--b--\r\n",
        b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\nHi\r\n--b--\r\n",
        PART * 21 + b"--b--\r\n",
    ],
)
def test_forms_that_are_none(http: httpx.Client, home: Path, body: bytes) -> None:
    error = check(
        http.post("/chats/2/files", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    )
    assert error["code"] == "invalid_request"
    assert http.get("/chats/2/files").json() == {"files": []}
    incoming = home / "files" / ".incoming"
    assert not incoming.exists() or not list(incoming.iterdir())


def test_other_content_types(http: httpx.Client) -> None:
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        check(http.post("/chats/1/files", content=PART + b"--b--\r\n", headers={"Content-Type": kind}), 415)


def test_too_many_files(http: httpx.Client) -> None:
    attach(http, {f"{n}.txt": b"x" for n in range(20)}, chat=2).raise_for_status()
    error = check(attach(http, {f"{n}.txt": b"x" for n in range(11)}, chat=2), 409)
    assert "30 files" in error["message"]


@pytest.mark.parametrize("number", ["0", "-1", "x", "99999999999999999999"])
def test_numbers_that_are_none(http: httpx.Client, number: str) -> None:
    assert check(http.get(f"/chats/{number}/files"))["param"] == "chat_id"
    assert check(http.get(f"/chats/1/files/{number}"))["param"] == "file_id"


def test_a_sender_that_falls_silent(http: httpx.Client, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "_SILENT_FOR_S", 0.2)

    def sent() -> Iterator[bytes]:
        yield PART
        time.sleep(1)
        yield b"--b--\r\n"

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert check(http.post("/chats/1/files", content=sent(), headers=kind), 408)["code"] == "request_timeout"
    assert not list((home / "files" / ".incoming").iterdir())


def test_a_full_disk(http: httpx.Client, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(incoming: Incoming, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(incoming.path))

    with monkeypatch.context() as patched:
        patched.setattr(Incoming, "write", full)
        error = check(attach(http, {"a.txt": b"Text."}), 507)
        assert error["code"] == "storage_full"
        assert str(home) not in error["message"]
    assert not list((home / "files" / ".incoming").iterdir())
    (file,) = attach(http, {"a.txt": b"Text."}).json()["files"]
    assert settled(http, file)["state"] == "ready"
