"""The bodies that clients send, with the ranges of every field. Unknown fields are refused by name.

A body becomes the service's own request by its `request` method; nothing behind the routes sees these classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from fairlead import checks
from fairlead.errors import InvalidRequest
from fairlead.service.prompt import Message
from fairlead.service.request import GenerationRequest, Overflow

_MOST_MESSAGES: Final = 4096
_MOST_TOKENS: Final = 2**31 - 1
_MOST_CHOICES: Final = 16

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
OwnId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
"""A client's own id for a request."""
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=1 << 20, fail_fast=True)]
UserName = Annotated[str, StringConstraints(max_length=checks.MOST_NAME_CHARS, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
StopString = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Stops = Annotated[list[StopString], Field(max_length=16, fail_fast=True)]
# JSON has strings alone for keys, so ids are read out of them.
Biases = dict[Annotated[int, Field(strict=False, ge=0, lt=2**31)], Annotated[float, Field(ge=-100, le=100)]]

KeepAlive = Annotated[float | Annotated[str, StringConstraints(max_length=40)], AfterValidator(checks.duration)]
"""Seconds, or such as "5m"; -1 is for ever."""


class Body(BaseModel):
    """What all bodies have in common: types are not converted, NaN and unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class CancelBody(Body):
    """`POST /cancel`."""

    id: Name


class DetokenizeBody(Body):
    """`POST /detokenize`."""

    tokens: Annotated[list[TokenId], Field(max_length=1 << 20, fail_fast=True)]
    model: Name | None = None


class TextPart(Body):
    """A part of a message; text is the only kind there is."""

    type: Literal["text"]
    text: str


class ChatMessage(Body):
    """A message of a conversation. What an answer of ours holds besides may be sent back, as null."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(max_length=_MOST_MESSAGES, fail_fast=True)]
    name: None = None
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None

    def message(self) -> Message:
        """The message as the service has it."""
        role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return Message(role, self.content)
        return Message(role, "".join(part.text for part in self.content))


Messages = Annotated[list[ChatMessage], Field(min_length=1, max_length=_MOST_MESSAGES, fail_fast=True)]


class TokenizeBody(Body):
    """`POST /tokenize`: one of `text` and `messages`."""

    text: str | None = None
    messages: Messages | None = None
    model: Name | None = None

    def request(self, asker: str) -> GenerationRequest:
        """What `asker` wants tokenized; InvalidRequest where it is not exactly one thing."""
        if (self.text is None) == (self.messages is None):
            raise InvalidRequest("Give either text or messages.", param="text")
        return GenerationRequest(
            user=asker,
            model=self.model,
            prompt=self.text,
            raw=self.text is not None,
            messages=None if self.messages is None else tuple(item.message() for item in self.messages),
        )


def seconds(keep_alive: float | str | None) -> float | None:
    """A checked `KeepAlive` as a number; infinite for ever."""
    return None if keep_alive is None else float(keep_alive)


class Drawn(Body):
    """How an answer is drawn: what all requests to generate have in common."""

    model: Name | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=_MOST_TOKENS)] | None = None
    """-1 and 0 keep all."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: Annotated[Biases, Field(max_length=1024)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=_MOST_TOKENS)] | None = None
    ignore_eos: bool | None = None
    seed: Annotated[int, Field(ge=0, lt=2**64)] | None = None
    stop: StopString | Stops | None = None
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    keep_alive: KeepAlive | None = None
    user: UserName | None = None
    priority: Literal["low", "normal", "high"] | None = None

    def longest(self) -> int | None:
        """The most tokens asked for."""
        return self.max_tokens

    def drawn(self, asker: str) -> GenerationRequest:
        """The request without its prompt; InvalidRequest where fields contradict each other.

        `asker` is whose it is where the body does not say.
        """
        longest, least = self.longest(), self.min_tokens or 0
        if longest is not None and least > longest:
            raise InvalidRequest("min_tokens is more than max_tokens.", param="min_tokens")
        return GenerationRequest(
            user=self.user or asker,
            model=self.model,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=None if self.top_k is None else max(self.top_k, 0),
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias=self.logit_bias or {},
            max_tokens=longest,
            min_tokens=least,
            ignore_eos=bool(self.ignore_eos),
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            timeout_s=self.timeout_s,
            priority=self.priority or "normal",
            keep_alive=seconds(self.keep_alive),
        )


class Sampled(Drawn):
    """The fields of every request to generate from what it brings along."""

    on_overflow: Overflow | None = None

    def sampled(self, asker: str) -> GenerationRequest:
        """As `drawn`, with what to do where the prompt does not fit."""
        return replace(self.drawn(asker), on_overflow=self.on_overflow or "error")


class InferBody(Sampled):
    """`POST /infer` and `POST /infer_stream`."""

    prompt: str
    system: str | None = None
    raw: bool = False
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    def request(self, asker: str) -> GenerationRequest:
        """The request; InvalidRequest where fields contradict each other."""
        if self.raw and self.system is not None:
            raise InvalidRequest("A raw prompt has no system message: put it into the prompt.", param="system")
        common = self.sampled(asker)
        return replace(common, prompt=self.prompt, system=self.system, raw=self.raw, logprobs=self.logprobs)


class StreamOptions(Body):
    """How an OpenAI stream is made."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class OpenAIBody(Sampled):
    """What OpenAI's two generating routes have in common."""

    n: Annotated[int, Field(ge=1, le=_MOST_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # These change nothing about an answer of ours, and are taken without effect.
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def check_stream(self) -> None:
        """InvalidRequest for the options of a stream that is none."""
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options needs stream to be true.", param="stream_options")


class TextFormat(Body):
    """The only format of an answer."""

    type: Literal["text"]


class ChatBody(OpenAIBody):
    """`POST /v1/chat/completions`."""

    messages: Messages
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    response_format: TextFormat | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    tool_choice: Literal["none"] | None = None
    # Known, and not supported: null alone is taken.
    tools: None = None
    functions: None = None
    function_call: None = None
    parallel_tool_calls: None = None
    audio: None = None
    prediction: None = None
    reasoning_effort: None = None
    verbosity: None = None
    web_search_options: None = None

    def longest(self) -> int | None:
        """The most tokens asked for, by the new name or the old."""
        return self.max_completion_tokens or self.max_tokens

    def request(self, asker: str) -> GenerationRequest:
        """The request; InvalidRequest where fields contradict each other."""
        self.check_stream()
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest("top_logprobs needs logprobs to be true.", param="top_logprobs")
        return replace(
            self.sampled(asker),
            messages=tuple(item.message() for item in self.messages),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )


class CompletionBody(OpenAIBody):
    """`POST /v1/completions`."""

    prompt: (
        str
        | TokenIds
        | Annotated[list[str], Field(min_length=1, max_length=_MOST_CHOICES, fail_fast=True)]
        | Annotated[list[TokenIds], Field(min_length=1, max_length=_MOST_CHOICES, fail_fast=True)]
    )
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    # Known, and not supported: null, or what stands for nothing, alone is taken.
    echo: Literal[False] | None = None
    best_of: None = None
    suffix: None = None

    def requests(self, asker: str) -> list[GenerationRequest]:
        """A request for each prompt; InvalidRequest where fields contradict each other."""
        self.check_stream()
        common = replace(self.sampled(asker), raw=True, logprobs=self.logprobs)
        prompts = _prompts(self.prompt)
        if len(prompts) * (self.n or 1) > _MOST_CHOICES:
            raise InvalidRequest(f"Prompts times n may be {_MOST_CHOICES} at most.", param="n")
        return [
            replace(common, prompt=prompt) if isinstance(prompt, str) else replace(common, tokens=tuple(prompt))
            for prompt in prompts
        ]


def _prompts(prompt: str | list[int] | list[str] | list[list[int]]) -> list[str | list[int]]:
    if isinstance(prompt, str):
        return [prompt]
    tokens = [item for item in prompt if isinstance(item, int)]
    return [tokens] if tokens else [item for item in prompt if not isinstance(item, int)]
