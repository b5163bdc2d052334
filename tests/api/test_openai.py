"""OpenAI's dialect, spoken by its official client."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.served import HELLO, Served, tokens

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"hello", "counting", "slow"}
    assert client.models.retrieve("hello").owned_by == "fairlead"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="hello", messages=HI)
    (choice,) = answer.choices
    assert choice.message.content == HELLO
    assert choice.message.role == "assistant"
    assert choice.finish_reason == "stop"
    assert answer.model == "hello"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(tokens(HELLO))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_chat_goes_on_with_the_message_that_came_back(client: openai.OpenAI) -> None:
    message = client.chat.completions.create(model="hello", messages=HI).choices[0].message
    more: list[ChatCompletionMessageParam] = [
        {"role": "developer", "content": "Be brief."},
        *HI,
        message.model_dump(),  # type: ignore[list-item]  # what the client gives back, as people send it on
        {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "you?"}]},
    ]
    assert client.chat.completions.create(model="hello", messages=more).choices[0].message.content == HELLO


def test_chat_streams(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model="hello", messages=HI, stream=True, stream_options={"include_usage": True})
    )
    *content, last = chunks
    assert content[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in content) == HELLO
    assert [chunk.choices[0].finish_reason for chunk in content][-1] == "stop"
    assert all(chunk.usage is None for chunk in content)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == len(tokens(HELLO))
    assert len({(chunk.id, chunk.model, chunk.created) for chunk in chunks}) == 1


def test_several_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="hello", messages=HI, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [choice.message.content for choice in answer.choices] == [HELLO] * 3
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3 * len(tokens(HELLO))
    texts = ["", "", ""]
    ends = []
    for chunk in client.chat.completions.create(model="hello", messages=HI, n=3, stream=True):
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        ends += [choice.index] if choice.finish_reason else []
    assert texts == [HELLO] * 3
    assert sorted(ends) == [0, 1, 2]


def test_chat_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="hello", messages=HI, logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert b"".join(bytes(item.bytes or ()) for item in logprobs.content).decode() == HELLO
    assert all(len(item.top_logprobs) == 2 for item in logprobs.content)
    streamed = [
        item
        for chunk in client.chat.completions.create(
            model="hello", messages=HI, logprobs=True, top_logprobs=2, stream=True
        )
        for item in (chunk.choices[0].logprobs and chunk.choices[0].logprobs.content) or ()
    ]
    assert [item.token for item in streamed] == [item.token for item in logprobs.content]


def test_fields_that_change_the_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="counting",
        messages=HI,
        stop=" five",
        seed=7,
        temperature=0.5,
        top_p=0.9,
        presence_penalty=0.1,
        frequency_penalty=0.1,
        logit_bias={"5": -100},
        user="ann",
        extra_body={"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "ignore_eos": True, "min_tokens": 2},
    )
    assert answer.choices[0].message.content == "one two three four"
    assert answer.choices[0].finish_reason == "stop"
    short = client.chat.completions.create(model="counting", messages=HI, max_completion_tokens=2)
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 2


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="hello", prompt="Once", logprobs=1)
    (choice,) = answer.choices
    assert choice.text == HELLO
    assert choice.logprobs is not None
    assert choice.logprobs.tokens is not None
    assert choice.logprobs.text_offset is not None
    assert len(choice.logprobs.tokens) == len(choice.logprobs.text_offset) == len(tokens(HELLO))
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(tokens("Once"))
    by_ids = client.completions.create(model="hello", prompt=tokens("Once"))
    assert by_ids.usage is not None
    assert by_ids.usage.prompt_tokens == len(tokens("Once"))
    text = "".join(
        chunk.choices[0].text for chunk in client.completions.create(model="hello", prompt="Once", stream=True)
    )
    assert text == HELLO


def test_completions_of_several_prompts(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="hello", prompt=["Once", "Twice upon"], n=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(tokens("Once")) + len(tokens("Twice upon"))


def test_errors_are_those_of_the_client(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody", messages=HI)
    assert missing.value.code == "model_not_found"
    assert missing.value.param == "model"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="hello", messages=HI, temperature=3)
    assert wrong.value.param == "temperature"
    assert wrong.value.type == "invalid_request_error"
    with pytest.raises(openai.InternalServerError) as unready:  # as the client calls all 5xx
        client.chat.completions.create(model="absent", messages=HI)
    assert unready.value.status_code == 503
    assert unready.value.code == "model_not_ready"
    assert unready.value.response.headers["Retry-After"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"extra_body": {"mirostat": 2}}, "mirostat"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(client: openai.OpenAI, fields: dict[str, object], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="hello", messages=HI, **fields)  # type: ignore[call-overload]
    assert refused.value.param == param
    assert param.split(".", maxsplit=1)[0] in refused.value.message
