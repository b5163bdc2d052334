"""The server process: its socket, its signals, and its end.

A first SIGTERM or SIGINT drains: nothing new is taken, what runs may finish within the time set, and is told
where it may not. A second one ends everything at once. Either way no worker is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from typing import Final, cast

import uvicorn
import uvloop
from fastapi import FastAPI

from fairlead.api import logs
from fairlead.api.app import create_app
from fairlead.api.protocol import BoundedProtocol
from fairlead.api.security import is_local
from fairlead.api.services import Services
from fairlead.config import Settings
from fairlead.errors import ConfigError

logger = logging.getLogger(__name__)

_BACKLOG: Final = 2048
_FAREWELL_S: Final = 2
"""Time to send the last words of answers that were cut off."""


def run(settings: Settings, model: str | None = None, *, log_format: logs.LogFormat = "plain") -> None:
    """Serve until a signal ends it; returns after an orderly end.

    Args:
        settings: of the server.
        model: a name or the path of a GGUF file, loaded at start in place of the settings' default.
        log_format: how the log on standard error is written.

    Raises:
        ConfigError: the address is not one to listen on, or is taken; or the database cannot be used.
        ModelNotFound: there is no such model.
    """
    logs.set_up(log_format)
    serve(create_app(settings, model), settings)


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve an application of `create_app` until a signal ends it; ConfigError as in `run`."""
    with (
        listen(settings.host, settings.port) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(app, settings, listener))


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers, which end a process by the signal rather than with status 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `_serve`."""
        yield


async def _serve(app: FastAPI, settings: Settings, listener: socket.socket) -> None:
    services = cast(Services, app.state.services)
    server = _Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=_FAREWELL_S,
        )
    )
    drains: list[asyncio.Task[None]] = []

    def on_signal() -> None:
        if drains:
            logger.warning("ending at once")
            server.should_exit = server.force_exit = True
            return
        logger.info("draining for up to %.0f s; a second signal ends at once", settings.drain_timeout_s)
        services.registry.drain()
        drains.append(asyncio.create_task(_drain(services, settings.drain_timeout_s, server)))

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    host, port = listener.getsockname()[:2]
    try:
        await services.store.open()  # before the rest starts, so that a refusal is all that is said
        await _see_that_keys_guard(services, settings.host)
        logger.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        await server.serve([listener])
    finally:
        for task in drains:
            task.cancel()
        await services.documents.close()
        await services.collections.close()
        await services.registry.close(force=server.force_exit)
        await services.conversations.close()
        await services.people.close()
        await services.store.close()
    logger.info("ended")


async def _see_that_keys_guard(services: Services, host: str) -> None:
    """ConfigError where others could reach the server, and it has no key to ask for."""
    if not is_local(host) and not await services.people.keyring.has_valid():
        raise ConfigError(
            f"Others can reach {host}, and no access key exists that they would need: make one with "
            "`fairlead keys add NAME`, or listen on 127.0.0.1.",
            param="host",
        )


async def _drain(services: Services, timeout_s: float, server: uvicorn.Server) -> None:
    await asyncio.gather(services.generator.drain(timeout_s), services.embeddings.drain(timeout_s))
    await services.conversations.close()
    server.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ConfigError where the address is not this machine's own, or is taken."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"The host {host!r} is no address to listen on: {error}.", param="host") from None
    family, _, _, _, address = found[0]
    # The protocol is named because asyncio switches Nagle's algorithm off only where it is; with it on, a token
    # would wait up to 40 ms for the client to acknowledge the one before.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"Port {port} of {host} cannot be listened on ({error.strerror}): end what uses it, or choose another "
            "with --port.",
            param="port",
        ) from None
    return listener
