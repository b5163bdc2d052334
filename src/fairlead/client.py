"""A typed client of a Fairlead server, for the command line, the terminal program and tests.

Speaks the routes of the HTTP contract and turns the server's errors back into those of `fairlead.errors`.
Knows nothing of engines, files or terminals.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self, TypeVar, Unpack
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from fairlead.answer_info import Answer, Options, Queued, Text
from fairlead.errors import FairleadError, QueueFull, Unauthorized
from fairlead.model_info import Estimate, LoadProgress, ModelInfo, Models, Removed, Verified
from fairlead.queue import Queue

_CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0
"""For calls that have nothing to wait for; loading and generating take as long as they take."""


class Unreachable(FairleadError):
    """No server answers at the address, or it went away in the middle of an answer."""

    code = "server_unreachable"


class Health(msgspec.Struct, frozen=True):
    """How the server is; `models` gives each model's state, `reason` is set where it is degraded."""

    status: str
    version: str = ""
    uptime_s: float = 0.0
    active_model: str | None = None
    models: dict[str, str] = {}
    reason: str | None = None


class Me(msgspec.Struct, frozen=True):
    """Who one is to the server; in secured mode it is the key that says so."""

    user: str
    secured: bool = False


class _ErrorBody(msgspec.Struct, frozen=True):
    code: str
    message: str
    param: str | None = None
    details: dict[str, object] | None = None


class _Error(msgspec.Struct, frozen=True):
    error: _ErrorBody


class _Active(msgspec.Struct, frozen=True):
    active: str


Result = TypeVar("Result")


class _Vector(msgspec.Struct, frozen=True):
    """One of `_Embeddings`."""

    embedding: list[float]


class _Embeddings(msgspec.Struct, frozen=True):
    """The body of `/v1/embeddings`."""

    data: list[_Vector]


