"""A request to generate, in the service's words, and what it means for a given model.

Knows nothing of the dialects in which requests arrive: `api/schemas.py` turns those into this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from fairlead.engine.messages import Priority, Sampling
from fairlead.errors import InvalidRequest
from fairlead.model_entry import ModelDefaults
from fairlead.service.prompt import Message

Overflow = Literal["error", "drop_oldest"]

NOBODY: Final = "local"
"""Who asks where nobody says so."""

_TEMPERATURE: Final = 0.7
_TOP_P: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What to generate from, and how. Exactly one of `prompt`, `messages` and `tokens` is given.

    None leaves a field to the model's defaults, and those leave it to the server's.
    """

    user: str = NOBODY
    """Who asks: their requests share what is theirs of the model's time."""
    model: str | None = None
    """None is the active one."""
    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    tokens: tuple[int, ...] | None = None
    """A prompt that is token ids already."""
    raw: bool = False
    """Whether `prompt` goes to the model verbatim, or else as a user's turn in its chat template."""
    system: str | None = None
    """Goes in front of `prompt`, or of `messages` that hold no system message."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    max_tokens: int | None = None
    """None is as many as the context holds."""
    min_tokens: int = 0
    ignore_eos: bool = False
    seed: int | None = None
    """None draws one."""
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """How many of the likeliest tokens to report beside each; None reports no log-probabilities."""
    timeout_s: float | None = None
    priority: Priority = "normal"
    on_overflow: Overflow = "error"
    keep_alive: float | None = None
    """Seconds without a request that the model is kept from now on; None leaves that as it is."""

    @property
    def is_chat(self) -> bool:
        """Whether the answer is a turn of its own, rather than the prompt's text going on."""
        return self.tokens is None and not self.raw

    @property
    def prompt_field(self) -> str:
        """The name of the field that holds the prompt, for errors."""
        return "messages" if self.messages is not None else "prompt"

    def sampling(self, defaults: ModelDefaults) -> Sampling:
        """How tokens are drawn, with the model's and the server's defaults filled in."""
        return Sampling(
            logit_bias=dict(self.logit_bias),
            repetition_penalty=_first(self.repetition_penalty, defaults.repetition_penalty, 1.0),
            presence_penalty=_first(self.presence_penalty, defaults.presence_penalty, 0.0),
            frequency_penalty=_first(self.frequency_penalty, defaults.frequency_penalty, 0.0),
            temperature=_first(self.temperature, defaults.temperature, _TEMPERATURE),
            top_k=int(_first(self.top_k, defaults.top_k, 0)),
            top_p=_first(self.top_p, defaults.top_p, _TOP_P),
            min_p=_first(self.min_p, defaults.min_p, 0.0),
            seed=self.seed or 0,
            logprobs=self.logprobs,
        )

    def longest_answer(self, defaults: ModelDefaults, room: int) -> int:
        """The most tokens that the answer may have, with `room` left in the context."""
        asked = self.max_tokens if self.max_tokens is not None else defaults.max_tokens
        return room if asked is None else min(asked, room)


def check_tokens(tokens: Iterable[int], vocabulary: int, param: str) -> None:
    """See that every token id is one of the model's; InvalidRequest names the field."""
    if any(token >= vocabulary for token in tokens):
        raise InvalidRequest(f"The token ids of this model are below {vocabulary}.", param=param)


def _first(given: float | None, default: float | None, otherwise: float) -> float:
    if given is not None:
        return given
    return otherwise if default is None else default
