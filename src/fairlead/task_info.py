"""What the language tasks answer: the shapes of the HTTP contract, for its clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import msgspec

from fairlead.answer_info import Usage


class SummaryWishes(TypedDict, total=False):
    """How a text is to be made short; what is left out is the server's default."""

    max_words: int
    share: float
    model: str
    temperature: float
    seed: int
    timeout_s: float
    user: str


class ClassificationWishes(TypedDict, total=False):
    """How texts are to be put under labels; what is left out is the server's default."""

    examples: Sequence[Mapping[str, str]]
    """Each a `text` and its `label`."""
    instruction: str
    model: str
    request_id: str
    user: str


class TaskProgress(msgspec.Struct, frozen=True):
    """How far a task is: so many of so many of what `phase` names."""

    phase: str
    done: int
    total: int


class TaskTiming(msgspec.Struct, frozen=True):
    """What a task took, in milliseconds."""

    total_ms: float


class Summary(msgspec.Struct, frozen=True):
    """A summary; `share_read` of the text was given to the model, in so many parts."""

    id: str
    model: str
    summary: str
    words: int
    share_read: float
    parts: int
    rounds: int
    finish_reason: str
    usage: Usage
    timing: TaskTiming


class AnswerWishes(TypedDict, total=False):
    """How a question is to be answered; what is left out is the server's default."""

    top_k: int
    threshold: float
    model: str
    max_tokens: int
    temperature: float
    seed: int
    timeout_s: float
    request_id: str
    user: str


class AnswerSource(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model was given of a text (`start`, `end`), of a file, or of a collection; `score` is the cosine."""

    kind: str
    text: str
    score: float
    start: int | None = None
    end: int | None = None
    chat_id: int | None = None
    file_id: int | None = None
    name: str | None = None
    page: int | None = None
    line_from: int | None = None
    line_to: int | None = None
    collection: str | None = None
    row_id: int | None = None
    row: dict[str, str | float | None] | None = None


class AnswerSources(msgspec.Struct, frozen=True):
    """What was found before the answer begins; no sources where nothing reaches the threshold."""

    sources: list[AnswerSource]
    best_score: float | None
    threshold: float


class AnswerTiming(msgspec.Struct, frozen=True):
    """Where an answer's time went, in milliseconds from its beginning."""

    search_ms: float
    ttft_ms: float | None
    total_ms: float


class TextAnswer(msgspec.Struct, frozen=True):
    """An answer from given texts; `answered` is whether it is more than that nothing is known."""

    id: str
    model: str
    answered: bool
    answer: str
    sources: list[AnswerSource]
    best_score: float | None
    threshold: float
    finish_reason: str
    usage: Usage
    timing: AnswerTiming


class Labelled(msgspec.Struct, frozen=True):
    """A text's likeliest label, and how likely each is; `index` says which text, in a stream."""

    label: str
    probabilities: dict[str, float]
    index: int = 0


class Classification(msgspec.Struct, frozen=True):
    """Texts under their labels, in their order; None for one that was not reached before the work was cancelled."""

    id: str
    model: str
    results: list[Labelled | None]
    finish_reason: str
    usage: Usage
    timing: TaskTiming
