"""A hub on loopback: it serves one file as the Hugging Face hub does, and as badly as a test wants."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

CONTENT = b"GGUF" + bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "c" * 40


@dataclass
class Hub:
    """What the loopback hub serves and how badly; `requests` are (method, path, range)."""

    url: str = ""
    content: bytes = CONTENT
    sha256: str | None = SHA256
    status: int = 200
    error_code: str | None = None
    ranges: bool = True
    cdn: bool = False
    cuts: list[int] = field(default_factory=list)
    """For each answer still to be cut off: after how many bytes."""
    hold: threading.Event = field(default_factory=threading.Event)
    """While it is not set, downloads stop after their first bytes."""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hold.set()

    def downloads(self) -> list[str | None]:
        """The ranges asked for, one for each download."""
        return [asked for method, _, asked in self.requests if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[Hub]

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub = self.hub
        hub.requests.append((self.command, self.path, self.headers.get("Range")))
        hub.tokens.append(self.headers.get("Authorization"))
        if hub.status != 200:
            self.send_response(hub.status)
            if hub.error_code:
                self.send_header("X-Error-Code", hub.error_code)
            self.end_with(b"")
        elif hub.cdn and not self.path.startswith("/cdn/"):
            self.send_response(302)
            self.send_header("Location", hub.url.replace("127.0.0.1", "localhost") + "/cdn/tiny")
            self.send_metadata()
            self.end_with(b"")
        else:
            self.send_file()

    def send_metadata(self) -> None:
        self.send_header("X-Repo-Commit", COMMIT)
        if self.hub.sha256:
            self.send_header("X-Linked-Etag", f'"{self.hub.sha256}"')
        self.send_header("X-Linked-Size", str(len(self.hub.content)))

    def send_file(self) -> None:
        hub = self.hub
        asked = self.headers.get("Range")
        whole = asked is None or not hub.ranges
        first, _, last = (asked or "").removeprefix("bytes=").partition("-")
        start, end = (0, len(hub.content) - 1) if whole else (int(first), int(last or len(hub.content) - 1))
        body = hub.content[start : end + 1]
        self.send_response(200 if whole else 206)
        if not whole:
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(hub.content)}")
        self.send_metadata()
        self.send_header("ETag", '"' + "e" * 40 + '"')
        cut = hub.cuts.pop(0) if self.command == "GET" and hub.cuts else None
        self.end_with(body, cut)

    def end_with(self, body: bytes, cut: int | None = None) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:100][:cut])
            self.wfile.flush()
            self.hub.hold.wait(20)
            self.wfile.write(body[100:cut])
            self.wfile.flush()
        if cut is not None:
            self.close_connection = True


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve this hub; its `url` is set."""

    class OfThisHub(Handler):
        pass

    OfThisHub.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), OfThisHub)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