class FairleadClient:
    """The server at `url`; an async context manager.

    Every method raises `Unreachable` where no server answers, and the server's own errors as the classes
    of `fairlead.errors`.

    Raises:
        Unauthorized: what is given as the key cannot be one.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        if key is not None and not (key.isascii() and key.isprintable()):
            raise Unauthorized("This is no access key: it has characters that no key has.")
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
            trust_env=not _is_loopback(url),  # a proxy is no way to this machine itself
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def health(self) -> Health:
        """How the server is; a degraded one is no error here."""
        with _reached(self._http):
            response = await self._http.get("/health", timeout=ANSWER_S)
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            _raise_for(response)
        return decode(response.content, Health)

    async def me(self, user: str | None = None) -> Me:
        """Who one is; Unauthorized where the server asks for a key and has none that is valid."""
        return await self.call("GET", "/me", Me, query={"user": user} if user else None, within_s=ANSWER_S)

    async def models(self, words: str = "") -> Models:
        """Every model that the server knows, or those that have all these words in what is known of them."""
        return await self.call("GET", "/models", Models, query={"q": words} if words else None, within_s=ANSWER_S)

    async def add_model(self, hub: str, file: str, *, name: str | None = None, revision: str = "main") -> ModelInfo:
        """Add a file of a repository on the hub to the models; nothing is fetched yet."""
        body = {"hub": hub, "file": file, "revision": revision}
        return await self._post("/models", body if name is None else {**body, "name": name}, ModelInfo)

    async def remove_model(self, name: str) -> Removed:
        """Delete a model's files, and the model itself where it was added."""
        return await self.call("DELETE", f"/models/{quote(name, safe='')}", Removed)

    async def estimate(self, name: str, *, context_length: int | None = None) -> Estimate:
        """What loading a model would take, and whether it would fit."""
        body: dict[str, object] = {"name": name, "context_length": context_length}
        return await self._post("/models/estimate", body, Estimate)

    async def pull_model(self, name: str) -> AsyncGenerator[LoadProgress | ModelInfo]:
        """Download a model: its progress, and last of all the model."""
        async for step in self._progress("/models/pull", {"name": name, "stream": True}, ModelInfo):
            yield step

    async def verify_model(self, name: str) -> AsyncGenerator[LoadProgress | Verified]:
        """Read a model's file through: its progress, and last of all its checksum; ModelFileError where it is wrong."""
        async for step in self._progress("/models/verify", {"name": name, "stream": True}, Verified):
            yield step

    async def queue(self, user: str | None = None) -> Queue:
        """What each loaded model does and for whom; `user`'s own requests one by one."""
        return await self.call("GET", "/queue", Queue, query={"user": user} if user else None, within_s=ANSWER_S)

    async def load_model(
        self,
        name: str,
        *,
        context_length: int | None = None,
        keep_alive: float | str | None = None,
        pin: bool | None = None,
    ) -> AsyncGenerator[LoadProgress | ModelInfo]:
        """Load a model, downloaded first where needed: its progress, and last of all the model."""
        given = {"context_length": context_length, "keep_alive": keep_alive, "pin": pin}
        body = {"name": name, "stream": True, **{key: value for key, value in given.items() if value is not None}}
        async for step in self._progress("/load_model", body, ModelInfo):
            yield step

    async def set_model(self, name: str) -> str:
        """Make a model the active one, loaded first where it is not; the active model's name."""
        return (await self._post("/set_model", {"name": name}, _Active)).active

    async def unload_model(self, name: str, *, force: bool = False) -> ModelInfo:
        """Give a model's memory back; requests running on it finish first, or with `force` are cancelled."""
        return await self._post("/unload_model", {"name": name, "force": force}, ModelInfo)

    async def infer(self, prompt: str, **options: Unpack[Options]) -> Answer:
        """The whole answer to one prompt."""
        return await self._post("/infer", {"prompt": prompt, **options}, Answer)

    async def infer_stream(
        self, prompt: str, *, request_id: str | None = None, **options: Unpack[Options]
    ) -> AsyncGenerator[Queued | Text | Answer]:
        """The answer as it is generated: its place while it waits, pieces of text, and last of all its end.

        Closing the iterator stops the generation; `request_id`, if one is given, is what `cancel` stops it by.
        """
        body = {"prompt": prompt, **options}
        async with self.stream("POST", "/infer_stream", body=body, request_id=request_id) as events:
            async for event in events:
                if event.name == "queued":
                    yield decode(event.data, Queued)
                elif event.name == "token":
                    yield decode(event.data, Text)
                elif event.name == "done":
                    yield decode(event.data, Answer)

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> list[list[float]]:
        """The vector of each text, of length 1; at most 2,048 texts."""
        body: dict[str, object] = {"input": list(texts)} | ({} if model is None else {"model": model})
        return [item.embedding for item in (await self._post("/v1/embeddings", body, _Embeddings)).data]

    async def cancel(self, request_id: str) -> None:
        """Stop a request, wherever it is; RequestNotFound where nothing runs under this id."""
        await self.fetch("POST", "/cancel", body={"id": request_id}, within_s=ANSWER_S)

    async def _progress(
        self, path: str, body: Mapping[str, object], kind: type[Result]
    ) -> AsyncGenerator[LoadProgress | Result]:
        """The steps of something that takes its time, and at last what it came to."""
        async with self.stream("POST", path, body=body) as events:
            async for event in events:
                if event.name == "progress":
                    yield decode(event.data, LoadProgress)
                elif event.name == "done":
                    yield decode(event.data, kind)

    async def _post(self, path: str, body: Mapping[str, object], kind: type[Result]) -> Result:
        return await self.call("POST", path, kind, body=body)

    async def call(
        self,
        method: str,
        path: str,
        kind: type[Result],
        *,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str | int] | None = None,
        within_s: float | None = None,
    ) -> Result:
        """Any route that answers with JSON, decoded to `kind`; None of `within_s` waits as long as it takes."""
        return decode(await self.fetch(method, path, body=body, query=query, within_s=within_s), kind)

    async def fetch(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str | int] | None = None,
        within_s: float | None = None,
    ) -> bytes:
        """The answer of any route as it is."""
        timeout = httpx.Timeout(within_s, connect=_CONNECT_S)
        with _reached(self._http):
            response = await self._http.request(method, path, json=body, params=query, timeout=timeout)
        _raise_for(response)
        return response.content

    async def send_files(
        self,
        path: str,
        files: Mapping[str, bytes | BinaryIO],
        kind: type[Result],
        *,
        query: Mapping[str, str | int] | None = None,
    ) -> Result:
        """Post files by their names as a form, and decode the answer to `kind`."""
        with _reached(self._http):
            response = await self._http.post(
                path, files=[("file", (name, content)) for name, content in files.items()], params=query
            )
        _raise_for(response)
        return decode(response.content, kind)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str | int] | None = None,
        files: Mapping[str, bytes | BinaryIO] | None = None,
        request_id: str | None = None,
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """The events of a stream up to `done`; an `error` event is raised, as is an end without either.

        `files` by their names are sent as a form, in place of a body; `request_id` is what `cancel` may be told.
        """
        form = None if files is None else [("file", (name, content)) for name, content in files.items()]
        headers = {} if request_id is None else {"X-Request-Id": request_id}
        with _reached(self._http):
            async with self._http.stream(
                method, path, json=body, params=query, files=form, headers=headers
            ) as response:
                if response.is_error:
                    await response.aread()
                    _raise_for(response)
                yield _until_done(response)


