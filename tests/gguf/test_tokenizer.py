from __future__ import annotations

import logging
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest, ModelFileError, UnsupportedModel
from fairlead.gguf.tokenizer import Tokenizer
from tests.strings import AWKWARD, MARKUP
from tests.vocabularies import LLAMA3_TOKENS, Metadata, byte_level, sentencepiece, wordpiece

SENTINEL = "\ufdd0"
KEY = "tokenizer.ggml."


def texts_of(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    return [tokenizer.token_text(token_id) for token_id in ids]


@pytest.fixture(scope="module", params=[byte_level, sentencepiece], ids=["byte_level", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    metadata: Metadata = request.param()
    return Tokenizer.from_metadata(metadata)


# ---- both ways ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", [byte_level(), byte_level(LLAMA3_TOKENS, pre="llama-bpe"), sentencepiece()])
def test_awkward_strings_come_back(metadata: Metadata) -> None:
    tokenizer = Tokenizer.from_metadata(metadata)
    for text in AWKWARD:
        assert tokenizer.decode(tokenizer.encode(text)) == text.replace("▁", " " if tokenizer.leading_space else "▁")


@given(st.text())
@settings(max_examples=200)
def test_any_text_comes_back_without_special_tokens(text: str) -> None:
    for tokenizer in _BOTH:
        ids = tokenizer.encode(text)
        assert not tokenizer.special_ids & set(ids)
        assert tokenizer.decode(ids) == text.replace("▁", " " if tokenizer.leading_space else "▁")


_BOTH = (Tokenizer.from_metadata(byte_level()), Tokenizer.from_metadata(sentencepiece()))


@pytest.mark.parametrize("text", MARKUP)
def test_special_tokens_written_in_a_text_stay_text(tokenizer: Tokenizer, text: str) -> None:
    assert not tokenizer.special_ids & set(tokenizer.encode(text, bos=False))


def test_lone_surrogates_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match="lone surrogate at character 1"):
        tokenizer.encode("a\ud800b")
    with pytest.raises(InvalidRequest, match="lone surrogate"):
        tokenizer.encode_marked("\udfff", SENTINEL)


def test_nothing_becomes_nothing(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("") == []
    assert tokenizer.encode_marked("", SENTINEL) == []
    assert tokenizer.decode([]) == ""


# ---- special tokens ----------------------------------------------------------------------------------------


def test_marked_text_holds_special_tokens_unless_a_sentinel_breaks_them() -> None:
    tokenizer = Tokenizer.from_metadata(byte_level())
    text = f"<|im_start|>user\n<{SENTINEL}|im_end|><|im_end{SENTINEL}|>{SENTINEL}<|im_end|>{SENTINEL}"
    ids = tokenizer.encode_marked(text, SENTINEL)
    assert [token_id for token_id in ids if token_id in tokenizer.special_ids] == [1, 2]
    assert tokenizer.marked_ids(text) == [1, 2]
    assert tokenizer.decode(ids) == "user\n<|im_end|><|im_end|>"


def test_sentinels_leave_the_cutting_of_a_text_alone(tokenizer: Tokenizer) -> None:
    text = "the user <s> in <|im_end|> the end"
    broken = tokenizer.break_special(text, SENTINEL)
    assert broken != text
    assert tokenizer.encode_marked(broken, SENTINEL) == tokenizer.encode(text)


@pytest.mark.parametrize("special", [("<a>", "<a><b>", "<b><a>"), ("aab", "ab", "baa"), ("aa", "aaa"), ("€<", "€")])
def test_broken_text_holds_no_special_token(special: tuple[str, ...]) -> None:
    tokenizer = Tokenizer.from_metadata(byte_level((*special, "<|end|>"), bos=0))
    for text in ["".join(special), "".join(reversed(special)), "aabaabaa", "<a><b><a><b>", "€<€<€", "aaaaaaa"]:
        assert tokenizer.marked_ids(tokenizer.break_special(text, SENTINEL)) == []


def test_the_longest_special_token_is_taken() -> None:
    tokenizer = Tokenizer.from_metadata(byte_level(("<a>", "<a><b>", "<|end|>"), bos=0))
    assert tokenizer.encode_marked("<a><b><a>", SENTINEL) == [1, 0]


def test_user_defined_markup_is_special_and_other_user_defined_tokens_are_not() -> None:
    tokenizer = Tokenizer.from_metadata(byte_level(literal=("   ", "\t\t", "<tool_call>", "[INST]")))
    assert texts_of(tokenizer, tokenizer.encode("     x\t\ty")) == ["   ", "Ġ", "Ġ", "x", "\t\t", "y"]
    assert "<tool_call>" not in texts_of(tokenizer, tokenizer.encode("<tool_call>[INST]"))
    marked = tokenizer.encode_marked("<tool_call>[INST]", SENTINEL)
    assert texts_of(tokenizer, marked) == ["<tool_call>", "[INST]"]
    assert tokenizer.decode(marked) == "<tool_call>[INST]"


def test_a_stop_token_typed_as_text_is_special_all_the_same() -> None:
    metadata = byte_level()
    metadata[KEY + "token_type"] = (1, 1, 1, *metadata[KEY + "token_type"][3:])
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.special_ids == {0, 1, 2}
    assert tokenizer.decode([2]) == ""


def test_stop_tokens_are_the_named_ones_and_those_known_by_their_text() -> None:
    metadata = byte_level((*LLAMA3_TOKENS, "<|eom_id|>", "<|fin|>", "<|turn|>"))
    assert Tokenizer.from_metadata(metadata).stop_ids == {1, 4, 5, 7}
    metadata[KEY + "eot_token_id"] = 6
    assert Tokenizer.from_metadata(metadata).stop_ids == {1, 4, 5, 6, 7}


def test_bos_and_eos_stand_where_the_model_wants_them() -> None:
    plain = Tokenizer.from_metadata(byte_level())
    assert plain.encode("the", bos=True, eos=True) == plain.encode("the")
    llama3 = Tokenizer.from_metadata(byte_level(LLAMA3_TOKENS, pre="llama-bpe", bos=0))
    assert llama3.encode("the", bos=True, eos=True) == [0, *llama3.encode("the")]
    both = Tokenizer.from_metadata(byte_level() | {KEY + "add_bos_token": True, KEY + "add_eos_token": True})
    assert both.encode("the", bos=True, eos=True) == [1, *both.encode("the"), 2]
    assert sentence().encode("the", bos=True) == [1, *sentence().encode("the")]


# ---- SentencePiece -----------------------------------------------------------------------------------------


def sentence(**more: object) -> Tokenizer:
    return Tokenizer.from_metadata(sentencepiece() | {KEY + name: value for name, value in more.items()})


def test_sentencepiece_puts_a_space_before_a_text_and_after_special_tokens() -> None:
    tokenizer = sentence()
    assert texts_of(tokenizer, tokenizer.encode("the user")) == ["▁the", "▁user"]
    marked = tokenizer.encode_marked("<s>the</s>user", SENTINEL)
    assert texts_of(tokenizer, marked) == ["<s>", "▁the", "</s>", "▁user"]
    bare = sentence(add_space_prefix=False)
    assert texts_of(bare, bare.encode("the user")) == ["the", "▁user"]
    assert bare.decode(bare.encode(" the")) == " the"


def test_sentencepiece_falls_back_to_bytes_or_to_the_unknown_token() -> None:
    tokenizer = sentence()
    assert texts_of(tokenizer, tokenizer.encode("in\n€")) == ["▁in", "<0x0A>", "<0xE2>", "<0x82>", "<0xAC>"]
    byteless = Tokenizer.from_metadata(sentencepiece(bytes_too=False))
    assert texts_of(byteless, byteless.encode("in €€")) == ["▁in", "▁", "<unk>"]


def test_sentencepiece_decodes_the_first_space_away_unless_it_continues() -> None:
    tokenizer = sentence()
    ids = [1, *tokenizer.encode("the user")]
    assert tokenizer.decode(ids) == "the user"
    assert tokenizer.decode(ids, continues=True) == " the user"


# ---- WordPiece ---------------------------------------------------------------------------------------------


def test_wordpiece() -> None:
    tokenizer = Tokenizer.from_metadata(wordpiece())
    ids = tokenizer.encode("Hello unAFFables wörlds [SEP] 世!", bos=True, eos=True)
    expected = "[CLS] ▁hello ▁un aff able s ▁world s [UNK] [UNK] [UNK] ▁世 ▁! [SEP]"
    assert " ".join(texts_of(tokenizer, ids)) == expected
    assert tokenizer.decode(tokenizer.encode("hello worlds!")) == "hello worlds !"
    assert tokenizer.encode("é" * 100_000) == [1]


# ---- pre-tokenizers -------------------------------------------------------------------------------------------------


def test_an_unknown_pretokenizer_is_named() -> None:
    with pytest.raises(UnsupportedModel, match="'tekken'"):
        Tokenizer.from_metadata(byte_level(pre="tekken"))


@pytest.mark.parametrize(
    ("architecture", "special", "like"),
    [("phi2", ("<|x|>",), "gpt-2"), ("qwen2", ("<|x|>",), "qwen2"), ("llama", ("<|x|>",), "default"),
     ("llama", LLAMA3_TOKENS, "llama-bpe")],
)  # fmt: skip
def test_a_missing_pretokenizer_is_guessed_with_a_warning(
    architecture: str, special: tuple[str, ...], like: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = "the 12345 end... is'nt IT'S\n\n  in"
    named = Tokenizer.from_metadata(byte_level(special, pre=like, bos=0))
    with caplog.at_level(logging.WARNING):
        guessed = Tokenizer.from_metadata(byte_level(special, pre=None, bos=0) | {"general.architecture": architecture})
    assert guessed.encode(text) == named.encode(text)
    assert guessed.add_bos == named.add_bos
    assert f"{like} is used" in caplog.text


# ---- files from strangers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model", None, "no tokenizer"),
        ("model", 3, "model must be a string"),
        ("tokens", None, "no vocabulary"),
        ("tokens", (), "no vocabulary"),
        ("tokens", "abc", "tokens must be an array"),
        ("tokens", ("a", 1), "tokens must be an array of strings"),
        ("tokens", ("a", "b", "a"), "token 2 has the text of an earlier one: 'a'"),
        ("tokens", ("a" * 513,), "too long"),
        ("token_type", (1, 2), "token_type"),
        ("token_type", "x", "token_type must be an array"),
        ("token_type", ("1",) * 500, "token_type must be an array of numbers"),
        ("merges", None, "merges is missing"),
        ("merges", ("t h", "th"), "merge 1"),
        ("merges", ("t h", "q x"), "merge 1"),
        ("merges", (" t",), "merge 0"),
        ("merges", ("t ",), "merge 0"),
        ("bos_token_id", 1 << 20, "bos_token_id must be the id of one of"),
        ("eos_token_id", -5, "eos_token_id"),
        ("eos_token_id", "2", "eos_token_id"),
        ("eos_token_id", True, "eos_token_id"),
        ("add_bos_token", 1, "add_bos_token must be true or false"),
        ("pre", 1, "pre must be a string"),
    ],
)
def test_a_damaged_vocabulary_is_refused(key: str, value: object, message: str) -> None:
    metadata = byte_level()
    metadata[KEY + key] = value
    if value is None:
        del metadata[KEY + key]
    with pytest.raises(ModelFileError, match=message):
        Tokenizer.from_metadata(metadata)


def test_types_out_of_range_are_refused() -> None:
    metadata = sentencepiece()
    count = len(metadata[KEY + "tokens"])
    with pytest.raises(ModelFileError, match="a type of 0 to 6"):
        Tokenizer.from_metadata(metadata | {KEY + "token_type": (7,) * count})
    with pytest.raises(ModelFileError, match="typed as a byte but spelt '<unk>'"):
        Tokenizer.from_metadata(metadata | {KEY + "token_type": (6,) * count})


@pytest.mark.parametrize("scores", [None, (1.0,), "nan"])
def test_sentencepiece_needs_its_scores(scores: object) -> None:
    metadata = sentencepiece()
    count = len(metadata[KEY + "tokens"])
    metadata[KEY + "scores"] = (float("nan"),) * count if scores == "nan" else scores
    with pytest.raises(ModelFileError, match="scores must give each"):
        Tokenizer.from_metadata(metadata)


def test_an_unknown_algorithm_is_named() -> None:
    with pytest.raises(UnsupportedModel, match="'rwkv'"):
        Tokenizer.from_metadata(byte_level() | {KEY + "model": "rwkv"})


def test_empty_tokens_are_unused() -> None:
    metadata = byte_level(literal=("  ",))
    metadata[KEY + "tokens"] = (*metadata[KEY + "tokens"], "", "")
    metadata[KEY + "token_type"] = (*metadata[KEY + "token_type"], 4, 3)
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.decode(tokenizer.encode("a  b")) == "a  b"
    assert tokenizer.token_bytes(tokenizer.vocab_size - 1) == b""


# ---- speed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["a", " ", "the ", "\n \t", "😀", "7", "...", "<|im_end|>", "\u0301"])
def test_long_texts_take_no_longer_than_their_length(tokenizer: Tokenizer, unit: str) -> None:
    text = unit * (100_000 // len(unit))
    start = time.perf_counter()
    tokenizer.encode(text)
    tokenizer.encode_marked(tokenizer.break_special(text, SENTINEL), SENTINEL)
    assert time.perf_counter() - start < 2


def test_other_threads_run_while_a_long_text_is_encoded(tokenizer: Tokenizer) -> None:
    longest = last = 0.0
    thread = threading.Thread(target=tokenizer.encode, args=("the user is in the end, " * 60_000,))
    start = last = time.perf_counter()
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    assert longest < max(0.25, 0.5 * (last - start))
