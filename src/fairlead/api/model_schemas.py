"""The bodies of the routes about models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from fairlead.api.schemas import Body, KeepAlive, Name

ContextLength = Annotated[int, Field(ge=16, lt=2**31)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=300)]


class ModelBody(Body):
    """Names a model."""

    name: Name


class LoadBody(ModelBody):
    """`POST /load_model`."""

    context_length: ContextLength | None = None
    keep_alive: KeepAlive | None = None
    pin: bool | None = None
    stream: bool = False


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
