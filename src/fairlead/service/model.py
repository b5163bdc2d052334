"""One model of the registry: what its file says, what it is doing, and who holds it.

Owns the facts and the bookkeeping of a single model; the decisions are the registry's.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fairlead.engine.client import EngineClient
from fairlead.errors import Conflict, InvalidRequest, ModelNotReady
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.model_entry import FileSource, ModelDefaults, ModelEntry
from fairlead.service.facts import Capability, Facts, capabilities_of
from fairlead.service.memory import Estimate
from fairlead.service.progress import Progress, Watcher
from fairlead.service.prompt import ChatTemplate
from fairlead.service.room import Resident
from fairlead.service.supervision import Pulse, Restarts

State = Literal["available", "downloading", "downloaded", "loading", "loaded", "unloading", "failed"]

_UNKNOWN_LOAD_S = 1.0
"""What a load is taken to cost before one was seen."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model that can answer."""

    name: str
    engine: EngineClient
    tokenizer: Tokenizer
    template: ChatTemplate
    context_length: int
    defaults: ModelDefaults
    estimate: Estimate
    opening: Sequence[int] = ()
    """How prompts begin that begin with no user's words: with the configuration's system prompt, in the template."""
    share_prefixes: bool = False
    """Whether users share all that their prompts have in common, and not the opening alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """What people are told of a model; None where it is not known yet. Sizes in bytes."""

    name: str
    architecture: str | None
    parameters: str | None
    quantization: str | None
    context_length: int | None
    size_bytes: int | None
    state: State
    active: bool
    pinned: bool
    keep_alive_s: float | None
    """None is for ever."""
    estimated_bytes: int | None
    """Of this load, or of the last."""
    measured_bytes: int | None
    """The most that its worker was seen to take, in this load or the last."""
    used_bytes: int
    source: str | None
    progress: Progress | None
    error: str | None
    capabilities: tuple[Capability, ...]


class Model:
    """What the registry knows of one model, and what is going on with it."""

    def __init__(self, entry: ModelEntry, path: Path | None, on_idle: Callable[[], None] = lambda: None) -> None:
        """`on_idle` is called when the last request has let go, or the model has left."""
        now = time.monotonic()
        self.entry = entry
        self.path = path
        self.state: State = "available" if path is None else "downloaded"
        self.error: str | None = None
        self.facts: Facts | None = None
        self.loaded: LoadedModel | None = None
        self.loading: asyncio.Task[None] | None = None
        """A load, or the tries to bring a worker back that died."""
        self.fetching: asyncio.Task[Path] | None = None
        self.unloading: asyncio.Task[None] | None = None
        self.asked_context: int | None = None
        self.keep_alive = math.inf
        self.pinned = False
        self.force = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.on_idle = on_idle
        self.restarts = Restarts()
        self.restarting: str | None = None
        """While a worker is brought back: how the last one ended."""
        self.pulse = Pulse(now)
        self._estimate: Estimate | None = None
        self._measured = 0
        self.load_s = _UNKNOWN_LOAD_S
        """What the last load took."""
        self.replaced: tuple[str, ...] = ()
        """The models that left for this one, where it was loaded to stay."""
        self._loaded_at = self._used_at = now
        self._leases: set[Lease] = set()
        self._watchers: list[Watcher] = []
        self._progress: Progress | None = None

    @property
    def name(self) -> str:
        """What it goes by."""
        return self.entry.name

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """What it can be asked for, as its file says or, before that is known, its entry."""
        return self.facts.capabilities if self.facts else capabilities_of(self.entry.architecture)

    def require(self, capability: Capability) -> None:
        """InvalidRequest where the model cannot be asked for this."""
        if capability not in self.capabilities:
            can = "makes vectors of texts, by POST /v1/embeddings" if "embedding" in self.capabilities else "chats"
            raise InvalidRequest(f"The model {self.name} only {can}.", param="model")

    # ---- loading --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def watched_by(self, watcher: Watcher | None) -> Iterator[None]:
        """Tell `watcher` of the progress of a load or a download for as long as this lasts."""
        if watcher is None:
            yield
            return
        self._watchers.append(watcher)
        try:
            yield
        finally:
            self._watchers.remove(watcher)

    def tell(self, progress: Progress) -> None:
        """Pass progress on to those who watch."""
        self._progress = progress
        for watcher in list(self._watchers):
            watcher(progress)

    def locate(self, path: Path | None) -> None:
        """Take note of where the file is now, where nothing is going on with it."""
        resting = self.state in ("available", "downloaded") and self.loading is None and self.fetching is None
        if resting and path != self.path:
            self.path, self.facts = path, None
            self.rest()

    def rest(self, error: str | None = None) -> None:
        """Back to a state without a worker; `error` says why the last try did not work."""
        self.loaded = None
        self.restarting = None
        self.state = "available" if self.path is None else "downloaded"
        self.error = error

    def fail(self, reason: str) -> None:
        """The worker is gone, or never came."""
        self.loaded = None
        self.restarting = None
        self.state = "failed"
        self.error = reason

    def came_up(self, loaded: LoadedModel, load_s: float) -> None:
        """It can answer from now on."""
        now = time.monotonic()
        self.loaded, self.state, self.error, self.restarting = loaded, "loaded", None, None
        self._estimate, self._measured = loaded.estimate, loaded.engine.rss_bytes()
        self.load_s, self._loaded_at, self._used_at = load_s, now, now
        self.pulse = Pulse(now)
        self.restarts.came_up(now)

    def refuse_other_context(self, context_length: int | None) -> None:
        """Conflict, where it is loaded or being loaded with a context other than this one."""
        current = self.loaded.context_length if self.loaded else self.asked_context
        if context_length is not None and context_length != current:
            raise Conflict(
                f"The model {self.name} is {self.state} with a context of {current or 'its own'} tokens: "
                f"unload it before loading it with {context_length}.",
                param="context_length",
            )

    # ---- requests -------------------------------------------------------------------------------------

    @property
    def can_answer(self) -> bool:
        """Whether requests can be taken now."""
        return self.loaded is not None and self.loaded.engine.alive and self.state == "loaded"

    def not_ready(self) -> ModelNotReady:
        """The error that says why requests cannot be taken now, and what to do."""
        reason = f" ({self.error})" if self.error else ""
        advice = "try again soon" if self.loading is not None else "load it with POST /load_model"
        return ModelNotReady(
            f"The model {self.name} is {self.state}{reason}: {advice}.",
            param="model",
            details={"model": self.name, "state": self.state},
        )

    def lease(self, lease: Lease) -> None:
        """A request holds the model from now on."""
        self._leases.add(lease)
        self.idle.clear()

    def release(self, lease: Lease) -> None:
        """The request is over."""
        if lease in self._leases:
            self._leases.remove(lease)
            self._used_at = time.monotonic()
            if not self._leases:
                self.idle.set()
                self.on_idle()

    def cancel_all(self) -> None:
        """Ask every request that holds the model to end."""
        for lease in list(self._leases):
            lease.cancel()

    def expires_at(self) -> float:
        """When it has been idle for as long as it is kept; infinite while it answers or is to be kept."""
        if not self.can_answer or not self.idle.is_set() or self.pinned:
            return math.inf
        return self._used_at + self.keep_alive

    # ---- memory and health ----------------------------------------------------------------------------

    def resident(self) -> Resident | None:
        """Its place in memory; None where it has none."""
        if self.loaded is None:
            return None
        return Resident(
            self.name,
            size_bytes=max(self.loaded.estimate.required_bytes, self.loaded.engine.rss_bytes()),
            reload_s=self.load_s,
            loaded_at=self._loaded_at,
            used_at=self._used_at,
            busy=not self.idle.is_set() or self.state != "loaded",
            pinned=self.pinned,
        )

    def untouched_bytes(self) -> int:
        """Memory that it was promised and has not taken yet."""
        if self.loaded is None:
            return 0
        return max(0, self.loaded.estimate.required_bytes - self.loaded.engine.rss_bytes())

    def note_signs(self) -> float:
        """Look at the worker, a few times a second; for how many seconds it has shown no progress."""
        if self.loaded is None:
            return 0.0
        engine, now = self.loaded.engine, time.monotonic()
        steps = engine.stats.steps if engine.stats else 0
        self.pulse.note(now, busy=engine.in_flight > 0, steps=steps, cpu_s=engine.cpu_s())
        self._measured = max(self._measured, engine.rss_bytes())
        return self.pulse.stalled_s(now)

    def stalled_s(self) -> float:
        """Seconds without progress, as of the last look; 0 where it has nothing to do."""
        return self.pulse.stalled_s(time.monotonic()) if self.loaded and self.loaded.engine.in_flight else 0.0

    # ---- telling --------------------------------------------------------------------------------------

    def status(self, *, active: bool) -> ModelStatus:
        """What people are told."""
        entry, facts, loaded = self.entry, self.facts, self.loaded
        context = entry.defaults.context_length or (facts.footprint.trained_context if facts else None)
        used = loaded.engine.rss_bytes() if loaded else 0
        self._measured = max(self._measured, used)
        return ModelStatus(
            name=entry.name,
            architecture=entry.architecture or (facts.architecture if facts else None),
            parameters=entry.parameters or (_in_words(facts.parameters) if facts else None),
            quantization=entry.quantization or (facts.quantization if facts else None),
            context_length=loaded.context_length if loaded else context,
            size_bytes=facts.size_bytes if facts else entry.size_bytes,
            state=self.state,
            active=active,
            pinned=self.pinned,
            keep_alive_s=self.keep_alive if math.isfinite(self.keep_alive) else None,
            estimated_bytes=self._estimate.required_bytes if self._estimate else None,
            measured_bytes=self._measured or None,
            used_bytes=used,
            source=_source(entry),
            progress=self._progress if self.state in ("downloading", "loading") else None,
            error=self.error,
            capabilities=self.capabilities,
        )


class Lease:
    """A request's hold on a loaded model; while it lasts the model is not unloaded (unless by force)."""

    __slots__ = ("_owner", "cancel", "model")

    def __init__(self, owner: Model, model: LoadedModel, cancel: Callable[[], None]) -> None:
        self._owner = owner
        self.model = model
        self.cancel = cancel
        owner.lease(self)

    def share(self, cancel: Callable[[], None]) -> Lease:
        """A hold on the same model for another request."""
        return Lease(self._owner, self.model, cancel)

    def release(self) -> None:
        """The request is over; may be called twice."""
        self._owner.release(self)


def _source(entry: ModelEntry) -> str | None:
    """Where a model comes from, in words; of a file on this machine only its name."""
    if not entry.sources:
        return None
    first = entry.sources[0]
    return f"file {first.path.name}" if isinstance(first, FileSource) else str(first)


def _in_words(parameters: int) -> str:
    """A count of weights as people say it: 135M, 1.1B."""
    if parameters >= 10**9:
        return f"{parameters / 10**9:.1f}".removesuffix(".0") + "B"
    return f"{parameters / 10**6:.0f}M" if parameters >= 10**6 else str(parameters)
