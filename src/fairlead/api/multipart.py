"""Forms with files (RFC 7578), read as they come: nothing of a file is held in memory for longer than a moment.

`FilesRoute` is the class of routes that take such forms and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fairlead.api.description import DescribedRoute
from fairlead.errors import InvalidRequest

_SILENT_FOR_S: Final = 30.0
"""A sender that says nothing for so long is given up,"""
_WITHIN_S: Final = 900.0
"""and one that takes so long for the whole form."""


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part of a form: a field, or a file where it has a file's name."""

    field: str
    file_name: str | None


@dataclass(frozen=True, slots=True)
class PartEnds:
    """Nothing more comes of the part that began last."""


FormEvent = PartBegins | bytes | PartEnds

_FILE: Final = {"type": "string", "contentMediaType": "application/octet-stream"}
_FORM: Final = {"schema": {"type": "object", "properties": {"file": _FILE}, "required": ["file"]}}
_DESCRIBED: Final = {"requestBody": {"required": True, "content": {"multipart/form-data": _FORM}}}
"""What FastAPI cannot know, as it does not read these forms."""


class FilesRoute(DescribedRoute):
    """A route whose body is a form with files; its handler reads it by `form_events`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **given: Any) -> None:
        super().__init__(path, endpoint, **{**given, "openapi_extra": _DESCRIBED})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler behind the check of the content type."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            _boundary(request)
            try:
                return await handle(request)
            except ClientDisconnect:
                raise HTTPException(400, "The connection was closed before the form was whole.") from None

        return checked


async def form_events(request: Request) -> AsyncGenerator[FormEvent]:
    """The parts of a form, the bytes of each as they come.

    Raises:
        InvalidRequest: it is no form, or not a whole one.
        HTTPException: it comes too slowly, or not at all any more.
    """
    parser = _Parser(_boundary(request))
    chunks = aiter(request.stream())
    ends_at = asyncio.get_running_loop().time() + _WITHIN_S
    while (chunk := await _next(chunks, ends_at)) is not None:
        for event in parser.feed(chunk):
            yield event
    if not parser.is_whole:
        raise InvalidRequest("The form is cut short: its last boundary is missing.")


async def _next(chunks: AsyncIterator[bytes], ends_at: float) -> bytes | None:
    """The next bytes, None at the end; HTTPException 408 where they do not come."""
    try:
        async with asyncio.timeout_at(ends_at), asyncio.timeout(_SILENT_FOR_S):
            return await anext(chunks, None)
    except TimeoutError:
        raise HTTPException(408, "The form took too long to arrive.") from None


class _Parser:
    """Bytes in, events out."""

    def __init__(self, boundary: bytes) -> None:
        self.is_whole = False
        self._events: list[FormEvent] = []
        self._headers: dict[bytes, bytes] = {}
        self._name = bytearray()
        self._value = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": lambda data, begin, end: self._name.extend(data[begin:end]),
                "on_header_value": lambda data, begin, end: self._value.extend(data[begin:end]),
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": lambda data, begin, end: self._events.append(data[begin:end]),
                "on_part_end": lambda: self._events.append(PartEnds()),
                "on_end": self._on_end,
            },
        )

    def feed(self, data: bytes) -> list[FormEvent]:
        """What these bytes come to."""
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise InvalidRequest(f"The body is no form that can be read: {error}") from None
        events, self._events = self._events, []
        return events

    def _on_header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._headers.clear()
        if kind != b"form-data" or b"name" not in options:
            raise InvalidRequest("Each part of the form needs Content-Disposition: form-data with a name.")
        name = options.get(b"filename")
        self._events.append(PartBegins(_text(options[b"name"]), None if name is None else _text(name)))

    def _on_end(self) -> None:
        self.is_whole = True


def _text(value: bytes) -> str:
    """What people's programs write into headers is UTF-8, or Latin-1 where they are old."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _boundary(request: Request) -> bytes:
    """What parts the form; HTTPException 415 where the body is none."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 70:  # RFC 2046, 5.1.1
        raise HTTPException(415, "Send files as Content-Type: multipart/form-data, each in a field named file.")
    return boundary
