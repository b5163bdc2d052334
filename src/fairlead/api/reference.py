"""`GET /docs`: the OpenAPI description as a page to read.

Plain HTML, made here: the usual viewers fetch their scripts from other hosts, and nothing that people open here
may leave this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, th { font-family: ui-monospace, monospace; font-size: 0.9em; } th { text-align: left; font-weight: normal; }
td, th { padding: 0 1rem 0 0; vertical-align: top; } h2 { font-size: 1.1rem; margin: 2rem 0 0; }
:root { color-scheme: light dark; }
"""

Schema = Mapping[str, Any]


def install(app: FastAPI) -> None:
    """Add the page to an application whose routes are all there."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()))


def page(description: Schema) -> str:
    """The page for an OpenAPI description."""
    schemas = description["components"]["schemas"]
    title = escape(f"{description['info']['title']} {description['info']['version']}")
    routes = "".join(
        part
        for path, methods in description["paths"].items()
        for method, route in methods.items()
        for part in _route(method, path, route, schemas)
    )
    bodies = {_name(_body(route)) for methods in description["paths"].values() for route in methods.values()}
    shapes = "".join(_shape(name, schema) for name, schema in schemas.items() if name not in bodies)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f'<h1>{title}</h1><p>For programs: <a href="/openapi.json">openapi.json</a>. What cannot be done is answered '
        f"with {_link('ErrorResponse')}.</p>{routes}<h1>What these names stand for</h1>{shapes}</html>"
    )


def _route(method: str, path: str, route: Schema, schemas: Schema) -> Iterator[str]:
    yield f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2><p>{escape(route.get('description', ''))}</p>"
    yield _table([*_parameters(route), *_fields(route, schemas)])
    answers = {
        _answer(media_type, told["schema"]): None
        for status, response in route["responses"].items()
        if status != "default"
        for media_type, told in response["content"].items()
    }
    yield f"<p>Answers {', or '.join(answers)}.</p>"


def _parameters(route: Schema) -> Iterator[tuple[str, str]]:
    """What may be said in the address, behind the path."""
    for parameter in route.get("parameters", ()):
        if parameter["in"] == "query":
            required = ", required" if parameter.get("required") else ""
            yield parameter["name"], f"{_kind(parameter['schema'], null=False)}, in the address{required}"


def _fields(route: Schema, schemas: Schema) -> Iterator[tuple[str, str]]:
    """What the body may have."""
    body = _body(route)
    told = schemas.get(_name(body), body)
    for name, field in told.get("properties", {}).items():
        yield name, f"{_kind(field, null=False)}{', required' if name in told.get('required', ()) else ''}"


def _body(route: Schema) -> Schema:
    """The body's schema; of a form, as of JSON, there is one."""
    content: Schema = route.get("requestBody", {}).get("content", {})
    return next((told["schema"] for told in content.values()), {})


def _answer(media_type: str, schema: Schema) -> str:
    if "$ref" not in schema:
        return escape(media_type)
    return f"{_kind(schema)} as events" if media_type == "text/event-stream" else _kind(schema)


def _shape(name: str, schema: Schema) -> str:
    required = set(schema.get("required", ()))
    table = _table(
        (field, f"{_kind(told)}{'' if field in required else ', optional'}", escape(told.get("description", "")))
        for field, told in schema.get("properties", {}).items()
    )
    told = escape(schema.get("description", ""))
    return f'<h2 id="{escape(name)}"><code>{escape(name)}</code></h2><p>{told}</p>{table}'


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    """A table of names, each with what there is to say of it."""
    told = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for name, *cells in rows
    )
    return f"<table>{told}</table>" if told else ""


def _kind(field: Schema, *, null: bool = True) -> str:
    """A field's type in a few words, with its limits. `null` is whether to say where it may be that."""
    if "anyOf" in field:
        kinds = [_kind(option, null=null) for option in field["anyOf"]]
        return " or ".join(kind for kind in kinds if null or kind != "null")
    if "$ref" in field:
        return _link(_name(field))
    if "enum" in field or "const" in field:
        return escape(" or ".join(f'"{value}"' for value in field.get("enum", [field.get("const")])))
    limits = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    bounds = " ".join(f"{word} {field[limit]:.15g}" for limit, word in limits.items() if limit in field)
    kind = "file" if "contentMediaType" in field else escape(str(field.get("type", "any")))
    if kind == "array":
        kind = f"array of {_kind(field.get('items', {}))}"
    if kind == "object" and isinstance(field.get("additionalProperties"), Mapping):
        kind = f"object of {_kind(field['additionalProperties'])}"
    return f"{kind} {bounds}".strip()


def _name(schema: Schema) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _link(name: str) -> str:
    return f'<a href="#{escape(name)}">{escape(name)}</a>'
