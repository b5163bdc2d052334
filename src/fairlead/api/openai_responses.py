"""What OpenAI's routes answer, as its official client reads it."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from fairlead.api.errors import ErrorResponse
from fairlead.api.generation_responses import TokenLogprob
from fairlead.service.answer_events import FinishReason


class OpenAIModel(TypedDict):
    """A model that can answer now."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModels(TypedDict):
    """All of them."""

    object: Literal["list"]
    data: list[OpenAIModel]


class PromptTokensDetails(TypedDict):
    """Of the prompt's tokens."""

    cached_tokens: int


class OpenAIUsage(TypedDict):
    """The tokens of all choices together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


# ---- chat completions -----------------------------------------------------------------------------


class ChoiceLogprobs(TypedDict):
    """The log-probabilities of a choice's tokens."""

    content: list[TokenLogprob]
    refusal: None


class AssistantMessage(TypedDict):
    """An answer."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(TypedDict):
    """One of the answers."""

    index: int
    message: AssistantMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(TypedDict):
    """A conversation, answered."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: OpenAIUsage


class Delta(TypedDict):
    """What comes behind what was there of a message."""

    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]


class ChatChunkChoice(TypedDict):
    """Some more of one of the answers."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(TypedDict):
    """Some more of the answers."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: NotRequired[OpenAIUsage | None]
    """Where it was asked for: in the last one, which has no choices."""


class ChatCompletionEvents(TypedDict):
    """The events, which have no names; the last says `[DONE]`."""

    message: ChatCompletionChunk | ErrorResponse


# ---- completions ----------------------------------------------------------------------------------


class CompletionLogprobs(TypedDict):
    """The log-probabilities of a text's tokens, and where in the text each begins."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(TypedDict):
    """A text, or some more of it in a stream."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None


class Completion(TypedDict):
    """Texts, continued."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: NotRequired[OpenAIUsage | None]
    """In a stream where it was asked for: in the last event, which has no choices."""


class CompletionEvents(TypedDict):
    """The events, which have no names; the last says `[DONE]`."""

    message: Completion | ErrorResponse


# ---- embeddings -----------------------------------------------------------------------------------


class Embedding(TypedDict):
    """The vector of a text, as numbers or in base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(TypedDict):
    """The tokens of all texts together."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(TypedDict):
    """The vectors of texts, in their order."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
