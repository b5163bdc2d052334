"""The bodies of the routes about models."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from fairlead import checks
from fairlead.api.schemas import Body, Name

ContextLength = Annotated[int, Field(ge=16, lt=2**31)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=300)]


KeepAlive = Annotated[float | Annotated[str, StringConstraints(max_length=40)], AfterValidator(checks.duration)]
"""Seconds, or such as "5m"; -1 is for ever."""


class ModelBody(Body):
    """Names a model."""

    name: Name


class LoadBody(ModelBody):
    """`POST /load_model`."""

    context_length: ContextLength | None = None
    keep_alive: KeepAlive | None = None
    pin: bool | None = None
    stream: bool = False

    @property
    def keep_alive_s(self) -> float | None:
        """How long to keep the model without a request, in seconds; infinite for ever."""
        return None if self.keep_alive is None else float(self.keep_alive)


class UnloadBody(ModelBody):
    """`POST /unload_model`."""

    force: bool = False


class EstimateBody(ModelBody):
    """`POST /models/estimate`."""

    context_length: ContextLength | None = None


class FetchBody(ModelBody):
    """`POST /models/pull` and `POST /models/verify`."""

    stream: bool = False


class AddBody(Body):
    """`POST /models`: a file on the hub. One on this machine is added by its operator, with `fairlead add`."""

    hub: Text
    file: Text
    revision: Text = "main"
    name: Name | None = None
