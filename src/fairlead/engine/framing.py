"""How messages travel between server and worker: msgpack, each frame behind its length in four bytes.

Owns the bytes on the socketpair, at the worker's end (`WorkerConnection`, blocking) and at the server's
(`ServerConnection`, asyncio). Knows nothing of what the messages mean.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

import msgspec

from fairlead.engine.messages import Command, Event

MAX_FRAME_BYTES = 16 << 20
"""The longest frame: a prompt of three million tokens. Whatever claims to be longer is not one of ours."""

_LENGTH = struct.Struct(">I")
_READ_BYTES = 1 << 16

_encoder = msgspec.msgpack.Encoder()
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_events: msgspec.msgpack.Decoder[list[Event]] = msgspec.msgpack.Decoder(list[Event])


class FrameError(Exception):
    """A frame that is too long, or is not the message that it should be."""


class ServerGone(Exception):
    """The server has closed its end of the connection, or has died."""


def encode(message: Command | list[Event]) -> bytes:
    """The frame of one command or of a list of events. FrameError where it is too long."""
    payload = _encoder.encode(message)
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameError(f"a message of {len(payload)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return _LENGTH.pack(len(payload)) + payload


def decode_command(payload: bytes) -> Command:
    """The command of a frame's payload."""
    try:
        return _commands.decode(payload)
    except msgspec.MsgspecError as error:
        raise FrameError(f"a frame holds no command: {error}") from error


def decode_events(payload: bytes) -> list[Event]:
    """The events of a frame's payload."""
    try:
        return _events.decode(payload)
    except msgspec.MsgspecError as error:
        raise FrameError(f"a frame holds no events: {error}") from error


class FrameReader:
    """Cuts a stream of bytes into the payloads of its frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes. FrameError at the head of a frame that is too long."""
        buffer = self._buffer
        buffer += data
        payloads: list[bytes] = []
        begin = 0
        while len(buffer) - begin >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, begin)
            if length > MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
            end = begin + _LENGTH.size + length
            if end > len(buffer):
                break
            payloads.append(bytes(buffer[begin + _LENGTH.size : end]))
            begin = end
        del buffer[:begin]
        return payloads


class WorkerConnection:
    """The worker's end: commands in, events out, blocking.

    `send` waits for as long as the server does not read, and that is right. The server's end reads whatever
    the people behind it do: `ServerConnection` awaits nothing but the socket, and what it reads waits in
    the queue of each request, which no request can make longer than its own answer. So a server that does
    not read has stopped altogether, and nobody would see the steps computed meanwhile; and one that has
    ended breaks the wait.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._reader = FrameReader()

    def receive(self, *, wait: bool) -> list[Command]:
        """All commands that have come; at least one where it may wait. ServerGone where nobody is there."""
        commands: list[Command] = []
        while True:
            try:
                data = self._socket.recv(_READ_BYTES, 0 if wait and not commands else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return commands
            except ConnectionError:
                data = b""
            if not data:
                raise ServerGone
            commands += [decode_command(payload) for payload in self._reader.feed(data)]

    def send(self, events: list[Event]) -> None:
        """Send events as one frame. ServerGone where nobody is there."""
        try:
            self._socket.sendall(encode(events))
        except ConnectionError as error:
            raise ServerGone from error


class ServerConnection(asyncio.Protocol):
    """The server's end: commands out, events in, on the running event loop.

    Args:
        on_events: called with each frame's events, in the order in which they were sent.
        on_closed: called once when the connection has ended, with what broke it: None where either side
            closed it.
    """

    def __init__(self, on_events: Callable[[list[Event]], None], on_closed: Callable[[Exception | None], None]) -> None:
        self._on_events = on_events
        self._on_closed = on_closed
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._error: Exception | None = None

    def send(self, command: Command) -> None:
        """Send a command without waiting; lost where the connection has ended. FrameError: it is too long."""
        frame = encode(command)
        if self._transport is not None:
            self._transport.write(frame)

    def close(self) -> None:
        """End the connection at once, and with it the worker."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        try:
            for payload in self._reader.feed(data):
                self._on_events(decode_events(payload))
        except FrameError as error:
            self._error = error
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        self._transport = None
        self._on_closed(self._error or exc)
