"""The process that serves one model: `python -m fairlead.engine.worker FD [--runner MODULE:FUNCTION]`.

FD is its end of a socketpair with the server. The first command is a `Load`; then it works until the server
closes the other end or dies. Owns the process: signals, log, the order of reading, stepping and sending.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import importlib
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import cast

from fairlead.engine.embedding_engine import EmbeddingEngine
from fairlead.engine.encoder import Encoder
from fairlead.engine.engine import Engine
from fairlead.engine.framing import FrameError, ServerGone, WorkerConnection
from fairlead.engine.kv_cache import KVCache
from fairlead.engine.messages import (
    Cancel,
    Command,
    Embed,
    Embedded,
    Event,
    Failed,
    Generate,
    Load,
    Loaded,
    LoadFailed,
    Progress,
    Score,
)
from fairlead.engine.runner import Runner
from fairlead.engine.scheduler import Scheduler
from fairlead.errors import EngineFailed, FairleadError, InvalidRequest

ModelFactory = Callable[[Load, Callable[[int, int], None]], tuple[Runner | Encoder, Loaded]]
"""Loads a model, telling how many of how many bytes are done."""

DEFAULT_RUNNER = "fairlead.kernels.loading:load"
REPORT_EVERY_S = 0.25
"""Between two `Stats`, and between two `Progress`, lie at least this many seconds,"""

QUEUE_EVERY_S = 0.02
"""or this many where a request has begun to wait: its caller hears at once that it does."""

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the process; returns when the server has gone or the model could not be loaded."""
    parser = argparse.ArgumentParser(prog="python -m fairlead.engine.worker", description=__doc__)
    parser.add_argument("fd", type=int, help="the worker's end of a socketpair")
    parser.add_argument("--runner", default=DEFAULT_RUNNER, help="the function that loads the model")
    options = parser.parse_args(arguments)

    # Ctrl-C goes to every process of the terminal, a service manager's SIGTERM to every process of the service; what
    # becomes of the worker is for the server to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable()
    logging.basicConfig(format=f"%(asctime)s worker[{os.getpid()}] %(levelname)s %(message)s")
    connected = socket.socket(fileno=options.fd)
    threading.Thread(target=_end_with_server, args=(options.fd,), daemon=True).start()
    try:
        work(WorkerConnection(connected), options.runner)
    except ServerGone:
        log.debug("the server has closed the connection")


def work(connection: WorkerConnection, runner: str) -> None:
    """Load, then serve until ServerGone says that the server has gone."""
    command, *early = connection.receive(wait=True)
    if not isinstance(command, Load):
        raise FrameError(f"the first command is {type(command).__name__}, not Load")
    try:
        engine, loaded = _load(command, runner, connection)
    except ServerGone:
        raise
    except FairleadError as error:
        log.warning("the model was not loaded: %s", error.message)
        connection.send([LoadFailed(error.code, error.message, _plain(error.details))])
        return
    except Exception:
        log.exception("the model was not loaded")
        message = "The model could not be loaded; the server's log says why."
        connection.send([LoadFailed(EngineFailed.code, message)])
        return
    connection.send([loaded])
    # What the load made stays for good; the collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    _serve(connection, engine, early)


def _serve(connection: WorkerConnection, engine: Engine | EmbeddingEngine, commands: list[Command]) -> None:
    """Take commands in between the steps, and wait for them where there is nothing to compute."""
    reported, told_waiting = -REPORT_EVERY_S, 0
    while True:
        events: list[Event] = []
        for command in commands:
            events += _obey(command, engine)
        events += engine.step()
        now = time.monotonic()
        idle = not engine.has_work
        if idle or now - reported >= (QUEUE_EVERY_S if engine.waiting > told_waiting else REPORT_EVERY_S):
            events.append(engine.stats())
            reported, told_waiting = now, engine.waiting
        for frame in _frames(events):
            connection.send(frame)
        commands = connection.receive(wait=idle)


def _frames(events: list[Event]) -> list[list[Event]]:
    """The events of a step as few frames, none of them too long: vectors, which may take megabytes, each in its own."""
    vectors: list[list[Event]] = [[event] for event in events if isinstance(event, Embedded)]
    others: list[Event] = [event for event in events if not isinstance(event, Embedded)]
    return [*vectors, others] if others else vectors


def _obey(command: Command, engine: Engine | EmbeddingEngine) -> list[Event]:
    match command, engine:
        case Generate() | Score(), Engine():
            return engine.add(command)
        case Embed(), EmbeddingEngine():
            return engine.add(command)
        case Generate() | Score(), _:
            return [Failed(command.id, InvalidRequest.code, "This model makes vectors of texts, and no answers.")]
        case Embed(), _:
            return [Failed(command.id, InvalidRequest.code, "This model makes answers, and no vectors of texts.")]
        case Cancel(), _:
            return engine.cancel(command)
        case _:
            raise FrameError("a worker loads one model only")


def _load(load: Load, runner: str, connection: WorkerConnection) -> tuple[Engine | EmbeddingEngine, Loaded]:
    """The engine of a command, its progress told to the server."""
    told = -REPORT_EVERY_S

    def progress(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= REPORT_EVERY_S or done == total:
            told = now
            connection.send([Progress(done, total)])

    module, _, function = runner.partition(":")
    factory = cast("ModelFactory", getattr(importlib.import_module(module), function))
    model, loaded = factory(load, progress)
    return _engine(model, load), loaded


def _engine(model: Runner | Encoder, load: Load) -> Engine | EmbeddingEngine:
    if isinstance(model, Encoder):
        return EmbeddingEngine(model)
    scheduler = Scheduler(
        KVCache(model.page_count, model.page_size),
        context_length=load.context_length,
        max_batch_tokens=min(load.max_batch_tokens, model.max_batch_tokens),
        scheduling=load.scheduling,
    )
    return Engine(scheduler, model)


def _end_with_server(fd: int) -> None:
    """End this process as soon as the other end of the socketpair is closed, amid a load or a step.

    However the server ends, the kernel closes its end. The call waits for hang-up alone, so that it sleeps
    through all traffic; nothing in this process needs to be tidied up.
    """
    poller = select.poll()
    poller.register(fd, getattr(select, "POLLRDHUP", 0))  # POLLHUP comes unasked, wherever there is no POLLRDHUP
    poller.poll()
    os._exit(0)


def _plain(details: dict[str, object]) -> dict[str, int | float | str]:
    """An error's figures, in the types that a message can carry."""
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in details.items()}


if __name__ == "__main__":
    main()
