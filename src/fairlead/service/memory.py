"""What a model will need in memory, and what there is: the figures a load is decided by.

Owns the arithmetic of an estimate and the reading of limits; starts nothing and knows no model by name.
All sizes are in bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from fairlead import control_groups
from fairlead.config import Settings
from fairlead.control_groups import number
from fairlead.engine.messages import Load, Scheduling
from fairlead.errors import DoesNotFit
from fairlead.gguf.reader import Tensor
from fairlead.kernels import packed_bytes
from fairlead.models import ModelDescription

_KV_ITEM: Final = {"f16": 2, "f32": 4, "q8": 1}
_KV_SCALE: Final = {"f16": 0, "f32": 0, "q8": 4}
"""Bytes of a number in the KV cache, and of the scale that those of one token and head share."""
_PROCESS: Final = 128 << 20
"""A worker without a model: the interpreter, its libraries and its threads' stacks."""
_SLACK: Final = 0.02
"""Share of the weights kept free beside them: pages of the file that a load still holds."""
_WIDTHS: Final = 8
_HIDDENS: Final = 3
"""Rows of the model's width, and of its MLP's, that one token needs at once."""
_ROWS_OF_LOGITS: Final = 64
"""Requests that draw a token in one step."""
_ROOMY_KV: Final = 16_384
"""Tokens of KV cache wanted where there is memory: some chats beside each other."""
_MODEST_CONTEXT: Final = 4096
"""A context that nobody asked for may be cut down to this, but no further, to make a model fit."""
_STEP: Final = 256
"""Contexts that are found rather than asked for are multiples of this."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a loaded model will take."""

    weight_bytes: int
    kv_bytes: int
    work_bytes: int
    margin_bytes: int

    @property
    def required_bytes(self) -> int:
        """All of it."""
        return self.weight_bytes + self.kv_bytes + self.work_bytes + self.margin_bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is to be loaded: tokens of context, tokens of KV cache, and what that takes."""

    context_length: int
    kv_tokens: int
    estimate: Estimate

    def command(self, path: Path, settings: Settings) -> Load:
        """What a worker is told that shall load this file so."""
        budget_ms = settings.step_budget_ms
        return Load(
            path=str(path),
            context_length=self.context_length,
            kv_tokens=self.kv_tokens,
            kv_type=settings.kv_type,
            threads=settings.threads,
            max_batch_tokens=settings.max_batch_tokens,
            scheduling=Scheduling(
                policy=settings.policy,
                step_budget_s=None if budget_ms is None else budget_ms / 1000,
                max_running=settings.max_running,
                prefix_cache=settings.prefix_cache,
                lookup=settings.lookup,
            ),
        )


@dataclass(frozen=True, slots=True)
class Footprint:
    """What is known of a model's needs before its context is chosen."""

    weight_bytes: int
    work_bytes: int
    kv_bytes_per_token: int
    trained_context: int

    @classmethod
    def of(cls, description: ModelDescription, tensors: Iterable[Tensor], settings: Settings) -> Footprint:
        """The footprint of a model file under these settings."""
        row = description.width * _WIDTHS + description.feed_forward * _HIDDENS
        logits = _ROWS_OF_LOGITS * description.vocabulary
        kv = description.kv
        vector = kv.head_dim * _KV_ITEM[settings.kv_type] + _KV_SCALE[settings.kv_type]
        return cls(
            weight_bytes=sum(_loaded_bytes(tensor) for tensor in tensors),
            work_bytes=4 * (settings.max_batch_tokens * row + logits),
            kv_bytes_per_token=2 * kv.layers * kv.heads * vector,
            trained_context=description.context_length,
        )

    def estimate(self, kv_tokens: int) -> Estimate:
        """What the model takes with a KV cache of this many tokens."""
        margin = _PROCESS + int(self.weight_bytes * _SLACK)
        return Estimate(self.weight_bytes, kv_tokens * self.kv_bytes_per_token, self.work_bytes, margin)

    def largest_context(self, available: int) -> int:
        """The longest context that fits into so many bytes; 0 where the weights alone do not."""
        tokens = self._affordable(available)
        return min(tokens, self.trained_context)

    def plan(self, context_length: int | None, kv_tokens: int | None, available: int) -> Plan:
        """Choose what was left open, and see that it fits.

        Args:
            context_length: what was asked for; None takes the model's own, or what half of the memory holds.
            kv_tokens: what was asked for; None takes a roomy cache where it is cheap.
            available: bytes that may be taken.

        Raises:
            DoesNotFit: with both figures and the largest context that would fit.
        """
        affordable = self._affordable(available)
        if context_length is None:
            found = max(kv_tokens or affordable // 2, _MODEST_CONTEXT)
            context = min(found, self.trained_context)
        else:
            context = context_length
        if kv_tokens is None:
            kv_tokens = min(max(2 * context, _ROOMY_KV), affordable // 2)
        plan = Plan(context, max(kv_tokens, context), self.estimate(max(kv_tokens, context)))
        if plan.estimate.required_bytes > available:
            raise self._does_not_fit(plan, available)
        return plan

    def _affordable(self, available: int) -> int:
        left = available - self.estimate(0).required_bytes
        return max(0, left) // max(1, self.kv_bytes_per_token) // _STEP * _STEP

    def _does_not_fit(self, plan: Plan, available: int) -> DoesNotFit:
        required = plan.estimate.required_bytes
        largest = self.largest_context(available)
        advice = f"ask for a context_length of at most {largest}" if largest else "unload another model or free memory"
        return DoesNotFit(
            f"With a context of {plan.context_length} tokens the model needs about {_in_words(required)}, and "
            f"{_in_words(available)} are available: {advice}.",
            details={
                "required_bytes": required,
                "available_bytes": available,
                "largest_context_that_fits": largest,
                "weight_bytes": plan.estimate.weight_bytes,
                "kv_bytes": plan.estimate.kv_bytes,
                "work_bytes": plan.estimate.work_bytes,
                "margin_bytes": plan.estimate.margin_bytes,
            },
        )


def available_bytes(cgroup_root: Path = control_groups.ROOT) -> int:
    """What this process and its children may still take: the machine's memory or its control group's."""
    available = int(psutil.virtual_memory().available)
    for limit, used in _cgroup_limits(cgroup_root):
        available = min(available, limit - used)
    return max(0, available)


def _loaded_bytes(tensor: Tensor) -> int:
    """Matrices are packed for the products; vectors are kept in fp32."""
    if len(tensor.shape) < 2:
        return 4 * tensor.elements
    *outputs, inputs = tensor.shape
    rows = 1
    for count in outputs:
        rows *= count
    return packed_bytes(tensor.format, rows, inputs)


def _cgroup_limits(root: Path) -> Iterable[tuple[int, int]]:
    """(limit, used without what the kernel would give back) of the control groups that hold this process."""
    for folder in control_groups.unified(root):
        if (limit := number(folder / "memory.max")) is not None:
            yield limit, (number(folder / "memory.current") or 0) - _reclaimable(folder / "memory.stat", "")
    for folder in control_groups.of_controller("memory", root):
        if (limit := number(folder / "memory.limit_in_bytes")) is not None:
            used = number(folder / "memory.usage_in_bytes") or 0
            yield limit, used - _reclaimable(folder / "memory.stat", "total_")


def _reclaimable(path: Path, prefix: str) -> int:
    """Bytes of the page cache, which the kernel gives back before it refuses memory."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    keys = {f"{prefix}inactive_file", f"{prefix}active_file"}
    fields = (line.split() for line in lines)
    return sum(int(field[1]) for field in fields if len(field) == 2 and field[0] in keys)


def _in_words(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
