"""Models as a server tells of them: the shapes of its answers, for programs that ask one. Sizes are in bytes."""

from __future__ import annotations

import msgspec


class LoadProgress(msgspec.Struct, frozen=True):
    """How far a load or a download is; `total` and `eta_ms` are None while nobody knows."""

    phase: str
    bytes: int = 0
    total: int | None = None
    eta_ms: float | None = None


class Memory(msgspec.Struct, frozen=True):
    """What a model was estimated to take, was seen to take at most, and takes now; None where it is not known."""

    estimated_bytes: int | None = None
    measured_bytes: int | None = None
    used_bytes: int | None = None


class ModelInfo(msgspec.Struct, frozen=True):
    """A model as the server knows it."""

    name: str
    state: str
    active: bool = False
    pinned: bool = False
    keep_alive_s: float | None = None
    """Seconds without a request that it is kept; None is for ever."""
    architecture: str | None = None
    parameters: str | None = None
    quantization: str | None = None
    context_length: int | None = None
    size_bytes: int | None = None
    capabilities: list[str] = []
    memory: Memory = Memory()
    source: str | None = None
    progress: LoadProgress | None = None
    error: str | None = None


class Disk(msgspec.Struct, frozen=True):
    """What the models folder takes."""

    models_bytes: int = 0
    partial_bytes: int = 0
    free_bytes: int = 0


class Models(msgspec.Struct, frozen=True):
    """All models, the name of the active one, and what their files take."""

    models: list[ModelInfo]
    active: str | None = None
    disk: Disk = Disk()


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What loading a model would take; `unloads` names the idle models that would leave for it."""

    name: str
    context_length: int
    kv_tokens: int
    weight_bytes: int
    kv_bytes: int
    work_bytes: int
    margin_bytes: int
    required_bytes: int
    available_bytes: int
    fits: bool
    unloads: list[str] = []
    largest_context_that_fits: int = 0


class Verified(msgspec.Struct, frozen=True):
    """A model whose file is what it should be."""

    name: str
    sha256: str


class Removed(msgspec.Struct, frozen=True):
    """What removing a model gave back."""

    name: str
    freed_bytes: int
