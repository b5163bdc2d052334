"""The OpenAPI description: what routes take, as FastAPI has it, and what they answer, out of their annotations.

A route that returns `Json[Models] | EventStream[LoadEvents]` answers one of these with its status, and an
`ErrorResponse` with every other. Of a stream it is told what each event says, by the event's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from operator import or_
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import ConfigDict, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from fairlead.api.errors import ErrorResponse

JSON: Final = "application/json"
_SCHEMAS: Final = "#/components/schemas/"
_UNTOLD: Final = ("HTTPValidationError", "ValidationError")
"""FastAPI's own errors, which no route answers."""


class DescribedRoute(APIRoute):
    """A route whose answer is described, and sent as it is: FastAPI would make a model of its annotation, and check."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **given: Any) -> None:
        super().__init__(path, endpoint, **{**given, "response_model": None})


class DescribedApp(FastAPI):
    """An application whose description tells what its routes answer, too."""

    def openapi(self) -> dict[str, Any]:
        """The description."""
        if self.openapi_schema is None:
            described = super().openapi()
            shapes: set[Any] = {ErrorResponse}
            for route in iter_route_contexts(self.routes):
                if isinstance(route.original_route, DescribedRoute):
                    answers = answers_of(route.original_route.endpoint)
                    shapes |= {shape for shape in answers.values() if shape is not None}
                    for method in route.methods or ():
                        operation = described["paths"][route.path_format][method.lower()]
                        operation["responses"] = dict(_responses(operation["responses"], answers))
            components = described["components"]["schemas"]
            for name in _UNTOLD:
                components.pop(name, None)
            told = _schemas(shapes)
            assert components.keys().isdisjoint(told), "a body and an answer go by the same name"
            components |= told
        return self.openapi_schema or {}


def answers_of(endpoint: Callable[..., Any]) -> Mapping[str, Any]:
    """What a route answers, by media type; None where that is not made of JSON."""
    told = get_type_hints(endpoint)["return"]
    answers = {}
    for option in get_args(told) if get_origin(told) is Union else (told,):
        media_type = (get_origin(option) or option).media_type or "application/octet-stream"
        answers[media_type] = next(iter(get_args(option)), None)
    return answers


def _responses(declared: Mapping[str, Any], answers: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A route's responses by status, of which FastAPI has declared some."""
    content = {media_type: {"schema": _schema(shape)} for media_type, shape in answers.items()}
    for status, response in declared.items():
        if status != "422":
            yield status, {"description": response["description"], "content": content}
    refused = {JSON: {"schema": _schema(ErrorResponse)}}
    yield "default", {"description": "It is refused, or has failed", "content": refused}


def _schema(shape: Any) -> Mapping[str, str]:
    return {"type": "string"} if shape is None else {"$ref": f"{_SCHEMAS}{shape.__name__}"}


def _schemas(shapes: set[Any]) -> Mapping[str, Any]:
    """The schemas of these and of all that they hold, by name."""
    every: TypeAdapter[Any] = TypeAdapter(reduce(or_, shapes), config=ConfigDict(use_attribute_docstrings=True))
    told = every.json_schema(ref_template=_SCHEMAS + "{model}", schema_generator=_Answered)
    return dict(sorted(told["$defs"].items()))


class _Answered(GenerateJsonSchema):
    """As answers are: a default is for who makes one, and the name of a field says what a title would."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return field["type"] == "dataclass-field" or super().field_is_required(field, total)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's
        return False
