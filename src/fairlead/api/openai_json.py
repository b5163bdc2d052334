"""The objects of OpenAI's dialect: models, completions, chat completions, and the chunks of their streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from fairlead.api.answers import Whole, logprobs_json
from fairlead.service.answer import Result, TokenLogprob

Json = dict[str, Any]


def usage_json(results: Sequence[Result], choices_per_prompt: int) -> Json:
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

    def choice(self, whole: Whole) -> Json:
        """A whole choice, without its index and finish reason."""

    def opening(self) -> Json | None:
        """The first chunk's choice, before there is text; None for none."""

    def piece(self, text: str, logprobs: Sequence[TokenLogprob] | None) -> Json:
        """A chunk's choice with some text."""

    def closing(self) -> Json:
        """The last chunk's choice, beside its finish reason."""


class Chat:
    """`/v1/chat/completions`."""

    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def __init__(self, *, logprobs: bool) -> None:
        self._logprobs = logprobs

    def choice(self, whole: Whole) -> Json:
        """A message."""
        message = {"role": "assistant", "content": whole.text, "refusal": None}
        return {"message": message, "logprobs": self._told(whole.logprobs)}

    def opening(self) -> Json:
        """The role."""
        return {"delta": {"role": "assistant", "content": ""}, "logprobs": None}

    def piece(self, text: str, logprobs: Sequence[TokenLogprob] | None) -> Json:
        """Some text."""
        return {"delta": {"content": text}, "logprobs": self._told(logprobs)}

    def closing(self) -> Json:
        """Nothing more."""
        return {"delta": {}, "logprobs": None}

    def _told(self, logprobs: Iterable[TokenLogprob] | None) -> Json | None:
        if not self._logprobs or logprobs is None:
            return None
        return {"content": logprobs_json(logprobs), "refusal": None}


class Completion:
    """`/v1/completions`. Log-probabilities are in its own older form, with offsets into the text."""

    kind = "text_completion"
    chunk_kind = "text_completion"

    def __init__(self, *, logprobs: bool) -> None:
        self._logprobs = logprobs

    def choice(self, whole: Whole) -> Json:
        """A text."""
        return {"text": whole.text, "logprobs": self._told(whole.logprobs)}

    def opening(self) -> None:
        """There is none."""
        return

    def piece(self, text: str, logprobs: Sequence[TokenLogprob] | None) -> Json:
        """Some text."""
        return {"text": text, "logprobs": self._told(logprobs)}

    def closing(self) -> Json:
        """Nothing more."""
        return {"text": "", "logprobs": None}

    def _told(self, logprobs: Iterable[TokenLogprob] | None) -> Json | None:
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
