"""Holds what a server answers to what its OpenAPI description says of it: every field is there, and no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_type_hints

import httpx
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import ConfigDict, TypeAdapter, ValidationError

from fairlead.api.description import JSON, DescribedRoute, answers_of
from fairlead.api.errors import ErrorResponse


class Described:
    """An application's description, as an event hook of clients that talk to it."""

    def __init__(self, app: FastAPI) -> None:
        self._routes = [
            route for route in iter_route_contexts(app.routes) if isinstance(route.original_route, DescribedRoute)
        ]

    def check(self, response: httpx.Response) -> None:
        """AssertionError for an answer that is not as described; of a stream it is raised where it is read."""
        answers = self._answers(response)
        if answers is None:
            return
        media_type = response.headers["content-type"].partition(";")[0]
        assert media_type in answers, f"{response.request.url.path} answers {media_type}, which is not described"
        shape = answers[media_type]
        if media_type == JSON:
            _check(response.read(), shape)
        elif shape is not None:
            assert isinstance(response.stream, httpx.SyncByteStream)
            response.stream = _Events(response.stream, get_type_hints(shape))

    def _answers(self, response: httpx.Response) -> Mapping[str, Any] | None:
        """What such a response may be, by media type; None where that is not described, as of the page's files."""
        method, path, status = response.request.method, response.request.url.path, response.status_code
        for route in self._routes:
            if method in (route.methods or ()) and route.path_regex.match(path):
                assert route.endpoint is not None
                if status in {route.status_code or 200, *route.responses}:
                    return answers_of(route.endpoint)
                assert status >= 400, f"{method} {path} answers {status}, which is not described"
        return None if status < 400 or method == "HEAD" else {JSON: ErrorResponse}


class _Events(httpx.SyncByteStream):
    """A stream of events, each of which is looked at before the reader has it."""

    def __init__(self, stream: httpx.SyncByteStream, shapes: dict[str, Any]) -> None:
        self._stream = stream
        self._shapes = shapes

    def __iter__(self) -> Iterator[bytes]:
        left = b""
        for chunk in self._stream:
            *events, left = (left + chunk).split(b"\n\n")
            for event in events:
                self._look_at(event)
            yield chunk

    def close(self) -> None:
        self._stream.close()

    def _look_at(self, event: bytes) -> None:
        lines = [line.partition(b": ") for line in event.split(b"\n")]
        fields = {name.decode(): value for name, _, value in lines if name}
        if fields and fields["data"] != b"[DONE]":
            name = fields.get("event", b"message").decode()
            assert name in self._shapes, f"the event {name} is not described"
            _check(fields["data"], self._shapes[name])


def _check(content: bytes, shape: Any) -> None:
    try:
        told = _adapter(shape).validate_json(content, strict=True)
    except ValidationError as error:
        raise AssertionError(f"{content[:500]!r} is not as described: {error}") from None
    assert told is not None, "null is not described"


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    # Pydantic takes a configuration for what has none itself, such as a union.
    return TypeAdapter(shape | None, config=ConfigDict(extra="forbid"))
