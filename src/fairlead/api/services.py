"""What the routes work with: the services of one server, and the id of a request."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, Final, cast

from fastapi import Depends, Request

from fairlead import checks
from fairlead.api.schemas import UserName
from fairlead.errors import InvalidRequest
from fairlead.service.chats import Chats
from fairlead.service.conversations import Conversations
from fairlead.service.generation import Generator
from fairlead.service.metrics import Metrics
from fairlead.service.registry import Registry
from fairlead.service.request import NOBODY
from fairlead.service.store import Store
from fairlead.service.users import Users

USER_HEADER: Final = "X-Fairlead-User"


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one server."""

    registry: Registry
    generator: Generator
    users: Users
    metrics: Metrics
    store: Store
    chats: Chats
    conversations: Conversations
    started_at: float = field(default_factory=time.monotonic)

    async def person(self, asker: str, user: str | None = None) -> int:
        """The row of who asks, by the name that the request gives, else by the header; made where there is none."""
        return await self.chats.person(user or asker)


def services_of(request: Request) -> Services:
    """The services of the server that a request has come to."""
    return cast(Services, request.app.state.services)


def id_of(request: Request) -> str:
    """The id that a request goes by; its answers have the same."""
    return cast(str, request.state.request_id)


def asker_of(request: Request) -> str:
    """Who asks, by the header; a body's `user` stands above it. InvalidRequest where that is no name."""
    given = request.headers.get(USER_HEADER)
    if not given:
        return NOBODY
    try:
        return checks.user_name(given.encode("latin-1").decode())  # headers are bytes; people write UTF-8
    except ValueError:
        raise InvalidRequest(f"The header {USER_HEADER} is no user's name.", param=USER_HEADER) from None


Served = Annotated[Services, Depends(services_of)]
RequestId = Annotated[str, Depends(id_of)]
Asker = Annotated[str, Depends(asker_of)]


async def person_of(services: Served, asker: Asker, user: UserName | None = None) -> int:
    """The row of who asks; 0, which is nobody's, where they have never stored anything."""
    return await services.chats.known(user or asker)


Person = Annotated[int, Depends(person_of)]
