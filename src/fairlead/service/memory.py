"""What a model will need in memory: the figures a load is decided by.

Owns the arithmetic of an estimate, from a file's header alone; what there is to be had is in `capacity.py`.
Starts nothing and knows no model by name. All sizes are in bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairlead.config import Settings
from fairlead.engine.messages import Load, Scheduling
from fairlead.errors import DoesNotFit
from fairlead.gguf.reader import Tensor
from fairlead.kernels import packed_bytes
from fairlead.kernels.native_encoder import in_bf16
from fairlead.kernels.processors import given_processors
from fairlead.models import ModelDescription

_KV_ITEM: Final = {"f16": 2, "f32": 4, "q8": 1}
_KV_SCALE: Final = {"f16": 0, "f32": 0, "q8": 4}
"""Bytes of a number in the KV cache, and of the scale that those of one token and head share."""
_PROCESS: Final = 60 << 20
"""A worker without a model: the interpreter and its libraries take 44 to 53 MiB, the more the larger the vocabulary."""
_THREAD: Final = 1 << 20
"""A thread's stack, and its own room for what it computes."""
_SLACK: Final = 0.005
"""Share of the weights kept free beside them: what allocating and the kernel's tables of pages take."""
_WIDTHS: Final = 4
_HIDDENS: Final = 3
"""Rows of the model's width, and of its MLP's, that one token needs at once, packed ones included; and its keys and
values."""
_SOFTMAX: Final = 2
"""Numbers that a softmax keeps beside its sums: the largest score and the total."""
_LEAST_DRAWS: Final = 64
"""Rows of logits that a worker keeps room for, however few requests may run; guesses need no more."""
_SEGMENT_QUERIES: Final = 4 * 16 * 32
"""Queries for each thread whose sums over segments of a long context are kept (csrc/attention_stage.cpp): tasks by
segments by queries."""
_ROOMY_KV: Final = 16_384
"""Tokens of KV cache wanted where there is memory: some chats beside each other."""
_MODEST_CONTEXT: Final = 4096
"""A context that nobody asked for may be cut down to this, but no further, to make a model fit."""
_TABLES: Final = frozenset({"token_embd", "position_embd", "token_types"})
_ENCODER_WIDTHS: Final = 8
_ENCODER_HIDDENS: Final = 2
"""Rows of an encoder's width, and of its MLP's, that one token needs at once, packed ones included."""
_PAGE: Final = 32
"""Keys and values are laid out for whole pages of tokens."""
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
    parallel: int | None = None
    """Most requests that shall run at once, where that was asked for."""

    def command(self, path: Path, settings: Settings) -> Load:
        """What a worker is told that shall load this file so."""
        budget_ms = settings.step_budget_ms
        return Load(
            path=str(path),
            context_length=self.context_length,
            kv_tokens=self.kv_tokens,
            kv_type=settings.kv_type,
            activations=settings.activations,
            threads=settings.threads,
            max_batch_tokens=settings.max_batch_tokens,
            scheduling=Scheduling(
                policy=settings.policy,
                step_budget_s=None if budget_ms is None else budget_ms / 1000,
                max_running=min(self.parallel or settings.max_running, settings.max_running),
                prefix_cache=settings.prefix_cache,
                lookup=settings.lookup,
            ),
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for, or set, for a load; None leaves it open."""

    context_length: int | None = None
    """None takes the model's own, or what half of the memory holds."""
    kv_tokens: int | None = None
    """None takes a roomy cache where it is cheap."""
    parallel: int | None = None
    """Requests of the whole context that run at once, and that the cache shall hold; stands above `kv_tokens`."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What is known of a model's needs before its context is chosen."""

    weight_bytes: int
    work_bytes: int
    kv_bytes_per_token: int
    """0 of an encoder, which has no cache, and no context beyond the one that it was trained with."""
    trained_context: int
    threads: int = 1

    @classmethod
    def of(cls, description: ModelDescription, tensors: Iterable[Tensor], settings: Settings) -> Footprint:
        """The footprint of a model file under these settings."""
        kv = description.kv
        if kv is None:
            return cls._of_encoder(description, tensors, settings)
        row = description.width * _WIDTHS + description.feed_forward * _HIDDENS + 2 * kv.heads * kv.head_dim
        draws = min(max(_LEAST_DRAWS, settings.max_running), settings.max_batch_tokens)
        threads = settings.threads or given_processors()
        segments = threads * _SEGMENT_QUERIES * (kv.head_dim + _SOFTMAX)
        vector = kv.head_dim * _KV_ITEM[settings.kv_type] + _KV_SCALE[settings.kv_type]
        return cls(
            weight_bytes=sum(_loaded_bytes(tensor) for tensor in tensors),
            work_bytes=4 * (settings.max_batch_tokens * row + draws * description.vocabulary + segments),
            kv_bytes_per_token=2 * kv.layers * kv.heads * vector,
            trained_context=description.context_length,
            threads=threads,
        )

    @classmethod
    def _of_encoder(cls, description: ModelDescription, tensors: Iterable[Tensor], settings: Settings) -> Footprint:
        """A step holds whole texts, and each thread the keys and values of one head of one."""
        threads = settings.threads or given_processors()
        rows = max(settings.max_batch_tokens, description.context_length)
        row = description.width * _ENCODER_WIDTHS + description.feed_forward * _ENCODER_HIDDENS
        head = threads * (description.context_length + _PAGE) * 2 * description.width
        return cls(
            weight_bytes=sum(_encoder_bytes(tensor) for tensor in tensors),
            work_bytes=4 * (rows * row + head),
            kv_bytes_per_token=0,
            trained_context=description.context_length,
            threads=threads,
        )

    def estimate(self, kv_tokens: int) -> Estimate:
        """What the model takes with a KV cache of this many tokens."""
        margin = _PROCESS + _THREAD * self.threads + int(self.weight_bytes * _SLACK)
        return Estimate(self.weight_bytes, kv_tokens * self.kv_bytes_per_token, self.work_bytes, margin)

    def largest_context(self, available: int, parallel: int = 1) -> int:
        """The longest context that so many bytes hold, for so many requests; 0 where the weights alone do not fit."""
        return min(self._affordable(available) // parallel // _STEP * _STEP, self.trained_context)

    def least(self, wish: Wish) -> Plan:
        """The least with which this model may be loaded: what was asked for, or a modest context."""
        context = wish.context_length or min(_MODEST_CONTEXT, self.trained_context)
        if not self.kv_bytes_per_token:
            context = min(context, self.trained_context)
        tokens = context * wish.parallel if wish.parallel else max(context, wish.kv_tokens or 0)
        return Plan(context, tokens, self.estimate(tokens), wish.parallel)

    def plan(self, wish: Wish, available: int) -> Plan:
        """Choose what was left open, and see that it fits into `available` bytes.

        Raises:
            DoesNotFit: with both figures and the largest context that would fit.
        """
        affordable = self._affordable(available)
        least = self.least(wish)
        context, tokens = least.context_length, wish.kv_tokens
        if wish.context_length is None:
            found = affordable // max(2, wish.parallel or 1) if tokens is None or wish.parallel else tokens
            context = min(max(found, context), self.trained_context)
        if not self.kv_bytes_per_token:
            tokens = context
        elif wish.parallel is not None:
            tokens = context * wish.parallel
        elif tokens is None:
            tokens = min(max(2 * context, _ROOMY_KV), affordable // 2)
        tokens = max(tokens, context)
        plan = Plan(context, tokens, self.estimate(tokens), wish.parallel)
        if plan.estimate.required_bytes > available:
            raise self.does_not_fit(plan, available)
        return plan

    def _affordable(self, available: int) -> int:
        left = available - self.estimate(0).required_bytes
        return max(0, left) // max(1, self.kv_bytes_per_token) // _STEP * _STEP

    def does_not_fit(self, plan: Plan, available: int) -> DoesNotFit:
        """The error that says so, with the figures and what to do."""
        required = plan.estimate.required_bytes
        largest = self.largest_context(available, max(1, plan.kv_tokens // plan.context_length))
        smaller = 0 < largest < plan.context_length
        advice = f"ask for a context_length of at most {largest}" if smaller else "unload another model or free memory"
        return DoesNotFit(
            f"With a context of {plan.context_length} tokens the model needs about {in_words(required)}, and "
            f"{in_words(available)} are available: {advice}.",
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


def _loaded_bytes(tensor: Tensor) -> int:
    """Matrices are packed for the products; vectors are kept in fp32."""
    if len(tensor.shape) < 2:
        return 4 * tensor.elements
    *outputs, inputs = tensor.shape
    rows = 1
    for count in outputs:
        rows *= count
    return packed_bytes(tensor.format, rows, inputs)


def _encoder_bytes(tensor: Tensor) -> int:
    """Embeddings are looked up as they are stored; other matrices are multiplied in bf16."""
    looked_up = tensor.name.removesuffix(".weight") in _TABLES and tensor.format.block == 1
    if looked_up or len(tensor.shape) < 2:
        return max(4 * tensor.shape[0], tensor.nbytes)
    return packed_bytes(in_bf16(tensor.format), tensor.shape[0], tensor.shape[1])


def in_words(size: int) -> str:
    """Bytes as people say them."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
