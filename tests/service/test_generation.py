"""Tokens turned into text, and answers from their beginning to their end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engine.client import EngineClient
from fairlead.engine.messages import Command, Generate, Token
from fairlead.errors import (
    Draining,
    InvalidRequest,
    ModelNotReady,
    QueueFull,
    RequestNotFound,
)
from fairlead.model_entry import ModelDefaults
from fairlead.service.answer import Answer, Assembly, Piece
from fairlead.service.generation import Generator
from fairlead.service.metrics import Metrics
from fairlead.service.model import Lease
from fairlead.service.prompt import Message
from fairlead.service.registry import Registry
from fairlead.service.request import GenerationRequest
from fairlead.service.users import Users
from tests.fakes import expected_answer
from tests.served import BEHAVIOUR, CONTEXT, HELLO, TOKENIZER, settings_with_models, start_fake, tokens

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
    (counting,) = generator._registry.loaded()
    assert result.usage.prompt_tokens == len(counting.template.render([Message("user", "Hi")]))
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


async def test_whoever_waits_for_a_model_is_counted_by_name(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    users: list[str] = []
    acquire = generator._registry.acquire

    async def note(name: str | None, cancel: Callable[[], None], *, user: str, keep_alive: float | None) -> Lease:
        users.append(user)
        return await acquire(name, cancel, user=user, keep_alive=keep_alive)

    monkeypatch.setattr(generator._registry, "acquire", note)
    (answer,) = await generator.start(GenerationRequest(prompt="Hi", user="anna"), "a")
    await text_of(answer)
    ids, _ = await generator.tokenize(GenerationRequest(prompt="Hi", user="bob"))
    assert await generator.detokenize(ids, None, "carol") == "Hi"
    assert users == ["anna", "bob", "carol"]


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
