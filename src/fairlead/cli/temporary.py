"""A server of one's own for as long as one answer takes."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fairlead.cli.fetching import fetch_in_sight
from fairlead.client import FairleadClient, Unreachable
from fairlead.config import Settings
from fairlead.errors import FairleadError, ModelNotReady
from fairlead.gguf.catalogue import Catalogue

_LISTENS_WITHIN_S = 300.0
_ENDS_WITHIN_S = 10.0


@asynccontextmanager
async def temporary_server(settings: Settings, config: Path | None, model: str | None) -> AsyncIterator[str]:
    """The URL of a server with this model, else the configured one; it ends with the context.

    It keeps no chats, so that it can run beside a server that does; and it is in a process group of its own, so that
    Ctrl-C reaches this program alone, which ends it in order.
    """
    chosen = model or settings.default_model
    if chosen is None:
        raise ModelNotReady("No default_model is configured: name one with --model.")
    catalogue = Catalogue(settings)
    fetch_in_sight(catalogue.resolve(chosen), settings)
    port = _free_port()
    command = [sys.executable, "-m", "fairlead", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--home", str(settings.home), "--model", chosen]
    command += ["--config", str(config)] if config else []
    with tempfile.TemporaryDirectory(prefix="fairlead-") as folder:
        command += ["--database", str(Path(folder) / "fairlead.db")]
        async with running(command, f"http://127.0.0.1:{port}") as url:
            yield url


@asynccontextmanager
async def running(command: Sequence[str], url: str) -> AsyncIterator[str]:
    """A server that this command starts, from when it answers at `url` until the context ends."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
        )
        try:
            if not await _listens(url, process):
                log.seek(0)
                lines = log.read().decode("utf-8", "replace").strip().splitlines()
                raise FairleadError(f"The server did not start: {lines[-1] if lines else 'it said nothing'}")
            yield url
        finally:
            await _end(process)


async def _listens(url: str, process: asyncio.subprocess.Process) -> bool:
    """Whether the server answers; False where it ended instead, or took too long."""
    async with asyncio.timeout(_LISTENS_WITHIN_S), FairleadClient(url) as client:
        while process.returncode is None:
            try:
                await client.health()
            except Unreachable:
                await asyncio.sleep(0.05)
            else:
                return True
    return False


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_ENDS_WITHIN_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
