"""The token ids that a model is given for a request, fitted to its context.

Owns what is dropped where a conversation is too long, and says how much: nothing is dropped silently. It
works on the processor alone and may take long for a long text: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fairlead.errors import InvalidRequest, PromptTooLong
from fairlead.service.model import LoadedModel
from fairlead.service.prompt import Message, common_prefix
from fairlead.service.request import GenerationRequest, check_tokens

_ANSWER_SHARE = 4
"""Where old turns are dropped, up to one part in so many of the context is kept free for the answer."""
_BLOCKS = 4
"""Old turns are dropped in blocks of one part in so many of the room there is."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the model sees, and what it does not."""

    tokens: Sequence[int]
    dropped_messages: int = 0
    dropped_tokens: int = 0
    public_tokens: int = 0
    """How many tokens at the beginning are of no user's writing."""


def fit(request: GenerationRequest, model: LoadedModel, reserve: int = 0) -> Context:
    """The prompt of a request as token ids; at least one place in the context is left for the answer.

    Where old turns are dropped, `reserve` tokens are kept free beside the answer's.

    Raises:
        PromptTooLong: it does not fit, and nothing may be dropped or dropping does not help.
        InvalidRequest: there is no token in it, or one that the model does not have.
    """
    check_tokens(request.tokens or (), model.tokenizer.vocab_size, request.prompt_field)
    check_tokens(request.logit_bias, model.tokenizer.vocab_size, "logit_bias")
    if request.tokens is not None:
        context = Context(request.tokens)
    elif request.raw and request.prompt is not None:
        context = Context(model.tokenizer.encode(request.prompt, bos=True))
    else:
        messages = conversation(request, model.defaults.system)
        context = Context(model.template.render(messages))
        if request.on_overflow == "drop_oldest":
            kept_free = _kept_free(request, model.context_length) + reserve
            context = _drop_oldest(messages, context, model, kept_free)
    _check_length(request, context, model.context_length)
    return replace(context, public_tokens=len(common_prefix(model.opening, context.tokens)))


def conversation(request: GenerationRequest, default_system: str | None) -> Sequence[Message]:
    """The messages of a request, a system message in front where one is asked for and none is there."""
    messages = request.messages if request.messages is not None else (Message("user", request.prompt or ""),)
    system = request.system if request.system is not None else default_system
    if system and not any(message.role == "system" for message in messages):
        return (Message("system", system), *messages)
    return messages


def _kept_free(request: GenerationRequest, context_length: int) -> int:
    share = max(1, context_length // _ANSWER_SHARE)
    return share if request.max_tokens is None else min(request.max_tokens, share)


def _drop_oldest(messages: Sequence[Message], whole: Context, model: LoadedModel, kept_free: int) -> Context:
    """Drop the oldest turns that make room, in whole blocks; system messages and the last turn always stay.

    What is dropped is as much as does not fit, rounded up to blocks. So a conversation that grows loses nothing more
    for several turns: its prompts begin alike until the next block goes, and are found in the cache.
    """
    room = max(1, model.context_length - kept_free)
    starts = _turns(messages)
    excess = len(whole.tokens) - room
    if excess <= 0 or len(starts) < 2:
        return whole
    block = max(1, room // _BLOCKS)
    enough = -(-excess // block) * block
    low, high = 1, len(starts) - 1  # fewer turns make fewer tokens, so the count to drop is found by halving
    best = whole
    while low <= high:
        dropping = (low + high) // 2
        kept = [
            message for index, message in enumerate(messages) if message.role == "system" or index >= starts[dropping]
        ]
        tokens = model.template.render(kept)
        best = Context(tokens, len(messages) - len(kept), len(whole.tokens) - len(tokens))
        if low == high:
            break
        if best.dropped_tokens >= enough:
            high = dropping
        else:
            low = dropping + 1
    return best


def _turns(messages: Sequence[Message]) -> list[int]:
    """Where each turn begins: with a user's message, or with the first that is no system message."""
    starts: list[int] = []
    for index, message in enumerate(messages):
        if message.role == "system":
            continue
        if not starts or message.role == "user":
            starts.append(index)
    return starts


def _check_length(request: GenerationRequest, context: Context, context_length: int) -> None:
    count = len(context.tokens)
    if count == 0:
        raise InvalidRequest("The prompt is empty.", param=request.prompt_field)
    if count >= context_length:
        dropped = f", {context.dropped_messages} messages dropped," if context.dropped_messages else ""
        raise PromptTooLong(
            f"The prompt{dropped} has {count} tokens, and the context of the model {context_length} for prompt and "
            "answer together: shorten it, or load the model with a larger context_length.",
            param=request.prompt_field,
            details={"prompt_tokens": count, "context_length": context_length},
        )
