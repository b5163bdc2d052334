"""The servers that are measured: Fairlead as its users start it, and llama.cpp's own from the wheel `xllamacpp`."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

SLOTS = 16
"""Requests that run at once on llama.cpp."""
CONTEXT = 2048
"""The longest prompt and answer together, in tokens."""
START_WITHIN_S = 60.0
END_WITHIN_S = 10.0
LLAMA_SERVER = "llama-server"

Scheduling = Mapping[str, bool | str | float]


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    name: str
    url: str
    """Without `/v1`."""

    @property
    def v1(self) -> str:
        """Where it speaks OpenAI's dialect."""
        return self.url + "/v1"

    def endless(self, max_tokens: int) -> dict[str, object]:
        """Fields of a request whose answer shall be this long, and text throughout: no end is drawn, nor hidden."""
        return {"ignore_eos": True} if self.name == LLAMA_SERVER else {"min_tokens": max_tokens}

    async def metrics(self) -> dict[str, float]:
        """What `/metrics` tells, by name with labels, without the model's."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=10) as client:
            text = (await client.get("/metrics")).raise_for_status().text
        found = re.findall(r"^([a-zA-Z_:]+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE)
        return {_key(name, labels): float(value) for name, labels, value in found}


def _key(name: str, labels: str) -> str:
    kept = [label for label in labels.split(",") if label and not label.startswith("model=")]
    return f"{name}{{{','.join(kept)}}}" if kept else name


def peer_is_here() -> bool:
    """Whether the wheel with llama.cpp's server is installed."""
    return importlib.util.find_spec("xllamacpp") is not None


@contextlib.asynccontextmanager
async def fairlead(
    model: Path,
    threads: int,
    scheduling: Scheduling | None = None,
    name: str = "fairlead",
    prepare: Callable[[Path], None] = lambda _home: None,
) -> AsyncIterator[Server]:
    """`fairlead serve` with a model file, settings of `[scheduling]`, and a fresh home that `prepare` has had."""
    with tempfile.TemporaryDirectory() as home:
        prepare(Path(home))
        _configure(Path(home), {"max_waiting_per_user": 1024, "share_prefixes": True, **(scheduling or {})})
        command = ["fairlead", "serve", "--home", home, "--port", "0", "--model", str(model)]
        command += ["--threads", str(threads)]
        command += ["--context-length", str(CONTEXT), "--kv-tokens", str(CONTEXT * SLOTS)]
        async with _running(command) as url:
            await _loaded(url)
            yield Server(name, url)


def _configure(home: Path, scheduling: Scheduling) -> None:
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in scheduling.items()]
    (home / "fairlead.toml").write_text("[scheduling]\n" + "".join(lines))


@contextlib.asynccontextmanager
async def llama_server(model: Path, threads: int) -> AsyncIterator[Server]:
    """llama.cpp's server with 16 slots, each with the same context as a request has on Fairlead."""
    command = ["benchmarks.serving.llama_server", str(model), "--threads", str(threads)]
    async with _running([*command, "--slots", str(SLOTS), "--context", str(CONTEXT)]) as url:
        yield Server(LLAMA_SERVER, url)


@contextlib.asynccontextmanager
async def _running(module: Sequence[str]) -> AsyncIterator[str]:
    """A process of a Python module that says "listening on URL", for as long as that is needed; its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *module, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def listen() -> None:
        """Read all that it says: it would stand still if nobody did."""
        assert process.stdout is not None
        last = b""
        async for line in process.stdout:
            found = re.search(rb"listening on (http://\S+)", line)
            if found and not address.done():
                address.set_result(found[1].decode())
            last = line
        if not address.done():
            address.set_exception(RuntimeError(f"{module[0]} did not start: {last.decode(errors='replace')}"))

    listening = asyncio.create_task(listen())
    try:
        yield await asyncio.wait_for(address, START_WITHIN_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_WITHIN_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        await listening


async def _loaded(url: str) -> None:
    """Wait until the server's model is loaded."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as client:
        for _ in range(round(START_WITHIN_S / 0.1)):
            if "loaded" in (await client.get("/health")).json()["models"].values():
                return
            await asyncio.sleep(0.1)
    raise RuntimeError(f"the model was not loaded within {START_WITHIN_S:g} s")
