"""Prompts fitted to the context, tokens turned into text, and answers from their beginning to their end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config import ModelDefaults
from fairlead.engine.client import EngineClient
from fairlead.engine.messages import Command, Generate, Token
from fairlead.errors import (
    Draining,
    InvalidRequest,
    ModelNotReady,
    PromptTooLong,
    QueueFull,
    RequestNotFound,
)
from fairlead.service.answer import Answer, Assembly, Piece
from fairlead.service.context import conversation, fit
from fairlead.service.generation import Generator
from fairlead.service.memory import Estimate
from fairlead.service.metrics import Metrics
from fairlead.service.model import LoadedModel
from fairlead.service.prompt import ChatTemplate, Message
from fairlead.service.registry import Registry
from fairlead.service.request import GenerationRequest
from fairlead.service.templates import BuiltInTemplate
from fairlead.service.users import Users
from tests.fakes import expected_answer
from tests.served import BEHAVIOUR, CONTEXT, HELLO, METADATA, TOKENIZER, settings_with_models, start_fake, tokens

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


# ---- prompts --------------------------------------------------------------------------------------


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
def test_no_more_is_dropped_than_must_be(count: int, context_length: int, longest: int | None) -> None:
    messages = chat(*(f"number {index}" for index in range(2 * count - 1)))
    request = GenerationRequest(messages=messages, on_overflow="drop_oldest", max_tokens=longest)
    kept_free = min(longest or context_length, context_length // 4)
    try:
        context = fit(request, model(context_length=context_length))
    except PromptTooLong:
        assert len(TEMPLATE.render(messages[-1:])) >= context_length
        return
    dropped = context.dropped_messages
    assert list(context.tokens) == TEMPLATE.render(messages[dropped:])
    assert dropped == 0 or len(TEMPLATE.render(messages[dropped - 2 :])) > context_length - kept_free
    assert dropped == len(messages) - 1 or len(context.tokens) <= context_length - kept_free


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


# ---- text -----------------------------------------------------------------------------------------


def pieces(assembly: Assembly, ids: Sequence[int], *, logprobs: bool = False) -> list[Piece]:
    """What comes of these tokens, up to a stop string."""
    found = []
    for number, token in enumerate(ids):
        found.append(assembly.feed(Token(1, token, -float(number) if logprobs else None, [])))
        if assembly.stopped:
            break
    return [piece for piece in [*found, assembly.flush()] if piece is not None]


@given(text=st.text(max_size=60))
def test_pieces_join_to_the_text(text: str) -> None:
    found = pieces(Assembly(TOKENIZER), tokens(text))
    assert "".join(piece.text for piece in found) == text
    for piece in found:
        piece.text.encode()


@given(text=st.text(alphabet="abc ö😀", max_size=40), stop=st.text(alphabet="abc ö😀", min_size=1, max_size=4))
def test_log_probabilities_are_those_of_the_tokens_that_begin_in_the_text(text: str, stop: str) -> None:
    ids = tokens(text)
    found = pieces(Assembly(TOKENIZER, [stop]), ids, logprobs=True)
    shown = "".join(piece.text for piece in found)
    assert shown == text.split(stop, maxsplit=1)[0]
    told = [item.token.logprob for piece in found for item in piece.logprobs]
    assert told == [-float(number) for number in range(len(told))]  # none is missing, none is out of turn
    spelt = b"".join(item.token.bytes for piece in found for item in piece.logprobs)
    assert spelt.startswith(shown.encode())
    if stop not in text:
        assert len(told) == len(ids)
    else:
        last = [item.token.bytes for piece in found for item in piece.logprobs][-1] if told else b""
        assert len(spelt) - len(last) <= len(shown.encode()) + 3


def test_minus_infinity_is_a_number_that_json_has() -> None:
    assembly = Assembly(TOKENIZER)
    piece = assembly.feed(Token(1, tokens("a")[0], float("-inf"), [(tokens("b")[0], float("-inf"))]))
    assert piece is not None
    assert piece.logprobs[0].token.logprob == piece.logprobs[0].top[0].logprob == -9999.0


# ---- answers --------------------------------------------------------------------------------------


@pytest.fixture
async def generator(tmp_path: Path) -> AsyncIterator[Generator]:
    """Generates with the fake "counting", and others that are loaded by the test."""
    registry = Registry(settings_with_models(tmp_path / "home"), start_fake)
    await registry.load("counting")
    yield Generator(registry, Metrics(), Users({}, max_waiting=4), max_waiting=6)
    await registry.close(force=True)


async def text_of(answer: Answer) -> str:
    async with answer:
        return "".join([piece.text async for piece in answer.pieces()])


async def test_an_answer(generator: Generator) -> None:
    (answer,) = await generator.start(GenerationRequest(prompt="Hi"), "a")
    assert await text_of(answer) == "one two three four five six seven eight nine ten. "
    result = answer.result
    assert result is not None
    assert (result.id, result.model, result.finish_reason) == ("a", "counting", "stop")
    assert result.usage.prompt_tokens == len(TEMPLATE.render([Message("user", "Hi")]))
    timing = result.timing
    assert timing.ttft_ms is not None
    assert 0 <= timing.queue_ms <= timing.ttft_ms <= timing.total_ms
    assert timing.tokens_per_second > 0


async def test_an_answer_never_leaves_the_context(generator: Generator) -> None:
    request = GenerationRequest(tokens=(1,) * (CONTEXT - 3), ignore_eos=True, max_tokens=50)
    (answer,) = await generator.start(request, "a")
    await text_of(answer)
    assert answer.result is not None
    assert answer.result.finish_reason == "length"
    assert answer.result.usage.completion_tokens == 3


async def test_several_answers_have_seeds_of_their_own(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    options = BEHAVIOUR["other"]
    monkeypatch.setitem(BEHAVIOUR, "other", type(options)(vocab_size=TOKENIZER.vocab_size))  # draws by the seed
    registry = generator._registry
    await registry.load("other")
    request = GenerationRequest(model="other", tokens=(1, 2, 3), seed=2**64 - 1, ignore_eos=True, max_tokens=8)
    answers = await generator.start(request, "a", 2)
    texts = [await text_of(answer) for answer in answers]
    drawn = [
        expected_answer([1, 2, 3], 8, sampling=request.sampling(ModelDefaults()), options=BEHAVIOUR["other"]),
        expected_answer(
            [1, 2, 3],
            8,
            sampling=GenerationRequest(seed=0).sampling(ModelDefaults()),
            options=BEHAVIOUR["other"],
        ),
    ]
    assert texts == [TOKENIZER.decode(ids, continues=True) for ids in drawn]


async def test_cancelling_ends_all_answers_under_an_id(generator: Generator) -> None:
    request = GenerationRequest(prompt="Hi", ignore_eos=True)
    answers = [*await generator.start(request, "a", 2), *await generator.start(request, "a")]
    generator.cancel("a")
    for answer in answers:
        await text_of(answer)
        assert answer.result is not None
        assert answer.result.finish_reason in ("cancelled", "length")
    with pytest.raises(RequestNotFound):
        generator.cancel("a")


async def test_an_answer_that_is_left_is_stopped(generator: Generator) -> None:
    (answer,) = await generator.start(GenerationRequest(prompt="Hi", ignore_eos=True), "a")
    async with answer:
        async for _ in answer.pieces():
            break
    (counting,) = generator._registry.loaded()
    assert counting.engine.in_flight == 0
    assert (generator._roster.running, generator._roster.waiting) == (0, 0)


async def test_more_than_may_wait_are_refused(generator: Generator) -> None:
    request = GenerationRequest(prompt="Hi")
    answers = list(await generator.start(request, "a", 4))
    with pytest.raises(QueueFull, match="4 of your requests") as refused:
        await generator.start(request, "b")
    assert 1 <= refused.value.retry_after_s <= 600
    other = replace(request, user="bob")
    answers += await generator.start(other, "c", 2)
    with pytest.raises(QueueFull, match="6 requests"):
        await generator.start(other, "d")
    for answer in answers:
        await text_of(answer)
    (later,) = await generator.start(request, "b")
    assert await text_of(later)


def commands_to(engine: EngineClient, monkeypatch: pytest.MonkeyPatch) -> list[Generate]:
    """What the worker is asked to generate from here on."""
    sent: list[Generate] = []
    send = engine._connection.send

    def note(command: Command) -> None:
        if isinstance(command, Generate):
            sent.append(command)
        send(command)

    monkeypatch.setattr(engine._connection, "send", note)
    return sent


async def test_the_engine_knows_users_by_numbers_and_salts(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (counting,) = generator._registry.loaded()
    sent = commands_to(counting.engine, monkeypatch)
    for user in ("local", "bob", "local"):
        (answer,) = await generator.start(GenerationRequest(prompt="Hi", user=user, priority="high"), "a")
        await text_of(answer)
    first, second, third = sent
    assert first.client == first.salt == third.client == third.salt > 0
    assert 0 != second.client == second.salt != first.client
    assert {command.priority for command in sent} == {"high"}
    assert first.public_tokens == len(counting.opening) > 0


@pytest.mark.parametrize(
    ("everywhere", "here", "shared"), [(True, None, True), (True, False, False), (False, True, True)]
)
async def test_users_may_share_all_that_prompts_have_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everywhere: bool, here: bool | None, shared: bool
) -> None:
    settings = settings_with_models(tmp_path / "home", share_prefixes=everywhere)
    entries = tuple(replace(entry, defaults=ModelDefaults(share_prefixes=here)) for entry in settings.models)
    registry = Registry(replace(settings, models=entries), start_fake)
    await registry.load("hello")
    (hello,) = registry.loaded()
    sent = commands_to(hello.engine, monkeypatch)
    generator = Generator(registry, Metrics(), Users({}, max_waiting=4), max_waiting=4)
    for user in ("anna", "bob"):
        (answer,) = await generator.start(GenerationRequest(prompt="Hi", user=user), "a")
        await text_of(answer)
    assert (sent[0].salt == sent[1].salt) == shared
    assert sent[0].client != sent[1].client
    await registry.close(force=True)


async def test_a_request_that_is_refused_leaves_nothing_behind(generator: Generator) -> None:
    for request in (GenerationRequest(tokens=(1,) * 1000), GenerationRequest(prompt="Hi", stop=("",))):
        with pytest.raises(InvalidRequest):
            await generator.start(request, "a", 2)
    with pytest.raises(ModelNotReady):
        await generator.start(GenerationRequest(prompt="Hi", model="absent"), "a")
    assert generator._roster.empty.is_set()
    await generator._registry.unload("counting")


async def test_a_drain_ends_what_goes_on_too_long(generator: Generator) -> None:
    await generator._registry.load("slow")
    request = GenerationRequest(prompt="Hi", model="slow", ignore_eos=True)
    (answer,) = await generator.start(request, "a")
    generator._registry.drain()
    await generator.drain(0.05)
    with pytest.raises(Draining):
        await text_of(answer)
    with pytest.raises(Draining):
        await generator.start(request, "b")


async def test_text_of_the_reply(generator: Generator) -> None:
    await generator._registry.load("hello")
    (answer,) = await generator.start(GenerationRequest(prompt="Hi", model="hello", stop=("! ",)), "a")
    assert await text_of(answer) == HELLO.split("! ", maxsplit=1)[0]
    assert answer.result is not None
    assert answer.result.finish_reason == "stop"
