"""A whole server for tests: real HTTP, real worker processes, the fake model of `fakes.py` in them, and a tiny BERT.

The tokens are those of `tiny_models`: bytes, some merges and the ChatML marks; so answers are text. What a
model does is told by its name, in `BEHAVIOUR`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI

from fairlead.api.app import create_app
from fairlead.api.protocol import BoundedProtocol
from fairlead.api.server import listen
from fairlead.api.services import Services
from fairlead.config import Settings
from fairlead.engine.client import EngineClient
from fairlead.engine.messages import Load
from fairlead.gguf.formats import Format
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.gguf.writer import NewTensor, write_gguf
from fairlead.model_entry import FileSource, ModelEntry
from fairlead.service.registry import Registry
from tests import tiny_encoders, tiny_models
from tests.described import Described
from tests.fakes import FAKE_RUNNER, OPTIONS_VARIABLE, Options

CONTEXT = 256
ENCODER = "tiny-bert"
METADATA = tiny_models.metadata("llama-tied")
TOKENIZER = Tokenizer.from_metadata(METADATA)
HELLO = "Hello, wörld! 😀 Bye."


def tokens(text: str) -> list[int]:
    """The ids of a text, for replies of the fake."""
    return TOKENIZER.encode(text)


def _options(**behaviour: object) -> Options:
    return Options(vocab_size=TOKENIZER.vocab_size, **behaviour)  # type: ignore[arg-type]  # checked by msgspec


BEHAVIOUR = {
    "hello": _options(reply=tokens(HELLO)),
    "other": _options(reply=tokens("Another model.")),
    "titled": _options(reply=tokens("A fine name")),
    "counting": _options(reply=tokens("one two three four five six seven eight nine ten. ")),
    "slow": _options(reply=tokens("tick tock "), step_s=0.02),
    "crawling": _options(reply=tokens("at last "), step_s=0.3),
    "mortal": _options(reply=tokens("I live"), dies_on=tokens("#")[0]),
    "heavy": _options(load_fails="does not fit"),
    "crashing": _options(load_fails="crash"),
    "lingering": _options(reply=tokens("late"), load_s=0.5),
}


def write_model(path: Path) -> None:
    """A model file with a header as it must be, and next to no weights: the fake reads none."""
    width = tiny_models.MODELS["llama-tied"].width
    shape = (TOKENIZER.vocab_size, width)
    zeros = np.zeros(shape, np.float32).reshape(-1).view(np.uint8)
    write_gguf(path, METADATA, [NewTensor("token_embd.weight", Format.F32, shape, zeros)])


def settings_with_models(home: Path, **changes: object) -> Settings:
    """Settings whose catalogue has a file for each of `BEHAVIOUR` and `ENCODER`, and "damaged" and "absent" besides."""
    home.mkdir(parents=True, exist_ok=True)
    first = home / "hello.gguf"
    write_model(first)
    for name in BEHAVIOUR:
        if not (home / f"{name}.gguf").exists():
            os.link(first, home / f"{name}.gguf")
    (home / "damaged.gguf").write_bytes(first.read_bytes()[:100])
    tiny_encoders.make_gguf(home / f"{ENCODER}.gguf")
    entries = tuple(
        ModelEntry(name=name, file=f"{name}.gguf", sources=(FileSource(home / f"{name}.gguf"),))
        for name in (*BEHAVIOUR, ENCODER, "damaged", "absent")
    )
    given = {
        "context_length": CONTEXT, "kv_tokens": 4096, "max_batch_tokens": 64, "default_model": None,
        "embedding_model": ENCODER,
    }  # fmt: skip
    return Settings(home=home, models=entries, **{**given, **changes})  # type: ignore[arg-type]  # a test's own


async def start_fake(load: Load, on_progress: Callable[[int, int], None] | None = None) -> EngineClient:
    """Start a worker that behaves as its model's name says, or else one with the real model."""
    if Path(load.path).stem not in BEHAVIOUR:
        return await EngineClient.start(load, on_progress)
    root = str(Path(__file__).parent.parent)
    os.environ["PYTHONPATH"] = root
    os.environ[OPTIONS_VARIABLE] = BEHAVIOUR[Path(load.path).stem].to_environment()
    return await EngineClient.start(load, on_progress, runner=FAKE_RUNNER)


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    services: Services
    loop: asyncio.AbstractEventLoop
    described: Described

    def http(self) -> httpx.Client:
        """A client of it, which holds its answers to their description."""
        hooks = {"response": [self.described.check]}
        return httpx.Client(base_url=self.url, timeout=20, trust_env=False, event_hooks=hooks)

    def do(self, work: Awaitable[object]) -> object:
        """Run something on the server's loop."""

        async def run() -> object:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(20)


@contextlib.contextmanager
def serving(settings: Settings, model: str | None = "hello") -> Iterator[Served]:
    """A server in a thread of its own, with `model` loaded."""
    app = create_app(settings, model, Registry(settings, start_fake))
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app, http=BoundedProtocol, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve([listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=url, trust_env=False) as http:
            until(lambda: server.started)
            until(lambda: model is None or http.get("/health").json()["models"][model] == "loaded")
        yield Served(url, app.state.services, loops[0], Described(app))
    finally:
        server.should_exit = True
        thread.join(20)


def until(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    """Wait until something holds; AssertionError where it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.01)


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Every method and path that an application has, those of its routers too."""
    found: list[tuple[str, str]] = []
    left: list[Any] = list(app.routes)
    while left:
        route = left.pop()
        if (included := getattr(route, "original_router", None)) is not None:
            left += included.routes
        else:
            found += [(method, route.path) for method in route.methods]
    return sorted(found)
