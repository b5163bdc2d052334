"""How long texts are cut for a model, and summaries to their words."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fairlead.service.parts import packed, passages_of, spread
from fairlead.service.summaries import told_once, within

TEXTS = st.text(alphabet="ab. \n!?語。", max_size=400)


@given(TEXTS, st.integers(1, 40))
def test_parts_put_together_are_the_text_and_none_is_too_long(text: str, room: int) -> None:
    parts = packed(passages_of(text), room, len)
    assert "".join(parts) == text
    assert all(0 < len(part) <= room for part in parts)
    assert all(len(one) + len(other) > room for one, other in pairwise(parts)) or room < 3


@given(st.lists(st.text(alphabet="ab ", min_size=1, max_size=30), min_size=1, max_size=40), st.floats(0.05, 1))
def test_a_share_is_spread_over_the_text(passages: list[str], share: float) -> None:
    chosen = spread(passages, share)
    whole, read = sum(map(len, passages)), sum(map(len, chosen))
    assert abs(read - share * whole) <= max(map(len, passages))
    places = iter(passages)
    assert all(passage in places for passage in chosen)  # in their order


def test_all_of_a_text_is_all_of_it() -> None:
    assert spread(["a", "b"], 1.0) == ["a", "b"]
    assert spread([str(number) for number in range(10)], 0.5) == ["0", "2", "4", "6", "8"]


def test_a_summary_ends_with_its_last_whole_sentence() -> None:
    text = "One two three. Four five six. Seven eight nine."
    assert within(text, 9) == (text, False)
    assert within(text, 7) == ("One two three. Four five six.", True)
    assert within("one two three four", 2) == ("one two…", True)


def test_nothing_is_said_twice() -> None:
    said = "The plan is one long step. It costs 2.7 times as much. "
    assert told_once(said) == said.strip()
    assert told_once(f"{said}{said}{said}") == said.strip()
    assert told_once("No. No. No.") == "No. No. No."
    assert (
        told_once("[A link](to/some/place)\n\n" + said + "\n\n" + said) == "[A link](to/some/place)\n\n" + said.strip()
    )
    assert told_once("A line that ends nowhere\nA line that ends nowhere\nmore") == "A line that ends nowhere"
    assert told_once("船は港に泊まっている船です。船は港に泊まっている船です。") == "船は港に泊まっている船です。"
    table = "| a | b |\n| --- | --- | --- | --- |\n"
    assert told_once(table + table) == (table + table).strip()
