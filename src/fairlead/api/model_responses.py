"""What the routes about models answer. Sizes are in bytes; null is what is not known yet."""

from __future__ import annotations

from typing_extensions import TypedDict

from fairlead.api.errors import ErrorResponse
from fairlead.service.facts import Capability
from fairlead.service.model import State


class ModelMemory(TypedDict):
    """What a model takes."""

    estimated_bytes: int | None
    """What was predicted before this load, or the last."""
    measured_bytes: int | None
    """The most that its worker was seen to take."""
    used_bytes: int
    """Now."""


class LoadProgress(TypedDict):
    """How far a load or a download is."""

    phase: str
    bytes: int
    total: int | None
    eta_ms: int | None


class Model(TypedDict):
    """A model as the server knows it."""

    name: str
    architecture: str | None
    parameters: str | None
    """In words, such as "135M"."""
    quantization: str | None
    context_length: int | None
    size_bytes: int | None
    state: State
    active: bool
    pinned: bool
    keep_alive_s: float | None
    """Seconds without a request that it is kept; null is for ever."""
    source: str | None
    progress: LoadProgress | None
    error: str | None
    """Why its last load did not work."""
    capabilities: list[Capability]
    memory: ModelMemory


class Disk(TypedDict):
    """What the models folder takes."""

    models_bytes: int
    partial_bytes: int
    """Of downloads that are not whole."""
    free_bytes: int


class Models(TypedDict):
    """All models, and what their files take."""

    models: list[Model]
    active: str | None
    disk: Disk


class Gpu(TypedDict):
    """A graphics processor and its memory."""

    name: str
    total_bytes: int
    available_bytes: int


class Estimate(TypedDict):
    """What loading a model would take now."""

    name: str
    context_length: int
    kv_tokens: int
    weight_bytes: int
    kv_bytes: int
    work_bytes: int
    margin_bytes: int
    required_bytes: int
    """The sum of these four."""
    available_bytes: int
    fits: bool
    unloads: list[str]
    """The idle models that would leave for it."""
    largest_context_that_fits: int
    gpus: list[Gpu]


class ActiveModel(TypedDict):
    """Which model is asked where a request names none."""

    active: str | None


class ModelRemoved(TypedDict):
    """What removing a model gave back."""

    name: str
    freed_bytes: int


class ModelVerified(TypedDict):
    """A file that is what it should be."""

    name: str
    sha256: str


class LoadEvents(TypedDict):
    """The events of a load or a download, by their names."""

    progress: LoadProgress
    done: Model
    error: ErrorResponse


class VerifyEvents(TypedDict):
    """The events of a model's verification, by their names."""

    progress: LoadProgress
    done: ModelVerified
    error: ErrorResponse
