from __future__ import annotations

import asyncio
import socket
import struct
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engine.framing import (
    MAX_FRAME_BYTES,
    FrameError,
    FrameReader,
    ServerConnection,
    ServerGone,
    WorkerConnection,
    decode_command,
    decode_events,
    encode,
)
from fairlead.engine.messages import (
    Cancel,
    ClientLoad,
    Command,
    Embed,
    Embedded,
    Event,
    Failed,
    Finished,
    Generate,
    Load,
    Loaded,
    LoadFailed,
    Progress,
    Sampling,
    Scheduling,
    Score,
    Scored,
    Stats,
    Timing,
    Token,
    Usage,
    Waiting,
)

SAMPLING = Sampling(logit_bias={5: -1.5}, seed=2**64 - 1, logprobs=3)
COMMANDS: list[Command] = [
    Load(
        path="/models/größe.gguf",
        context_length=4096,
        kv_tokens=8192,
        kv_type="f32",
        activations="q8",
        scheduling=Scheduling(policy="fcfs"),
    ),
    Generate(id=1, tokens=[0, 150_000], sampling=SAMPLING, max_tokens=5, stop_tokens=[2], timeout_s=1.5),
    Generate(
        id=2,
        tokens=[1],
        sampling=SAMPLING,
        max_tokens=5,
        client=7,
        weight=2.5,
        priority="low",
        salt=2**60,
        public_tokens=1,
    ),
    Embed(id=2, texts=[[1, 2], [3]], client=7, weight=2.5),
    Score(id=3, tokens=[1, 2], continuations=[[3], [4, 5]], client=7, priority="high", salt=1, public_tokens=1),
    Cancel(1, "stop"),
]
STATS = Stats(
    running=1,
    waiting=2,
    free_pages=3,
    cached_pages=4,
    total_pages=5,
    steps=6,
    prefill_tokens=7,
    decode_tokens=8,
    cached_tokens=9,
    drafted_tokens=10,
    accepted_tokens=11,
    preemptions=12,
    prefill_rate=None,
    decode_rate=13.5,
    step_s=0.1,
    budget_s=0.2,
    step_seconds=14.5,
    step_counts=[0] * 12 + [6],
    over_budget=1,
    clients=[ClientLoad(client=1, running=1, waiting=2, prefill_tokens=7, decode_tokens=8, counter=23.0)],
    queue=[Waiting(2, 1, 0, 1.5), Waiting(3, 1, 1, None)],
)
EVENTS: list[Event] = [
    Progress(1, 2**40),
    Loaded(instruction_set="avx2", threads=2, weight_bytes=1, kv_bytes=2, work_bytes=3, load_s=0.5),
    LoadFailed("insufficient_memory", "no room", {"required_bytes": 2**40}),
    Token(1, 7),
    Token(1, 7, -0.5, [(7, -0.5), (8, -1.5)]),
    Finished(1, "length", Usage(3, 4), Timing(0.1, 0.2, 0.3)),
    Embedded(2, b"\0\xff" * 4, Usage(3, 0), Timing(0.1, 0.2, 0.0)),
    Scored(3, [-0.5, -7.25], [1, 2], Usage(5, 0), Timing(0.1, 0.2, 0.3)),
    Failed(1, "prompt_too_long", "too long"),
    STATS,
]


def test_every_message_comes_through_as_it_was() -> None:
    assert {type(command) for command in COMMANDS} == set(get_args(Command))
    assert {type(event) for event in EVENTS} == set(get_args(Event))
    for command in COMMANDS:
        (payload,) = FrameReader().feed(encode(command))
        assert decode_command(payload) == command
    (payload,) = FrameReader().feed(encode(EVENTS))
    assert decode_events(payload) == EVENTS


@given(st.lists(st.integers(1, 200), max_size=60))
def test_frames_are_found_however_the_stream_is_cut(cuts: list[int]) -> None:
    stream = b"".join(encode(command) for command in COMMANDS * 3)
    reader = FrameReader()
    payloads: list[bytes] = []
    for length in cuts:
        payloads += reader.feed(stream[:length])
        stream = stream[length:]
    payloads += reader.feed(stream)
    assert [decode_command(payload) for payload in payloads] == COMMANDS * 3


def test_a_frame_that_claims_to_be_huge_is_refused_at_its_head() -> None:
    with pytest.raises(FrameError, match="over the limit"):
        FrameReader().feed(struct.pack(">I", MAX_FRAME_BYTES + 1))


def test_a_message_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(FrameError, match="over the limit"):
        encode(Generate(id=1, tokens=[2**31] * (MAX_FRAME_BYTES // 5 + 1), sampling=SAMPLING, max_tokens=1))


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", b"\x93", msgspec.msgpack.encode({"type": "Reboot"}), msgspec.msgpack.encode({"type": "Cancel"})],
)
def test_a_frame_that_holds_something_else_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError, match="no command"):
        decode_command(payload)
    with pytest.raises(FrameError, match="no events"):
        decode_events(payload)


def test_the_worker_takes_all_commands_that_have_come_and_waits_only_where_it_may() -> None:
    server, worker = socket.socketpair()
    with server, worker:
        connection = WorkerConnection(worker)
        assert connection.receive(wait=False) == []
        frames = b"".join(encode(command) for command in COMMANDS)
        server.sendall(frames[:-3])
        assert connection.receive(wait=True) == COMMANDS[:-1]
        assert connection.receive(wait=False) == []
        server.sendall(frames[-3:])
        assert connection.receive(wait=True) == COMMANDS[-1:]


def test_the_worker_learns_that_the_server_has_gone() -> None:
    server, worker = socket.socketpair()
    with worker:
        connection = WorkerConnection(worker)
        connection.send(EVENTS)  # left unread, which resets the connection when it is closed
        server.close()
        with pytest.raises(ServerGone):
            connection.receive(wait=True)
        with pytest.raises(ServerGone):
            connection.send(EVENTS)


async def connect(
    sock: socket.socket, heard: list[list[Event]], closed: asyncio.Future[Exception | None]
) -> ServerConnection:
    connection = ServerConnection(heard.append, closed.set_result)
    await asyncio.get_running_loop().create_connection(lambda: connection, sock=sock)
    return connection


async def test_the_server_hears_frames_in_order_and_then_that_it_is_over() -> None:
    server, worker = socket.socketpair()
    heard: list[list[Event]] = []
    closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    connection = await connect(server, heard, closed)
    connection.send(COMMANDS[-1])
    with worker:
        far = WorkerConnection(worker)
        assert await asyncio.to_thread(far.receive, wait=True) == [COMMANDS[-1]]
        far.send(EVENTS[:2])
        far.send(EVENTS[2:])
    assert await closed is None
    assert heard == [EVENTS[:2], EVENTS[2:]]
    connection.send(COMMANDS[-1])
    connection.close()


async def test_the_server_closes_a_connection_that_talks_nonsense() -> None:
    server, worker = socket.socketpair()
    closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    await connect(server, [], closed)
    with worker:
        worker.sendall(b"\0\0\0\1\xc1")
        assert isinstance(await closed, FrameError)
        assert worker.recv(1) == b""
