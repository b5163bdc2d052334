from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest, ModelFileError
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.service.prompt import ChatTemplate, Message
from fairlead.service.templates import CHATML, INST, LLAMA3, PHI2, ZEPHYR, BuiltInTemplate, choose_template
from tests.strings import AWKWARD, MARKUP
from tests.vocabularies import CHATML_TOKENS, LLAMA3_TOKENS, byte_level, sentencepiece

CHATML_TOKENIZER = Tokenizer.from_metadata(byte_level(literal=("[INST]", "<tool_call>", "  ")))
LLAMA3_TOKENIZER = Tokenizer.from_metadata(byte_level(LLAMA3_TOKENS, pre="llama-bpe", bos=0))
SPM_TOKENIZER = Tokenizer.from_metadata(sentencepiece())
TALK = [Message("system", "Be brief."), Message("user", " Hi "), Message("assistant", "Ho"), Message("user", "Why?")]


def shown(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The prompt as text, its special tokens in ⟨ ⟩."""
    return "".join(
        f"⟨{tokenizer.token_text(token_id)}⟩"
        if token_id in tokenizer.special_ids
        else tokenizer.token_bytes(token_id).decode("latin-1")
        for token_id in ids
    )


def special(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    return [tokenizer.token_text(token_id) for token_id in ids if token_id in tokenizer.special_ids]


# ---- the templates that are built in -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "tokenizer", "prompt"),
    [
        (
            CHATML,
            CHATML_TOKENIZER,
            "⟨<|im_start|>⟩system\nBe brief.⟨<|im_end|>⟩\n⟨<|im_start|>⟩user\n Hi ⟨<|im_end|>⟩\n"
            "⟨<|im_start|>⟩assistant\nHo⟨<|im_end|>⟩\n⟨<|im_start|>⟩user\nWhy?⟨<|im_end|>⟩\n⟨<|im_start|>⟩assistant\n",
        ),
        (
            LLAMA3,
            LLAMA3_TOKENIZER,
            "⟨<|begin_of_text|>⟩⟨<|start_header_id|>⟩system⟨<|end_header_id|>⟩\n\nBe brief.⟨<|eot_id|>⟩"
            "⟨<|start_header_id|>⟩user⟨<|end_header_id|>⟩\n\nHi⟨<|eot_id|>⟩"
            "⟨<|start_header_id|>⟩assistant⟨<|end_header_id|>⟩\n\nHo⟨<|eot_id|>⟩"
            "⟨<|start_header_id|>⟩user⟨<|end_header_id|>⟩\n\nWhy?⟨<|eot_id|>⟩"
            "⟨<|start_header_id|>⟩assistant⟨<|end_header_id|>⟩\n\n",
        ),
        (INST, SPM_TOKENIZER, "⟨<s>⟩ [INST] Be brief.\n\nHi [/INST] Ho⟨</s>⟩ [INST] Why? [/INST]"),
        (
            ZEPHYR,
            SPM_TOKENIZER,
            "⟨<s>⟩ <|system|>\nBe brief.⟨</s>⟩ \n<|user|>\n Hi ⟨</s>⟩ \n<|assistant|>\nHo⟨</s>⟩ \n<|user|>\nWhy?⟨</s>⟩"
            " \n<|assistant|>\n",
        ),
        (PHI2, CHATML_TOKENIZER, "Be brief.\nInstruct: Hi\nOutput: Ho\nInstruct: Why?\nOutput:"),
    ],
)
def test_built_in_templates(template: BuiltInTemplate, tokenizer: Tokenizer, prompt: str) -> None:
    assert shown(tokenizer, ChatTemplate(template, tokenizer).render(TALK)) == prompt


@pytest.mark.parametrize(
    ("metadata", "template"),
    [
        (byte_level(), CHATML),
        (byte_level(LLAMA3_TOKENS), LLAMA3),
        (byte_level(("<|endoftext|>",), bos=0) | {"general.architecture": "phi2"}, PHI2),
        (sentencepiece() | {"general.name": "mistralai_mistral-7b-instruct-v0.2"}, INST),
        (sentencepiece() | {"general.name": "tinyllama_tinyllama-1.1b-chat-v1.0"}, ZEPHYR),
        (sentencepiece(), CHATML),
        (sentencepiece() | {"general.name": 7}, CHATML),
    ],
)
def test_the_template_suits_the_model(metadata: dict[str, object], template: BuiltInTemplate) -> None:
    tokenizer = Tokenizer.from_metadata(metadata)
    assert choose_template(metadata, tokenizer.special_texts) is template
    assert ChatTemplate.from_metadata(metadata, tokenizer).stops == template.stops


# ---- the template of a file --------------------------------------------------------------------------------


def from_file(source: object, tokenizer: Tokenizer = CHATML_TOKENIZER) -> ChatTemplate:
    return ChatTemplate.from_metadata({"tokenizer.chat_template": source}, tokenizer)


def test_a_files_own_template_is_used() -> None:
    template = from_file(
        "{{ bos_token }}{% for m in messages %}{{ m.role }}={{ m.content }}{% endfor %}{{ eos_token }}"
    )
    ids = template.render([Message("user", "hi")])
    assert shown(CHATML_TOKENIZER, ids) == "⟨<|im_start|>⟩user=hi⟨<|im_end|>⟩"


@pytest.mark.parametrize("source", [3, "{% for %}", "{{ x | nothing }}"])
def test_a_template_that_is_none_is_refused(source: object) -> None:
    with pytest.raises(ModelFileError):
        from_file(source)


def test_tools_reach_the_template() -> None:
    template = from_file(
        "{% if tools %}{{ tools | tojson }}{% for t in tools %}{{ t.function.name }}{% endfor %}{% endif %}"
    )
    tool = {"type": "function", "function": {"name": "look_up", "description": "Finds <|im_end|>", "strict": True}}
    ids = template.render([Message("user", "x")], [tool])
    assert shown(CHATML_TOKENIZER, ids) == (
        '[{"type": "function", "function": {"name": "look_up", "description": "Finds <|im_end|>", "strict": true}}]'
        "look_up"
    )
    assert template.render([Message("user", "x")]) == []


def test_tools_nested_without_end_are_refused() -> None:
    tool: dict[str, object] = {}
    for _ in range(100):
        tool = {"a": [tool]}
    with pytest.raises(InvalidRequest, match="nested deeper"):
        from_file("x").render([Message("user", "x")], [tool])


@pytest.mark.parametrize("tokenizer", [LLAMA3_TOKENIZER, SPM_TOKENIZER])
@pytest.mark.parametrize("start", ["", "{{ bos_token }}", "{{ bos_token }}{{ bos_token }}"])
def test_bos_stands_once_where_the_model_wants_it(tokenizer: Tokenizer, start: str) -> None:
    ids = from_file(start + "{{ messages[0].content }}", tokenizer).render([Message("user", "the user")])
    assert ids == tokenizer.encode("the user", bos=True)
    assert ids.count(tokenizer.bos_id or 0) == 1


def test_bos_is_not_added_where_the_model_does_not_want_it() -> None:
    ids = from_file("{{ messages[0].content }}").render([Message("user", "the user")])
    assert ids == CHATML_TOKENIZER.encode("the user")


# ---- requests that cannot be right -------------------------------------------------------------------------


def test_unknown_roles_and_no_messages_are_refused() -> None:
    template = ChatTemplate(CHATML, CHATML_TOKENIZER)
    for messages in [[], [Message("user", "x"), Message("developer", "x")], [Message("<|im_end|>", "x")]]:
        with pytest.raises(InvalidRequest) as caught:
            template.render(messages)
        assert caught.value.param == "messages"


def test_a_template_that_refuses_its_messages_says_why() -> None:
    template = from_file("{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}")
    with pytest.raises(InvalidRequest, match="no system role"):
        template.render(TALK)


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="lone surrogate"):
        ChatTemplate(CHATML, CHATML_TOKENIZER).render([Message("user", "a\ud800")])


def test_a_text_with_all_noncharacters_is_refused() -> None:
    template = ChatTemplate(CHATML, CHATML_TOKENIZER)
    noncharacters = [chr(code) for code in range(0xFDD0, 0xFDF0)]
    content = "<|im_end|>" + "".join(noncharacters[:-1])
    assert content in "".join(map(CHATML_TOKENIZER.decode, [template.render([Message("user", content)])]))
    with pytest.raises(InvalidRequest, match="noncharacters"):
        template.render([Message("user", "".join(noncharacters))])


# ---- what people write never becomes a special token -------------------------------------------------------

FRAGMENTS = [
    *CHATML_TOKENS, *LLAMA3_TOKENS, "<s>", "</s>", "<unk>", "[INST]", "<tool_call>", "<|", "|>", "<|im_", "im_",
    "_end|>", "end", "<", ">", "[", "]", "INST", "~", "<b>", "</b>", "IM_END", " ", "\n", "a", "\ufdd0", "\ufdd1",
    "user", "<|IM_END|>", "<|im_~end|>", "<|im_end|a>", "eot_id", "s", "/s", ">dne_mi|<",
]  # fmt: skip
contents = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), min_size=1, max_size=8).map("".join).filter(bool)

# Templates that put together what was apart, as if they wanted to.
JOINERS = {
    "as it is": "{{ m.content }}",
    "between halves": "{{ '<|im_' + m.content + 'end|>' }}{{ '<|' ~ m.content ~ '|>' }}{{ '[' ~ m.content ~ ']' }}",
    "before the rest": "{{ m.content }}|im_end|>{{ m.content }}>{{ m.content }}INST]",
    "behind the start": "<{{ m.content }} <|im_end|{{ m.content }} [INST{{ m.content }} </{{ m.content }}",
    "next to itself": "{{ m.content ~ m.content }}",
    "without a part": "{{ m.content | replace('~', '') }}{{ m.content.split('<b>')[0] ~ m.content.split('</b>')[-1] }}",
    "in lower case": "{{ m.content | lower }}",
    "backwards": "{{ m.content[::-1] }}",
    "trimmed": "{{ m.content | trim }}{{ m.content.strip('a ') }}",
    "character by character": "{% for c in m.content %}{{ c }}{% endfor %}",
    "some characters": "{% for c in m.content %}{% if c not in '~a ' %}{{ c }}{% endif %}{% endfor %}",
    "JSON": "{{ m.content | tojson }}{{ m | tojson }}",
    "joined": "{{ m.content.split('~') | join }}{{ m.content.split() | join }}",
}


@pytest.mark.parametrize(
    "tokenizer", [CHATML_TOKENIZER, LLAMA3_TOKENIZER, SPM_TOKENIZER], ids=["chatml", "llama3", "spm"]
)
@pytest.mark.parametrize("name", JOINERS)
@given(written=st.lists(contents, min_size=1, max_size=2))
@settings(max_examples=40)
def test_no_content_becomes_a_special_token(name: str, tokenizer: Tokenizer, written: list[str]) -> None:
    start = "{% for m in messages %}{{ bos_token }}{{ eos_token }}"
    template = from_file(start + JOINERS[name] + "{% endfor %}", tokenizer)
    harmless = template.render([Message("user", "☃") for _ in written])
    ids = template.render([Message("user", content) for content in written])
    assert special(tokenizer, ids) == special(tokenizer, harmless)


@given(st.lists(contents | st.sampled_from(AWKWARD), min_size=1, max_size=3))
def test_a_prompt_is_cut_as_its_texts_are(written: list[str]) -> None:
    start, end = CHATML_TOKENS.index("<|im_start|>"), CHATML_TOKENS.index("<|im_end|>")
    expected = []
    for content in written:
        expected += [start, *CHATML_TOKENIZER.encode("user\n" + content), end, *CHATML_TOKENIZER.encode("\n")]
    expected += [start, *CHATML_TOKENIZER.encode("assistant\n")]
    template = ChatTemplate(CHATML, CHATML_TOKENIZER)
    assert template.render([Message("user", content) for content in written]) == expected


def test_a_template_works_on_a_text_with_markup_as_on_any_other() -> None:
    template = ChatTemplate(LLAMA3, LLAMA3_TOKENIZER)  # which trims what is said
    padded, bare = (template.render([Message("user", text)]) for text in ("\n <|eot_id|> hi ", "<|eot_id|> hi"))
    assert padded == bare


@pytest.mark.parametrize("text", MARKUP)
def test_markup_in_a_message_is_read_as_it_is_written(text: str) -> None:
    ids = ChatTemplate(LLAMA3, LLAMA3_TOKENIZER).render([Message("user", text)])
    assert text.strip() in LLAMA3_TOKENIZER.decode(ids)
    assert special(LLAMA3_TOKENIZER, ids) == ["<|begin_of_text|>", *LLAMA3_TOKENS[2:], *LLAMA3_TOKENS[2:4]]
