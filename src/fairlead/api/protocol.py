"""HTTP on the wire: uvicorn's protocol with bounds on a request's head, which it does not set itself."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fairlead.api.errors import http_error

MAX_HEAD_BYTES: Final = 64 << 10
HEAD_WITHIN_S: Final = 30.0


class BoundedProtocol(HttpToolsProtocol):
    """A connection that ends where a request's line and headers are malformed, too long, or too slow to come."""

    _in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """A client has connected, and is to send a request."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some more bytes."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"The request's line and headers may have {MAX_HEAD_BYTES} bytes at most.")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is here, and the application's turn comes."""
        self._head_is_here()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, msg)

    def _expect_head(self) -> None:
        self._head_is_here()
        self._in_head = True
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(
            HEAD_WITHIN_S, self._refuse, 408, f"The request took longer than {HEAD_WITHIN_S:.0f} s to arrive."
        )

    def _head_is_here(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, message: str) -> None:
        self._head_is_here()
        if self.transport.is_closing():
            return
        response = http_error(status, message, {"Connection": "close"})
        lines = [b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())]
        lines += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()
