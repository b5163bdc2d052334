from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.service.text_stream import Detokenizer, StopStrings
from tests.strings import AWKWARD
from tests.vocabularies import byte_level, sentencepiece, wordpiece

TOKENIZERS = [Tokenizer.from_metadata(make()) for make in (byte_level, sentencepiece, wordpiece)]


def detokenized(tokenizer: Tokenizer, ids: list[int], *, continues: bool = False) -> list[str]:
    detokenizer = Detokenizer(tokenizer, continues=continues)
    return [*map(detokenizer.feed, ids), detokenizer.flush()]


# ---- Detokenizer -------------------------------------------------------------------------------------------


@given(st.data(), st.sampled_from(TOKENIZERS), st.booleans())
def test_pieces_of_any_tokens_make_their_text(data: st.DataObject, tokenizer: Tokenizer, continues: bool) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    pieces = detokenized(tokenizer, ids, continues=continues)
    assert "".join(pieces) == tokenizer.decode(ids, continues=continues)


@pytest.mark.parametrize("tokenizer", TOKENIZERS[:2])
def test_no_piece_of_a_text_holds_half_a_character(tokenizer: Tokenizer) -> None:
    for text in AWKWARD:
        if "\ufffd" not in text:
            assert not any("\ufffd" in piece for piece in detokenized(tokenizer, tokenizer.encode(text)))


def test_a_character_comes_out_with_its_last_byte() -> None:
    tokenizer = TOKENIZERS[0]
    assert detokenized(tokenizer, tokenizer.encode("a😀b")) == ["a", "", "", "", "😀", "b", ""]


def test_a_character_that_is_cut_off_becomes_a_replacement_character() -> None:
    tokenizer = TOKENIZERS[0]
    assert detokenized(tokenizer, tokenizer.encode("a😀")[:-1]) == ["a", "", "", "", "\ufffd"]
    half = tokenizer.encode("😀")[:2]
    assert "".join(detokenized(tokenizer, half + tokenizer.encode("x"))) == "\ufffdx"


def test_the_space_before_a_text_is_dropped_once_unless_it_continues() -> None:
    tokenizer = TOKENIZERS[1]
    ids = tokenizer.encode("the user")
    assert detokenized(tokenizer, [1, *ids]) == ["", "the", " user", ""]
    assert detokenized(tokenizer, ids, continues=True) == [" the", " user", ""]
    assert "".join(detokenized(tokenizer, tokenizer.encode("  the"))) == "  the"


# ---- StopStrings -------------------------------------------------------------------------------------------


def fed(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    watcher = StopStrings(stops)
    emitted, stopped = "", False
    for piece in pieces:
        text, stopped = watcher.feed(piece)
        emitted += text
    return emitted + watcher.flush(), stopped


def expected(stops: list[str], text: str) -> tuple[str, bool]:
    """By the definition: the first to be complete, of those the longest."""
    for end in range(len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


def held(stops: list[str], text: str) -> int:
    """How much of a text without a stop string may still become part of one."""
    return max((size for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size])), default=0)


few_letters = st.text("ab\n", max_size=30)
stop_lists = st.lists(st.text("ab\n", min_size=1, max_size=6), max_size=4)


@given(stop_lists, st.lists(few_letters, max_size=10))
def test_any_cutting_gives_what_the_definition_gives(stops: list[str], pieces: list[str]) -> None:
    text = "".join(pieces)
    assert fed(stops, pieces) == expected(stops, text)
    assert fed(stops, list(text)) == expected(stops, text)


@given(stop_lists, st.lists(few_letters, max_size=10))
def test_no_more_is_held_back_than_may_become_part_of_a_stop_string(stops: list[str], pieces: list[str]) -> None:
    watcher, text, emitted = StopStrings(stops), "", ""
    for piece in pieces:
        text += piece
        now, stopped = watcher.feed(piece)
        emitted += now
        if stopped:
            break
        assert len(emitted) == len(text) - held(stops, text)


def test_a_stop_string_over_many_pieces_is_never_shown() -> None:
    watcher = StopStrings(["\nUser:", "###"])
    assert watcher.feed("Hello#") == ("Hello", False)
    assert watcher.feed("#") == ("", False)
    assert watcher.feed(" \nUs") == ("## ", False)
    assert watcher.feed("er: more") == ("", True)
    assert watcher.feed("even more") == ("", True)
    assert watcher.flush() == ""


def test_what_was_held_back_comes_at_the_end() -> None:
    watcher = StopStrings(["END"])
    assert watcher.feed("the EN") == ("the ", False)
    assert watcher.flush() == "EN"


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        StopStrings(["a", ""])
    assert caught.value.param == "stop"
