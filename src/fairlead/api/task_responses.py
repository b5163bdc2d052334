"""What the language tasks answer."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from fairlead.api.collection_responses import Row
from fairlead.api.errors import ErrorResponse
from fairlead.service.answer_events import FinishReason, Text
from fairlead.service.reports import Usage


class TaskTiming(TypedDict):
    """What a task took."""

    total_ms: float


class Task(TypedDict):
    """What every task tells of itself."""

    id: str
    model: str
    finish_reason: FinishReason
    usage: Usage


# ---- summaries ------------------------------------------------------------------------------------


class SummaryProgress(TypedDict):
    """How far a summary is: parts of the text are summarised, then summaries joined, then the last is written."""

    phase: Literal["parts", "joining", "writing"]
    done: int
    total: int


class Summary(Task):
    """A text made short."""

    summary: str
    words: int
    share_read: float
    """Of the text's characters, how many the model was given."""
    parts: int
    rounds: int
    timing: TaskTiming


class SummaryEvents(TypedDict):
    """The events of a summary, by their names."""

    progress: SummaryProgress
    token: Text
    done: Summary
    error: ErrorResponse


# ---- answers from texts ---------------------------------------------------------------------------


class AnswerProgress(TypedDict):
    """How many texts are embedded, before any is found."""

    phase: Literal["embedding"]
    done: int
    total: int


class AnswerSource(TypedDict):
    """What the model was given, and where it stands."""

    kind: Literal["context", "file", "row"]
    text: str
    score: float
    """The cosine with the question."""
    start: NotRequired[int]
    """Of a context: its first character there."""
    end: NotRequired[int]
    """And the one behind its last."""
    chat_id: NotRequired[int]
    """Of a file that is kept."""
    file_id: NotRequired[int]
    name: NotRequired[str]
    """Of a file."""
    page: NotRequired[int]
    line_from: NotRequired[int]
    line_to: NotRequired[int]
    collection: NotRequired[str]
    """Of a row."""
    row_id: NotRequired[int]
    row: NotRequired[Row]


class AnswerSources(TypedDict):
    """What was found for a question, the best first; nothing where `best_score` is below the threshold."""

    sources: list[AnswerSource]
    best_score: float | None
    """Null where there is no text at all."""
    threshold: float


class AnswerTiming(TypedDict):
    """Where an answer's time went."""

    search_ms: float
    ttft_ms: float | None
    """Until the first token; null where none came."""
    total_ms: float


class TextAnswer(Task, AnswerSources):
    """An answer from given texts."""

    answered: bool
    """False where nothing that was given tells it."""
    answer: str
    timing: AnswerTiming


class TextAnswerEvents(TypedDict):
    """The events of an answer from given texts, by their names."""

    progress: AnswerProgress
    sources: AnswerSources
    token: Text
    done: TextAnswer
    error: ErrorResponse


# ---- classification -------------------------------------------------------------------------------


class ClassifyProgress(TypedDict):
    """How many texts have their label."""

    phase: Literal["classifying"]
    done: int
    total: int


class Classified(TypedDict):
    """A text's likeliest label."""

    label: str
    probabilities: dict[str, float]
    """How likely each of the labels is, in the order in which they were given."""


class ClassifiedText(Classified):
    """The same of the text at this place."""

    index: int


class Classification(Task):
    """Texts under their labels."""

    results: list[Classified | None]
    """In the order of the texts; null for one that was not reached before it was stopped."""
    timing: TaskTiming


class ClassifyEvents(TypedDict):
    """The events of a classification, by their names."""

    progress: ClassifyProgress
    result: ClassifiedText
    done: Classification
    error: ErrorResponse
