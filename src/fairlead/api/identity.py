"""Who asks, decided in one place: before any route sees a request.

Where the server asks for keys, the key names the user. A `user` in the query, in a body or in a header cannot override
that: it is replaced by the key's, here and in `JsonRequest`, so that no route has to think of it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fairlead.api import page
from fairlead.api.errors import response_of
from fairlead.errors import FairleadError
from fairlead.service.keys import Keyring

PUBLIC: Final = frozenset({"/health", "/metrics"})
"""Paths that ask for no key, besides the web page's; metrics are told to this machine alone."""


class Identity:
    """Asks for keys, and notes as `state.person` whose each is."""

    def __init__(self, app: ASGIApp, keyring: Keyring) -> None:
        self._app = app
        self._keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and not _is_public(scope["path"]):
            given = Headers(scope=scope).getlist("authorization")
            try:
                person = await self._keyring.holder(given[0] if len(given) == 1 else None)
            except FairleadError as error:
                await response_of(error)(scope, receive, send)
                return
            if person is not None:
                scope["state"]["person"] = person
                scope["query_string"] = _named(scope["query_string"], person)
        await self._app(scope, receive, send)


def _is_public(path: str) -> bool:
    return path in PUBLIC or page.is_page(path)


def _named(query: bytes, person: str) -> bytes:
    """A query whose `user`, where it has one, is this person."""
    if not query:
        return query
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    if not any(name == "user" for name, _ in pairs):
        return query
    return urlencode([(name, person if name == "user" else value) for name, value in pairs]).encode()
