"""The web page: files that were built into the package, served as they lie, and a policy that holds them to themselves.

The page talks to this server alone, and the policy has the browser see to it: no script, picture or style of another
origin, none written into the document, and no text becomes HTML but by the two libraries that are named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

import fairlead

BUILT: Final = Path(fairlead.__file__).parent / "web"

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types svelte-trusted-html dompurify",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Encoding",
}
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_ENCODINGS: Final = (("br", ".br"), ("gzip", ".gz"))
"""Those that files may lie in besides their own, the best first."""
_START: Final = "index.html"
_HASHED: Final = "assets"
"""The folder of files whose names change with what is in them."""
_ROOT_PATHS: Final = frozenset({"/", "/favicon.svg"})


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page, in each of the encodings that it lies in; its own is ""."""

    bodies: Mapping[str, bytes]
    media_type: str
    etag: str
    immutable: bool

    def response(self, accepted: str, known: str | None) -> Response:
        """The answer to one who takes these encodings, and has the version with this tag already."""
        caching = "public, max-age=31536000, immutable" if self.immutable else "no-cache"
        headers = {**_HEADERS, "Cache-Control": caching, "ETag": self.etag}
        if known == self.etag:
            return Response(status_code=304, headers=headers)
        encoding = next((name for name, _ in _ENCODINGS if name in self.bodies and _takes(accepted, name)), "")
        if encoding:
            headers["Content-Encoding"] = encoding
        return Response(self.bodies[encoding], headers=headers, media_type=self.media_type)


def page_files(folder: Path) -> Mapping[str, PageFile]:
    """The files of a built page by their paths; empty where it was not built. All are kept in memory: a megabyte."""
    found = {}
    for path in sorted(folder.rglob("*")):
        media_type = _MEDIA_TYPES.get(path.suffix)
        if media_type is None or not path.is_file():
            continue
        plain = path.read_bytes()
        variants = {name: path.with_name(path.name + suffix) for name, suffix in _ENCODINGS}
        bodies = {"": plain} | {name: file.read_bytes() for name, file in variants.items() if file.is_file()}
        relative = path.relative_to(folder)
        tag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
        found[relative.as_posix()] = PageFile(bodies, media_type, tag, immutable=relative.parts[0] == _HASHED)
    return MappingProxyType(found)


def is_page(path: str) -> bool:
    """Whether a path is the page's, which everybody may have: it asks for a key itself."""
    return path in _ROOT_PATHS or path.startswith(f"/{_HASHED}/")


def install(app: FastAPI, folder: Path = BUILT) -> bool:
    """Serve the page at the application's root; False where it was not built."""
    files = page_files(folder)
    if _START not in files:
        return False
    router = APIRouter(include_in_schema=False)

    def answer(request: Request, path: str) -> Response:
        file = files.get(path)
        if file is None:
            raise HTTPException(404)
        return file.response(request.headers.get("accept-encoding", ""), request.headers.get("if-none-match"))

    @router.api_route("/", methods=["GET", "HEAD"])
    async def start(request: Request) -> Response:
        return answer(request, _START)

    @router.api_route(f"/{_HASHED}/{{name}}", methods=["GET", "HEAD"])
    async def asset(request: Request, name: str) -> Response:
        return answer(request, f"{_HASHED}/{name}")

    @router.api_route("/favicon.svg", methods=["GET", "HEAD"])
    async def icon(request: Request) -> Response:
        return answer(request, "favicon.svg")

    app.include_router(router)
    return True


def _takes(accepted: str, encoding: str) -> bool:
    """Whether an Accept-Encoding names this one, and not with a weight of 0."""
    for part in accepted.lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() == encoding:
            return weight.strip().removeprefix("q=").strip("0.") != "" or not weight.strip()
    return False
