"""What the routes work with: the services of one server, and the id of a request."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from fairlead.service.generation import Generator
from fairlead.service.metrics import Metrics
from fairlead.service.registry import Registry


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one server."""

    registry: Registry
    generator: Generator
    metrics: Metrics
    started_at: float = field(default_factory=time.monotonic)


def services_of(request: Request) -> Services:
    """The services of the server that a request has come to."""
    return cast(Services, request.app.state.services)


def id_of(request: Request) -> str:
    """The id that a request goes by; its answers have the same."""
    return cast(str, request.state.request_id)


Served = Annotated[Services, Depends(services_of)]
RequestId = Annotated[str, Depends(id_of)]
