"""What the routes work with: the services of one server, and the id of a request."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, Final, cast

from fastapi import Depends, Request

from fairlead import checks
from fairlead.api.schemas import UserName
from fairlead.errors import InvalidRequest
from fairlead.service.answering import Answers
from fairlead.service.chats import Chats
from fairlead.service.classification import Classifications
from fairlead.service.collections import Collections
from fairlead.service.conversations import Conversations
from fairlead.service.documents import ChatDocuments
from fairlead.service.embeddings import Embeddings
from fairlead.service.generation import Generator
from fairlead.service.metrics import Metrics
from fairlead.service.people import People
from fairlead.service.registry import Registry
from fairlead.service.request import NOBODY
from fairlead.service.store import Store
from fairlead.service.summaries import Summaries
from fairlead.service.tables import Tables
from fairlead.service.users import Users

USER_HEADER: Final = "X-Fairlead-User"


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one server."""

    registry: Registry
    generator: Generator
    embeddings: Embeddings
    users: Users
    metrics: Metrics
    store: Store
    people: People
    chats: Chats
    conversations: Conversations
    documents: ChatDocuments
    summaries: Summaries
    collections: Collections
    tables: Tables
    answers: Answers
    classifications: Classifications
    started_at: float = field(default_factory=time.monotonic)

    async def person(self, asker: str, user: str | None = None) -> int:
        """The row of who asks: of a body's or a query's `user`, else of an `Asker`."""
        return await self.people.row(user or asker)


def services_of(request: Request) -> Services:
    """The services of the server that a request has come to."""
    return cast(Services, request.app.state.services)


def id_of(request: Request) -> str:
    """The id that a request goes by; its answers have the same."""
    return cast(str, request.state.request_id)


def proven_of(request: Request) -> str | None:
    """Who asks, where a key proves it; None where the server asks for none."""
    return cast(str | None, getattr(request.state, "person", None))


def asker_of(request: Request) -> str:
    """Who asks: the key's holder; where the server asks for none, whom the header names. InvalidRequest for no name.

    A body's or a query's `user` stands above it: with a key, it is the key's holder, too.
    """
    if (person := proven_of(request)) is not None:
        return person
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
Proven = Annotated[str | None, Depends(proven_of)]


async def person_of(services: Served, asker: Asker, user: UserName | None = None) -> int:
    """The row of who asks; 0, which is nobody's, where they have never stored anything."""
    return await services.people.known(user or asker)


Person = Annotated[int, Depends(person_of)]