class Event(NamedTuple):
    """One server-sent event; `id` is where to take its stream up again, where it says so."""

    name: str
    data: bytes
    id: str = ""


class EventParser:
    """Bytes of an event stream in, whole events out (HTML Living Standard, 9.2); lines end in LF or CRLF."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._id = ""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that these bytes complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            field, _, value = line.removesuffix(b"\r").partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                self._name = value.decode("utf-8", "replace")
            elif field == b"data":
                self._data.append(value)
            elif field == b"id":
                self._id = value.decode("utf-8", "replace")
            elif line in (b"", b"\r"):
                if self._data:
                    yield Event(self._name or "message", b"\n".join(self._data), self._id)
                self._name, self._data = "", []


async def _until_done(response: httpx.Response) -> AsyncIterator[Event]:
    parser = EventParser()
    async for chunk in response.aiter_bytes():
        for event in parser.feed(chunk):
            if event.name == "error":
                raise _error_of(event.data, response.status_code)
            yield event
            if event.name == "done":
                return
    raise Unreachable("The server closed the connection before the answer ended.")


@contextmanager
def _reached(http: httpx.AsyncClient) -> Iterator[None]:
    try:
        yield
    except httpx.ConnectError:
        raise Unreachable(f"No server answers at {http.base_url}.") from None
    except httpx.TransportError as error:
        raise Unreachable(f"The connection to {http.base_url} broke ({type(error).__name__}: {error}).") from error


def _raise_for(response: httpx.Response) -> None:
    if response.is_error:
        raise _error_of(response.content, response.status_code)


def _error_of(body: bytes, status: int) -> FairleadError:
    """The error that the server described, as the class of its code."""
    try:
        error = msgspec.json.decode(body, type=_Error).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return FairleadError(f"The server answered with status {status} and no reason.")
    details = error.details or {}
    if error.code == QueueFull.code:
        after = details.get("retry_after_s")
        return QueueFull(error.message, retry_after_s=float(after) if isinstance(after, int | float) else 1.0)
    kind = _BY_CODE.get(error.code)
    if kind is None:
        return FairleadError(error.message, param=error.param, details={**details, "code": error.code})
    return kind(error.message, param=error.param, details=details)


def decode(data: bytes, kind: type[Result]) -> Result:
    """JSON of the server's as a value of `kind`; FairleadError where it is none."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FairleadError(f"The server's answer is not one of Fairlead's: {error}") from error


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _kinds(root: type[FairleadError]) -> Iterator[type[FairleadError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _kinds(kind)


_BY_CODE = {kind.code: kind for kind in _kinds(FairleadError)}
