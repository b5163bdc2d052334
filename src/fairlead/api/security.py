"""What is checked at the door, before any route sees a request: who is spoken to, from where, and with what.

`Door` is ASGI middleware for the `Host` and `Origin` of every request. `JsonRoute` is the class of all
routes: it takes bodies of JSON alone, of a bounded size, sent in a bounded time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Callable, Collection, Coroutine
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import pydantic_core
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fairlead.api.description import DescribedRoute
from fairlead.api.errors import http_error
from fairlead.errors import ConfigError

MAX_BODY_BYTES: Final = 2 << 20
"""Four times the text of a 128 thousand token context."""
_BODY_WITHIN_S: Final = 30.0
_WITH_A_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
"""A page cannot send DELETE elsewhere without asking first, and that is refused by its `Origin`."""


class Door:
    """Refuses requests for other hosts (DNS rebinding) and from other sites' pages.

    Args:
        app: what stands behind.
        hosts: names that the server answers to besides the loopback ones.
        origins: origins of web pages that may call it besides its own.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(headers.getlist("host"), headers.getlist("origin"))
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await http_error(403, refusal)(scope, receive, send)

    def _refusal(self, hosts: list[str], origins: list[str]) -> str | None:
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return "This server does not answer to this Host; allowed_hosts in fairlead.toml adds names."
        host = hosts[0].lower()
        own = {f"http://{host}", f"https://{host}"}
        if any(origin.lower() not in own | self._origins for origin in origins):
            return "Pages of this Origin may not call the server; allowed_origins in fairlead.toml adds some."
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._hosts or name == "localhost" or is_loopback(name)


def is_local(host: str) -> bool:
    """Whether a server that listens there can be reached from this machine alone; ConfigError for no address."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"The host {host!r} is no address to listen on: {error}.", param="host") from None
    return all(is_loopback(str(address[0])) for *_, address in found)


def is_loopback(address: str) -> bool:
    """Whether this is the numeric address of the machine itself."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class JsonRequest(Request):
    """A request whose body is bounded and read by a parser that withstands hostile JSON."""

    most_bytes: ClassVar[int] = MAX_BODY_BYTES

    async def body(self) -> bytes:
        """The body; HTTPException 413 or 408 where it is too large or too slow."""
        if not hasattr(self, "_body"):
            try:
                async with asyncio.timeout(_BODY_WITHIN_S):
                    self._body = await self._read()
            except TimeoutError:
                raise HTTPException(408, f"The body took longer than {_BODY_WITHIN_S:.0f} s to arrive.") from None
        return self._body

    async def json(self) -> Any:
        """The body's value.

        Nesting, numbers and strings are bounded by the parser; what is not UTF-8, a lone surrogate or a
        number that JSON does not have is refused. Raises json.JSONDecodeError, which FastAPI knows.
        """
        try:
            value = pydantic_core.from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from None
        person = self.scope["state"].get("person")
        if person is not None and isinstance(value, dict) and "user" in value:
            value["user"] = person  # the key says who asks, whatever the body does
        return value

    async def _read(self) -> bytes:
        declared = self.headers.get("content-length", "0")
        chunks = bytearray()
        if not declared.isdecimal() or int(declared[:20]) <= self.most_bytes:
            async for chunk in self.stream():
                chunks += chunk
                if len(chunks) > self.most_bytes:
                    break
            else:
                return bytes(chunks)
        raise HTTPException(413, f"The body may have {self.most_bytes} bytes at most.")


class JsonRoute(DescribedRoute):
    """A route whose body, where its method has one, is JSON."""

    request_class: ClassVar[type[JsonRequest]] = JsonRequest

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler behind the check of the content type."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if request.method in _WITH_A_BODY and not _is_json(request.headers.get("content-type", "")):
                raise HTTPException(415, "Send the body as Content-Type: application/json.")
            return await handle(self.request_class(request.scope, request.receive))

        return checked


def _is_json(content_type: str) -> bool:
    """Whether this is JSON in UTF-8."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = {part.removeprefix("charset=").strip('"') for part in parameters if part.startswith("charset=")}
    return kind == "application/json" and charsets <= {"utf-8", "utf8"}
