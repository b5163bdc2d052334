"""Errors as HTTP sees them: one table from the tree of `fairlead.errors` to statuses, and one shape of body.

No traceback and no path of the server gets into an answer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from typing_extensions import TypedDict  # typing's own cannot be described before Python 3.12

from fairlead import errors
from fairlead.errors import FairleadError

logger = logging.getLogger(__name__)


class Error(TypedDict):
    """Why a request is refused, or has failed."""

    code: str
    """Stays the same."""
    message: str
    """What was wrong, and what to do."""
    type: str
    param: str | None
    """The field that is wrong."""
    details: Mapping[str, object]


class ErrorResponse(TypedDict):
    """The answer of every route that cannot do what it was asked for."""

    error: Error


STATUS: Final[dict[type[FairleadError], tuple[int, str]]] = {
    errors.InvalidRequest: (400, "invalid_request_error"),
    errors.Unauthorized: (401, "authentication_error"),
    errors.NotFound: (404, "not_found_error"),
    errors.Conflict: (409, "conflict_error"),
    errors.ModelFileError: (422, "model_file_error"),
    errors.FileTooLarge: (413, "file_error"),
    errors.UnsupportedFile: (415, "file_error"),
    errors.UnreadableFile: (422, "file_error"),
    errors.TokensUsedUp: (429, "rate_limit_error"),
    errors.QueueFull: (429, "rate_limit_error"),
    errors.DownloadError: (502, "download_error"),
    errors.ModelNotReady: (503, "unavailable_error"),
    errors.Draining: (503, "unavailable_error"),
    errors.EngineFailed: (503, "engine_error"),
    errors.StorageFailed: (503, "storage_error"),
    errors.StorageUsedUp: (507, "insufficient_storage_error"),
    errors.StorageFull: (507, "insufficient_storage_error"),
    errors.DoesNotFit: (507, "insufficient_memory_error"),
    FairleadError: (500, "server_error"),
}
"""Status and type of each class; one that is not listed takes those of its nearest ancestor."""

_RETRY_AFTER_S: Final[dict[type[FairleadError], float]] = {
    errors.ModelNotReady: 2,
    errors.Draining: 5,
    errors.EngineFailed: 5,
    errors.StorageFailed: 5,
}

_HTTP_CODES: Final = {
    400: "invalid_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
}

_SHOWN_PROBLEMS: Final = 8
_LONGEST_NAME: Final = 100


def body_of(error: FairleadError) -> ErrorResponse:
    """The body that tells of an error."""
    _, kind = _row(error)
    return _body(error.code, error.message, kind, param=error.param, details=error.details)


def unforeseen() -> ErrorResponse:
    """The body that tells of a mistake of ours, without telling anything of it."""
    return _body("internal_error", "Something went wrong in the server; its log has more.", "server_error")


def response_of(error: FairleadError) -> JSONResponse:
    """The answer that tells of an error, with Retry-After where trying again makes sense."""
    status, _ = _row(error)
    headers = {}
    after_s = error.details.get("retry_after_s", _RETRY_AFTER_S.get(type(error)))
    if isinstance(after_s, int | float):
        headers["Retry-After"] = str(math.ceil(after_s))
    if isinstance(error, errors.Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="fairlead"'
    return JSONResponse(body_of(error), status, headers)


def http_error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer to a request that is wrong as HTTP."""
    code = _HTTP_CODES.get(status, "invalid_request" if status < 500 else "internal_error")
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse(_body(code, message, kind), status, headers)


def install(app: FastAPI) -> None:
    """Have the application answer every error in the contract's shape."""
    app.add_exception_handler(FairleadError, _on_fairlead_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_fairlead_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, FairleadError)
    if _row(error)[0] == 500:
        logger.error("unmapped error %s", type(error).__name__, exc_info=error)
        return JSONResponse(unforeseen(), 500)
    return response_of(error)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code == 404:
        message = f"There is no {request.method} {request.url.path[:_LONGEST_NAME]} here; GET /docs lists the routes."
    elif error.status_code == 405:
        message = f"{request.url.path[:_LONGEST_NAME]} does not take {request.method}."
    return http_error(error.status_code, message, dict(error.headers or {}))


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [_problem(item, error.body) for item in error.errors()[:_SHOWN_PROBLEMS]]
    param, message = problems[0]
    details = {"problems": [{"param": field, "message": text} for field, text in problems]}
    return JSONResponse(_body("invalid_request", message, "invalid_request_error", param=param, details=details), 400)


def _problem(item: dict[str, object], body: object) -> tuple[str | None, str]:
    """One of pydantic's problems: the field's name and a sentence. What the client sent is not repeated."""
    kind = item["type"]
    location = item["loc"]
    assert isinstance(location, tuple)
    field = _field(location[1:], body) if location[:1] == ("body",) else ".".join(map(str, location[1:]))
    if kind == "json_invalid":
        context = item.get("ctx")
        reason = context.get("error", "") if isinstance(context, dict) else ""
        return None, f"The body is not valid JSON: {reason}."
    if not field:
        return None, "The body must be a JSON object."
    if kind == "missing" and location[0] == "query":
        return field, f"{field} is required in the address, as in ?{field}=."
    if kind == "missing":
        return field, f"The field {field} is required."
    if kind in ("extra_forbidden", "none_required"):
        return field, f"The field {field} is not supported: leave it out."
    return field, f"{field}: {item['msg']}."


def _field(location: Sequence[int | str], body: object) -> str:
    """A field's name as people write it, such as `messages[0].content`.

    Pydantic's locations also name the branches of unions; a part that is in no place of the body is one of
    those, unless it is the last part of a path that leads to an object.
    """
    name = ""
    for part in location:
        if isinstance(part, int) and isinstance(body, list) and part < len(body):
            name += f"[{part}]"
            body = body[part]
        elif isinstance(body, dict) and (part in body or part is location[-1]):
            name += f".{part}"
            body = body.get(part)
    return name.removeprefix(".")[:_LONGEST_NAME]


def _row(error: FairleadError) -> tuple[int, str]:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def _body(
    code: str,
    message: str,
    kind: str,
    *,
    param: str | None = None,
    details: Mapping[str, object] | None = None,
) -> ErrorResponse:
    return {
        "error": {
            "code": code,
            "message": message,
            "type": kind,
            "param": param,
            "details": details or {},
        }
    }
