"""How routes answer: in JSON whose shape their annotations name.

`-> Json[Models]` has mypy hold the route to what it returns, and the OpenAPI description tell of it
(`description.py`). Nothing of that is looked at while the server runs: answers are written as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec
from fastapi.responses import JSONResponse, Response

T = TypeVar("T")

encode = msgspec.json.Encoder().encode
"""To JSON in UTF-8 on one line."""


class Json(JSONResponse, Generic[T]):
    """An answer in JSON."""

    def __init__(self, content: T, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status_code, headers)


class EncodedJson(Json[T]):
    """One that msgspec writes, which is quicker where there is much of it, and takes dataclasses."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return encode(content)


class Markdown(Response):
    """An answer to be read."""

    media_type = "text/markdown"
