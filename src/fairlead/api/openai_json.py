"""The objects of OpenAI's dialect: models, completions, chat completions, and the chunks of their streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from fairlead.api.answers import Whole, logprobs_json
from fairlead.api.openai_responses import AssistantMessage, ChoiceLogprobs, CompletionLogprobs, OpenAIUsage
from fairlead.service.answer import Result, TokenLogprob

Object = dict[str, Any]
"""A part of an answer; `openai_responses.py` has them whole."""


def usage_json(results: Sequence[Result], choices_per_prompt: int) -> OpenAIUsage:
    """The tokens of all choices together; a prompt that several choices answer counts once."""
    prompt = sum(result.usage.prompt_tokens for result in results[::choices_per_prompt])
    cached = sum(result.usage.cached_tokens for result in results[::choices_per_prompt])
    completion = sum(result.usage.completion_tokens for result in results)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


class Dialect(Protocol):
    """How one of the two routes writes its choices."""

    kind: str
    """Of the whole object."""
    chunk_kind: str
    """Of a chunk of a stream."""

    def choice(self, whole: Whole) -> Object:
        """A whole choice, without its index and finish reason."""

    def opening(self) -> Object | None:
        """The first chunk's choice, before there is text; None for none."""

    def piece(self, text: str, logprobs: Sequence[TokenLogprob] | None) -> Object:
        """A chunk's choice with some text."""

    def closing(self) -> Object:
        """The last chunk's choice, beside its finish reason."""


class ChatDialect:
    """`/v1/chat/completions`."""

    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def __init__(self, *, logprobs: bool) -> None:
        self._logprobs = logprobs

    def choice(self, whole: Whole) -> Object:
        """A message."""
        message: AssistantMessage = {"role": "assistant", "content": whole.text, "refusal": None}
        return {"message": message, "logprobs": self._told(whole.logprobs)}

    def opening(self) -> Object:
        """The role."""
        return {"delta": {"role": "assistant", "content": ""}, "logprobs": None}

    def piece(self, text: str, logprobs: Sequence[TokenLogprob] | None) -> Object:
        """Some text."""
        return {"delta": {"content": text}, "logprobs": self._told(logprobs)}

    def closing(self) -> Object:
        """Nothing more."""
        return {"delta": {}, "logprobs": None}

    def _told(self, logprobs: Iterable[TokenLogprob] | None) -> ChoiceLogprobs | None:
        if not self._logprobs or logprobs is None:
            return None
        return {"content": logprobs_json(logprobs), "refusal": None}


class CompletionDialect:
    """`/v1/completions`. Log-probabilities are in its own older form, with offsets into the text."""

    kind = "text_completion"
    chunk_kind = "text_completion"

    def __init__(self, *, logprobs: bool) -> None:
        self._logprobs = logprobs

    def choice(self, whole: Whole) -> Object:
        """A text."""
        return {"text": whole.text, "logprobs": self._told(whole.logprobs)}

    def opening(self) -> None:
        """There is none."""
        return

    def piece(self, text: str, logprobs: Sequence[TokenLogprob] | None) -> Object:
        """Some text."""
        return {"text": text, "logprobs": self._told(logprobs)}

    def closing(self) -> Object:
        """Nothing more."""
        return {"text": "", "logprobs": None}

    def _told(self, logprobs: Iterable[TokenLogprob] | None) -> CompletionLogprobs | None:
        if not self._logprobs or logprobs is None:
            return None
        items = list(logprobs)
        offsets, end = [], 0
        for item in items:
            offsets.append(end)
            end += len(item.token.text)
        return {
            "tokens": [item.token.text for item in items],
            "token_logprobs": [item.token.logprob for item in items],
            "top_logprobs": [{other.text: other.logprob for other in item.top} for item in items],
            "text_offset": offsets,
        }
