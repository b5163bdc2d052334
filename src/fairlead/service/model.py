"""One model of the registry: what its file says, what it is doing, and who holds it.

Owns the facts and the bookkeeping of a single model; the decisions are the registry's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from fairlead.config import FileSource, ModelDefaults, ModelEntry, Settings
from fairlead.engine.client import EngineClient
from fairlead.errors import Conflict, ModelNotReady
from fairlead.gguf.reader import GGUFFile
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.models import describe
from fairlead.service.memory import Estimate, Footprint
from fairlead.service.prompt import ChatTemplate

State = Literal["available", "downloading", "downloaded", "loading", "loaded", "unloading", "failed"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load is. `done` and `total` are bytes, `eta_s` seconds."""

    phase: str
    """Of the download, as `gguf.staging` names it, or "loading"."""
    done: int
    total: int | None
    eta_s: float | None


Watcher = Callable[[Progress], None]

_TELL_S = 0.1
"""Progress is told no more often than this."""


class Pace:
    """Turns counts of bytes into `Progress` with the time left, and keeps reports apart."""

    def __init__(self) -> None:
        self._phase = ""
        self._began = (0.0, 0)
        self._told_at = 0.0

    def progress(self, phase: str, done: int, total: int | None) -> Progress | None:
        """What to tell now; None where it is too soon after the last time."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._began = phase, (now, done)
        elif now - self._told_at < _TELL_S and done != total:
            return None
        self._told_at = now
        since, at = self._began
        rate = (done - at) / (now - since) if now > since else 0.0
        eta = (total - done) / rate if total is not None and rate > 0 else None
        return Progress(phase, done, total, eta)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a model file says of itself."""

    architecture: str
    parameters: int
    quantization: str
    size_bytes: int
    footprint: Footprint

    @classmethod
    def read(cls, path: Path, settings: Settings) -> Self:
        """The facts of a file, from its header alone.

        Raises:
            ModelFileError, UnsupportedModel
        """
        with GGUFFile.open(path) as file:
            return cls.of(file, settings)

    @classmethod
    def of(cls, file: GGUFFile, settings: Settings) -> Self:
        """The facts of an open file."""
        footprint = Footprint.of(describe(file), file.tensors.values(), settings)
        return cls(file.architecture, file.parameter_count, file.quantization, file.size, footprint)


@dataclass(frozen=True, slots=True)
class Reading:
    """All that the server itself needs of a model file: the facts and the text side."""

    facts: Facts
    tokenizer: Tokenizer
    template: ChatTemplate
    opening: Sequence[int]
    """How the template opens a conversation with the configuration's system prompt."""

    @classmethod
    def of(cls, path: Path, settings: Settings, defaults: ModelDefaults) -> Self:
        """Read a file; takes up to seconds for a large vocabulary. Errors as in `Facts.read`."""
        with GGUFFile.open(path) as file:
            facts = Facts.of(file, settings)
            tokenizer = Tokenizer.from_metadata(file.metadata)
            template = ChatTemplate.from_metadata(file.metadata, tokenizer)
            return cls(facts, tokenizer, template, template.opening(defaults.system))


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
    estimated_bytes: int | None
    used_bytes: int
    source: str | None
    error: str | None


class Model:
    """What the registry knows of one model, and what is going on with it."""

    def __init__(self, entry: ModelEntry, path: Path | None) -> None:
        self.entry = entry
        self.path = path
        self.state: State = "available" if path is None else "downloaded"
        self.error: str | None = None
        self.facts: Facts | None = None
        self.loaded: LoadedModel | None = None
        self.loading: asyncio.Task[None] | None = None
        self.asked_context: int | None = None
        self.unloading: asyncio.Task[None] | None = None
        self.force = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self._leases: set[Lease] = set()
        self._watchers: list[Watcher] = []
        self._steps = -1
        self._moved_at = time.monotonic()

    # ---- loading --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def watched_by(self, watcher: Watcher | None) -> Iterator[None]:
        """Tell `watcher` of the progress of a load for as long as this lasts."""
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
        for watcher in list(self._watchers):
            watcher(progress)

    def locate(self, path: Path | None) -> None:
        """Take note of where the file is now, where nothing is going on with it."""
        if self.state in ("available", "downloaded") and self.loading is None and path != self.path:
            self.path, self.facts = path, None
            self.rest()

    def rest(self, error: str | None = None) -> None:
        """Back to a state without a worker; `error` says why the last try did not work."""
        self.loaded = None
        self.state = "available" if self.path is None else "downloaded"
        self.error = error

    def fail(self, reason: str) -> None:
        """The worker is gone, or never came."""
        self.loaded = None
        self.state = "failed"
        self.error = reason

    def refuse_other_context(self, context_length: int | None) -> None:
        """Conflict, where it is loaded or being loaded with a context other than this one."""
        current = self.loaded.context_length if self.loaded else self.asked_context
        if context_length is not None and context_length != current:
            raise Conflict(
                f"The model {self.entry.name} is {self.state} with a context of {current or 'its own'} tokens: "
                f"unload it before loading it with {context_length}.",
                param="context_length",
            )

    # ---- requests -------------------------------------------------------------------------------------

    def not_ready(self) -> ModelNotReady:
        """The error that says why requests cannot be taken now, and what to do."""
        name, state = self.entry.name, self.state
        reason = f" ({self.error})" if self.error else ""
        advice = "try again soon" if self.loading is not None else "load it with POST /load_model"
        return ModelNotReady(
            f"The model {name} is {state}{reason}: {advice}.",
            param="model",
            details={"model": name, "state": state},
        )

    def lease(self, lease: Lease) -> None:
        """A request holds the model from now on."""
        self._leases.add(lease)
        self.idle.clear()

    def release(self, lease: Lease) -> None:
        """The request is over."""
        self._leases.discard(lease)
        if not self._leases:
            self.idle.set()

    def cancel_all(self) -> None:
        """Ask every request that holds the model to end."""
        for lease in list(self._leases):
            lease.cancel()

    # ---- health ---------------------------------------------------------------------------------------

    def note_steps(self) -> None:
        """Remember when the worker was last seen to get on; to be called a few times a second."""
        stats = self.loaded.engine.stats if self.loaded else None
        steps = stats.steps if stats else 0
        if steps != self._steps or not self._is_busy():
            self._steps = steps
            self._moved_at = time.monotonic()

    def stalled_s(self) -> float:
        """Seconds since the worker last made a step; 0 where it has nothing to do."""
        return time.monotonic() - self._moved_at if self._is_busy() else 0.0

    def _is_busy(self) -> bool:
        return self.loaded is not None and self.loaded.engine.in_flight > 0

    # ---- telling --------------------------------------------------------------------------------------

    def status(self, *, active: bool) -> ModelStatus:
        """What people are told."""
        entry, facts, loaded = self.entry, self.facts, self.loaded
        context = entry.defaults.context_length or (facts.footprint.trained_context if facts else None)
        return ModelStatus(
            name=entry.name,
            architecture=entry.architecture or (facts.architecture if facts else None),
            parameters=entry.parameters or (_in_words(facts.parameters) if facts else None),
            quantization=entry.quantization or (facts.quantization if facts else None),
            context_length=loaded.context_length if loaded else context,
            size_bytes=facts.size_bytes if facts else entry.size_bytes,
            state=self.state,
            active=active,
            estimated_bytes=loaded.estimate.required_bytes if loaded else None,
            used_bytes=loaded.engine.rss_bytes() if loaded else 0,
            source=_source(entry),
            error=self.error,
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
