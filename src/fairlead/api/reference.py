"""`GET /docs`: the OpenAPI description as a page to read.

Plain HTML, made here: the usual viewers fetch their scripts from other hosts, and nothing that people open here
may leave this machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    schemas = description.get("components", {}).get("schemas", {})
    title = escape(f"{description['info']['title']} {description['info']['version']}")
    routes = "".join(
        part
        for path, methods in description["paths"].items()
        for method, route in methods.items()
        for part in _route(method, path, route, schemas)
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f'<h1>{title}</h1><p>For programs: <a href="/openapi.json">openapi.json</a>.</p>{routes}</html>'
    )


def _route(method: str, path: str, route: Schema, schemas: Schema) -> Iterator[str]:
    yield f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2><p>{escape(route.get('description', ''))}</p>"
    content = route.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("schema", {})
    fields = schemas.get(body.get("$ref", "").rpartition("/")[2], {})
    required = set(fields.get("required", ()))
    rows = [
        f"<tr><th>{escape(name)}</th><td>{escape(_kind(field))}{', required' if name in required else ''}</td></tr>"
        for name, field in fields.get("properties", {}).items()
    ]
    if rows:
        yield f"<table>{''.join(rows)}</table>"


def _kind(field: Schema) -> str:
    """A field's type in a few words, with its limits."""
    if "anyOf" in field:
        return " or ".join(kind for option in field["anyOf"] if (kind := _kind(option)) != "null")
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "enum" in field or "const" in field:
        return " or ".join(f'"{value}"' for value in field.get("enum", [field.get("const")]))
    limits = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    bounds = " ".join(f"{word} {field[limit]:.15g}" for limit, word in limits.items() if limit in field)
    kind = str(field.get("type", "any"))
    if kind == "array":
        kind = f"array of {_kind(field.get('items', {}))}"
    return f"{kind} {bounds}".strip()
