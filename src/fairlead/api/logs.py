"""The server's log: a line for each request, and for what happens to models. Never a prompt or an answer.

`RequestLog` is the outermost middleware: it also gives each request its id and answers for mistakes of ours.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from datetime import UTC, datetime
from typing import Final, Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlead.api.errors import unforeseen
from fairlead.service.metrics import Metrics

LogFormat = Literal["plain", "json"]

logger = logging.getLogger("fairlead.request")

_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_CLIENT_GONE: Final = 499
"""What the log says of a request whose client did not wait; nobody is sent this."""
_ATTRIBUTE: Final = "fields"


class RequestLog:
    """Gives every request an id, logs and counts it, and turns a mistake of ours into a plain 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _id(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0
        began = time.monotonic()

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        except ClientDisconnect:
            status = status or _CLIENT_GONE
        except Exception:
            logger.exception("request %s failed", request_id)
            if status == 0:
                await JSONResponse(unforeseen(), 500)(scope, receive, note_status)
        finally:
            self._write(scope, request_id, status, time.monotonic() - began)

    def _write(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if route != "unmatched" else "ANY"
        self._metrics.requests.labels(method, route, str(status)).inc()
        fields = {
            "id": request_id,
            "method": scope["method"],
            "route": route,
            "model": scope["state"].get("model"),
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
        }
        told = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        logger.info("%s", told, extra={_ATTRIBUTE: fields})


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, _ATTRIBUTE, None)
        line |= fields if isinstance(fields, dict) else {"message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(log_format: LogFormat) -> None:
    """Send the log of this process to standard error."""
    handler = logging.StreamHandler()
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def _id(given: str | None) -> str:
    """The client's own id where it is a plain one, else a new one that nobody can guess."""
    if given is not None and _ID.fullmatch(given):
        return given
    return f"req-{secrets.token_hex(12)}"
