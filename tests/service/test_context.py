"""Prompts fitted to the context: what is sent, what is dropped, and what of it no user wrote."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engine.client import EngineClient
from fairlead.errors import (
    InvalidRequest,
    PromptTooLong,
)
from fairlead.model_entry import ModelDefaults
from fairlead.service.context import conversation, fit
from fairlead.service.memory import Estimate
from fairlead.service.model import LoadedModel
from fairlead.service.prompt import ChatTemplate, Message
from fairlead.service.request import GenerationRequest
from fairlead.service.templates import BuiltInTemplate
from tests.served import METADATA, TOKENIZER, tokens

TEMPLATE = ChatTemplate.from_metadata(METADATA, TOKENIZER)


def model(defaults: ModelDefaults | None = None, context_length: int = 100) -> LoadedModel:
    """A model that has no engine."""
    return LoadedModel(
        name="none",
        engine=cast(EngineClient, None),
        tokenizer=TOKENIZER,
        template=TEMPLATE,
        context_length=context_length,
        defaults=defaults or ModelDefaults(),
        estimate=Estimate(0, 0, 0, 0),
    )


def chat(*said: str) -> tuple[Message, ...]:
    """Messages of a user and an assistant in turns."""
    return tuple(Message(("user", "assistant")[index % 2], text) for index, text in enumerate(said))


def test_a_prompt_is_one_turn_in_the_template() -> None:
    context = fit(GenerationRequest(prompt="Hi"), model())
    assert list(context.tokens) == TEMPLATE.render([Message("user", "Hi")])


def test_a_raw_prompt_is_not() -> None:
    assert list(fit(GenerationRequest(prompt="Hi", raw=True), model()).tokens) == tokens("Hi")
    assert list(fit(GenerationRequest(tokens=(1, 2)), model()).tokens) == [1, 2]


def test_the_system_message() -> None:
    system, user = Message("system", "Be kind."), Message("user", "Hi")
    request = GenerationRequest(prompt="Hi")
    assert conversation(request, None) == (user,)
    assert conversation(request, "Be kind.") == (system, user)
    assert conversation(GenerationRequest(prompt="Hi", system="Be kind."), "Be rude.") == (system, user)
    assert conversation(GenerationRequest(prompt="Hi", system=""), "Be rude.") == (user,)
    assert conversation(GenerationRequest(messages=(system, user)), "Be rude.") == (system, user)


def test_a_prompt_too_long_is_refused() -> None:
    with pytest.raises(PromptTooLong) as refused:
        fit(GenerationRequest(tokens=(1,) * 100), model())
    assert refused.value.details == {"prompt_tokens": 100, "context_length": 100}
    assert len(fit(GenerationRequest(tokens=(1,) * 99), model()).tokens) == 99


def test_tokens_that_the_model_does_not_have_are_refused() -> None:
    beyond = TOKENIZER.vocab_size
    with pytest.raises(InvalidRequest, match=str(beyond)):
        fit(GenerationRequest(tokens=(beyond,)), model())
    with pytest.raises(InvalidRequest) as refused:
        fit(GenerationRequest(prompt="Hi", logit_bias={beyond: 1.0}), model())
    assert refused.value.param == "logit_bias"
    with pytest.raises(InvalidRequest, match="empty"):
        fit(GenerationRequest(prompt="", raw=True), model())


def test_the_oldest_turns_are_dropped_and_counted() -> None:
    messages = (Message("system", "S"), *chat("one", "two", "three", "four", "five"))
    whole = TEMPLATE.render(messages)
    request = GenerationRequest(messages=messages, on_overflow="drop_oldest", max_tokens=1)
    assert fit(request, model(context_length=len(whole) + 1)).dropped_messages == 0
    context = fit(request, model(context_length=len(whole)))
    assert context.dropped_messages == 2
    assert list(context.tokens) == TEMPLATE.render([messages[0], *messages[3:]])
    assert context.dropped_tokens == len(whole) - len(context.tokens)
    with pytest.raises(PromptTooLong):
        fit(GenerationRequest(messages=messages), model(context_length=len(whole)))


def test_the_last_turn_is_never_dropped() -> None:
    messages = chat("one", "two", "word " * 200)
    with pytest.raises(PromptTooLong, match="2 messages dropped"):
        fit(GenerationRequest(messages=messages, on_overflow="drop_oldest"), model())


@given(count=st.integers(1, 30), context_length=st.integers(40, 400), longest=st.none() | st.integers(1, 50))
def test_no_more_blocks_are_dropped_than_must_be(count: int, context_length: int, longest: int | None) -> None:
    messages = chat(*(f"number {index}" for index in range(2 * count - 1)))
    request = GenerationRequest(messages=messages, on_overflow="drop_oldest", max_tokens=longest)
    room = context_length - min(longest or context_length, context_length // 4)
    whole, block = len(TEMPLATE.render(messages)), room // 4
    enough = math.ceil((whole - room) / block) * block
    try:
        context = fit(request, model(context_length=context_length))
    except PromptTooLong:
        assert len(TEMPLATE.render(messages[-1:])) >= context_length
        return
    dropped = context.dropped_messages
    assert list(context.tokens) == TEMPLATE.render(messages[dropped:])
    assert context.dropped_tokens == whole - len(context.tokens)
    assert dropped in (0, len(messages) - 1) or context.dropped_tokens >= enough
    assert dropped == 0 or whole - len(TEMPLATE.render(messages[dropped - 2 :])) < enough
    assert dropped == len(messages) - 1 or len(context.tokens) <= room


def test_what_a_growing_conversation_keeps_begins_alike_for_several_turns() -> None:
    said = [f"number {index}" for index in range(121)]
    begins = []
    for count in range(1, len(said) + 1, 2):
        request = GenerationRequest(messages=chat(*said[:count]), on_overflow="drop_oldest")
        begins.append(fit(request, model(context_length=600)).dropped_messages)
    assert begins == sorted(begins)
    cuts = sum(before != after for before, after in itertools.pairwise(begins))
    turn = len(TEMPLATE.render(chat(*said[:2]))) - len(TEMPLATE.render(chat(said[0])))
    per_block = 600 * 3 // 4 // 4 // (2 * turn)
    assert per_block > 1
    assert 1 < cuts <= len(begins) / per_block + 1


def test_defaults_are_the_requests_the_models_and_the_servers() -> None:
    defaults = ModelDefaults(temperature=0.2, max_tokens=5, top_k=3)
    sampling = GenerationRequest(prompt="", top_p=0.5, seed=3).sampling(defaults)
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (0.2, 0.5, 3, 3)
    plain = GenerationRequest(prompt="").sampling(ModelDefaults())
    assert (plain.temperature, plain.top_p, plain.top_k, plain.min_p) == (0.7, 0.9, 0, 0.0)
    assert GenerationRequest(prompt="", temperature=0.0).sampling(defaults).temperature == 0
    assert GenerationRequest(prompt="").longest_answer(defaults, 90) == 5
    assert GenerationRequest(prompt="", max_tokens=200).longest_answer(defaults, 90) == 90
    assert GenerationRequest(prompt="").longest_answer(ModelDefaults(), 90) == 90


def test_the_opening_is_what_no_user_wrote() -> None:
    system = TEMPLATE.render([Message("system", "Be kind."), Message("user", "x")])
    opening = list(TEMPLATE.opening("Be kind."))
    assert opening == system[: len(opening)]
    assert "Be kind." in TOKENIZER.decode(opening, continues=True)
    assert opening[-len(tokens("user\n")) :] == tokens("user\n")
    bare = list(TEMPLATE.opening(None))
    assert 0 < len(bare) < len(opening)


BARE = ChatTemplate(BuiltInTemplate("{{ messages[0].content }}"), TOKENIZER)
REFUSING = ChatTemplate(BuiltInTemplate("{{ raise_exception('No.') }}"), TOKENIZER)


def test_a_template_that_opens_with_the_users_words_has_no_opening() -> None:
    assert list(BARE.opening(None)) == []
    assert list(BARE.opening("Be kind.")) == tokens("Be kind.")
    assert list(REFUSING.opening(None)) == []


@given(text=st.text(max_size=20), system=st.none() | st.sampled_from(["Be kind.", "Be", ""]), raw=st.booleans())
def test_no_more_is_public_than_the_opening(text: str, system: str | None, raw: bool) -> None:
    opening = TEMPLATE.opening("Be kind.")
    request = GenerationRequest(prompt=text + "x", system=None if raw else system, raw=raw)
    served = replace(model(ModelDefaults(system="Be kind."), context_length=300), opening=opening)
    context = fit(request, served)
    public = context.public_tokens
    assert list(context.tokens[:public]) == list(opening[:public])
    assert public == len(opening) or list(context.tokens[: public + 1]) != list(opening[: public + 1])
    if not raw and system in (None, "Be kind."):
        assert public >= len(tokens("Be kind."))
