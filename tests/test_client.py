"""The client against a scripted server on loopback: real bytes, cut where they hurt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.answer_info import Answer, Queued, Text
from fairlead.client import Event, EventParser, FairleadClient, Unreachable
from fairlead.errors import FairleadError, InvalidRequest, ModelNotFound, QueueFull, RequestNotFound
from fairlead.model_info import Estimate, LoadProgress, ModelInfo, Removed, Verified

ANSWER = {
    "id": "r1",
    "model": "smollm2-135m",
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "cached_tokens": 0},
    "timing": {"queue_ms": 1.0, "prefill_ms": 2, "ttft_ms": 3, "total_ms": 4, "tokens_per_second": None},
    "context": {"dropped_messages": 0, "dropped_tokens": 0},
    "a_field_of_a_later_version": 1,
}


def event(name: str, data: object) -> bytes:
    return f"id: 1\nevent: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def error(code: str, message: str = "No.", **more: object) -> dict[str, object]:
    return {"error": {"code": code, "message": message, "type": "x", "param": None, "details": {}} | more}


class Scripted:
    """Answers each request with the next of `answers`: a status and the pieces of a body, sent one by one."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, list[bytes]]] = []
        self.requests: list[tuple[str, dict[str, str], object]] = []
        self.gone = asyncio.Event()
        self.url = ""
        self.connections: set[asyncio.Task[None]] = set()

    def says(self, status: int, *pieces: bytes | object) -> None:
        self.answers.append((status, [p if isinstance(p, bytes) else json.dumps(p).encode() for p in pieces]))

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.ensure_future(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await self.answer(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((head[0].rsplit(" ", 1)[0], headers, json.loads(body) if body else None))
        status, pieces = self.answers.pop(0)
        writer.write(f"HTTP/1.1 {status} X\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for piece in pieces:
            if piece == b"WAIT":
                await reader.read()
                self.gone.set()
            elif piece == b"CUT":
                writer.transport.abort()
                return
            else:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(0.001)
        writer.write(b"0\r\n\r\n")


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    scripted = Scripted()
    listening = await asyncio.start_server(scripted.connected, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    scripted.url = f"http://{host}:{port}"
    yield scripted
    listening.close()
    await asyncio.gather(*scripted.connections)


@pytest.fixture
async def client(server: Scripted) -> AsyncIterator[FairleadClient]:
    async with FairleadClient(server.url, key="secret") as client:
        yield client


async def test_health_of_a_degraded_server_is_an_answer(server: Scripted, client: FairleadClient) -> None:
    server.says(503, {"status": "degraded", "reason": "stuck", "version": "1", "models": {"a": "failed"}})
    health = await client.health()
    assert (health.status, health.reason, health.models) == ("degraded", "stuck", {"a": "failed"})
    assert server.requests[0][1]["authorization"] == "Bearer secret"


async def test_models(server: Scripted, client: FairleadClient) -> None:
    server.says(200, {"models": [{"name": "a", "state": "loaded", "memory": {"used_bytes": 5}}], "active": "a"})
    models = await client.models()
    assert models.active == "a"
    assert models.models[0].memory.used_bytes == 5


async def test_an_answer_at_once(server: Scripted, client: FairleadClient) -> None:
    server.says(200, ANSWER | {"text": "Hello."})
    answer = await client.infer("Hi", temperature=0.0, seed=7)
    assert (answer.text, answer.finish_reason, answer.usage.prompt_tokens) == ("Hello.", "stop", 3)
    assert server.requests[0][0] == "POST /infer"
    assert server.requests[0][2] == {"prompt": "Hi", "temperature": 0.0, "seed": 7}


async def test_a_stream_cut_into_single_bytes_is_the_same(server: Scripted, client: FairleadClient) -> None:
    whole = b": keep-alive\n\n" + event("token", {"text": "né\u2028 👋"}) + event("token", {"text": "b"})
    whole += event("done", ANSWER)
    server.says(200, *(whole[i : i + 1] for i in range(len(whole))))
    events = [item async for item in client.infer_stream("Hi")]
    assert events[:2] == [Text("né\u2028 👋"), Text("b")]
    assert isinstance(events[2], Answer)


async def test_a_stream_tells_of_waiting(server: Scripted, client: FairleadClient) -> None:
    waits = (
        event("queued", {"position": 2, "estimated_wait_ms": None}),
        event("queued", {"position": 0, "estimated_wait_ms": 9}),
    )
    server.says(200, *waits, event("token", {"text": "a"}), event("done", ANSWER))
    events = [item async for item in client.infer_stream("Hi", user="anna", priority="low")]
    assert events[:3] == [Queued(2, None), Queued(0, 9), Text("a")]
    assert server.requests[0][2] == {"prompt": "Hi", "user": "anna", "priority": "low"}


async def test_the_queue(server: Scripted, client: FairleadClient) -> None:
    request = {"id": "r1", "state": "waiting", "position": 1, "estimated_wait_ms": 20.5, "completion_tokens": 0}
    server.says(200, {"user": "anna", "models": [{"name": "a", "waiting": 1, "requests": [request], "later": 1}]})
    queue = await client.queue("anna b")
    assert server.requests[0][0] == "GET /queue?user=anna+b"
    assert queue.models[0].requests[0].estimated_wait_ms == 20.5
    assert queue.models[0].pages.total == 0


async def test_an_error_within_a_stream_is_raised(server: Scripted, client: FairleadClient) -> None:
    server.says(200, event("token", {"text": "a"}), event("error", error("engine_failed", "The worker died.")))
    with pytest.raises(FairleadError, match=r"The worker died\."):
        _ = [item async for item in client.infer_stream("Hi")]


async def test_a_refused_stream_is_the_servers_error(server: Scripted, client: FairleadClient) -> None:
    server.says(404, error("model_not_found", "There is no model x."))
    with pytest.raises(ModelNotFound, match="no model x"):
        _ = [item async for item in client.infer_stream("Hi", model="x")]


@pytest.mark.parametrize("end", [[], [b"CUT"]])
async def test_a_stream_without_an_end_is_said(server: Scripted, client: FairleadClient, end: list[bytes]) -> None:
    server.says(200, event("token", {"text": "a"}), *end)
    with pytest.raises(Unreachable, match=r"closed the connection|broke"):
        _ = [item async for item in client.infer_stream("Hi")]


async def test_leaving_a_stream_closes_the_connection(server: Scripted, client: FairleadClient) -> None:
    server.says(200, event("token", {"text": "a"}), b"WAIT")
    async with aclosing(client.infer_stream("Hi")) as stream:
        async for _ in stream:
            break
    await asyncio.wait_for(server.gone.wait(), 5)


async def test_loading_reports_progress_and_then_the_model(server: Scripted, client: FairleadClient) -> None:
    progress = {"phase": "downloading", "bytes": 5, "total": None, "eta_ms": None}
    server.says(200, event("progress", progress), event("done", {"name": "a", "state": "loaded"}))
    steps = [step async for step in client.load_model("a", context_length=2048)]
    assert steps == [LoadProgress("downloading", 5), ModelInfo("a", "loaded")]
    assert server.requests[0][2] == {"name": "a", "stream": True, "context_length": 2048}


async def test_how_long_to_keep_a_model_goes_with_its_load(server: Scripted, client: FairleadClient) -> None:
    server.says(200, event("done", {"name": "a", "state": "loaded", "pinned": True, "keep_alive_s": 300}))
    (model,) = [step async for step in client.load_model("a", keep_alive="5m", pin=True)]
    assert model == ModelInfo("a", "loaded", pinned=True, keep_alive_s=300)
    assert server.requests[0][2] == {"name": "a", "stream": True, "keep_alive": "5m", "pin": True}


async def test_the_files_of_models(server: Scripted, client: FairleadClient) -> None:
    figures = dict.fromkeys(
        ("context_length", "kv_tokens", "weight_bytes", "kv_bytes", "work_bytes", "margin_bytes"), 1
    ) | {"required_bytes": 4, "available_bytes": 3}
    server.says(200, {"name": "a", **figures, "fits": False, "unloads": []})
    assert isinstance(told := await client.estimate("a", context_length=4096), Estimate)
    assert not told.fits
    server.says(201, {"name": "a", "state": "available"})
    assert (await client.add_model("o/r", "a.gguf", name="a")).state == "available"
    server.says(200, {"name": "a", "freed_bytes": 7})
    assert await client.remove_model("a/b") == Removed("a", 7)
    server.says(200, event("progress", {"phase": "verifying"}), event("done", {"name": "a", "sha256": "f"}))
    assert [step async for step in client.verify_model("a")] == [LoadProgress("verifying"), Verified("a", "f")]
    server.says(200, event("done", {"name": "a", "state": "downloaded"}))
    assert [step async for step in client.pull_model("a")] == [ModelInfo("a", "downloaded")]


async def test_set_unload_and_cancel(server: Scripted, client: FairleadClient) -> None:
    server.says(200, {"active": "a"})
    server.says(200, {"name": "a", "state": "downloaded"})
    server.says(404, error("request_not_found"))
    assert await client.set_model("a") == "a"
    assert (await client.unload_model("a", force=True)).state == "downloaded"
    with pytest.raises(RequestNotFound):
        await client.cancel("r9")
    assert [body for _, _, body in server.requests] == [{"name": "a"}, {"name": "a", "force": True}, {"id": "r9"}]


async def test_errors_come_back_as_their_classes(server: Scripted, client: FairleadClient) -> None:
    server.says(400, error("invalid_request", "top_p is 2.", param="top_p"))
    server.says(429, error("queue_full", details={"retry_after_s": 2.5}))
    server.says(403, error("forbidden"))
    server.says(502, b"<html>")
    with pytest.raises(InvalidRequest, match="top_p is 2") as caught:
        await client.infer("Hi")
    assert caught.value.param == "top_p"
    with pytest.raises(QueueFull) as full:
        await client.infer("Hi")
    assert full.value.retry_after_s == 2.5
    with pytest.raises(FairleadError) as other:
        await client.infer("Hi")
    assert other.value.details["code"] == "forbidden"
    with pytest.raises(FairleadError, match="status 502 and no reason"):
        await client.infer("Hi")


async def test_something_else_on_the_port_is_said(server: Scripted, client: FairleadClient) -> None:
    server.says(200, b"<html>hello</html>")
    with pytest.raises(FairleadError, match="not one of Fairlead's"):
        await client.health()


async def test_no_server_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with FairleadClient("http://127.0.0.1:9") as client:
        with pytest.raises(Unreachable, match=r"No server answers at http://127\.0\.0\.1:9"):
            await client.health()


@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))),
    cuts=st.lists(st.integers(1, 20)),
)
def test_events_do_not_depend_on_where_the_bytes_are_cut(texts: list[str], cuts: list[int]) -> None:
    whole = b"".join(b"event: token\r\ndata: " + text.encode() + b"\r\n\r\n" for text in texts)
    parser, rest = EventParser(), whole
    found: list[Event] = []
    for size in [*cuts, len(whole)]:
        found += parser.feed(rest[:size])
        rest = rest[size:]
    assert found == [Event("token", text.encode()) for text in texts]
