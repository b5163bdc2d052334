"""Names for chats: the first words of a question, and what is a title in what a model says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.service.titles import first_words, title_in


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Baking Sourdough Bread", "Baking Sourdough Bread"),
        ('"Baking Sourdough Bread"\n\nI hope this helps!', "Baking Sourdough Bread"),
        ("**Title: Baking Bread**", "Baking Bread"),
        ("The title is: “Bread”", "Bread"),
        ("\n\n# bread at home\n", "Bread at home"),
        ('"Bread at home."', None),
        ("How is bread made?", None),
        ("The market sells a variety of products,", None),
        ("面包的做法", "面包的做法"),
        ("", None),
        ("...\n'''", None),
        ("Sure! I would be happy to help you with writing a title for this conversation about bread.", None),
        ("bread bread bread bread bread", None),
        ("TCP Versus UDP", None),
        ("Bread \x1b[31m red", None),
        ("x" * 61, None),
    ],
)
def test_what_reads_like_a_title(said: str, title: str | None) -> None:
    assert title_in(said) == title


@given(said=st.text())
def test_a_title_is_one_short_line(said: str) -> None:
    title = title_in(said)
    assert title is None or (0 < len(title) <= 60 and title.isprintable() and title == title.strip())


def test_first_words() -> None:
    assert first_words("How do I bake bread?") == "How do I bake bread?"
    assert first_words("  How\n\tdo\x00 I  bake?") == "How do I bake?"
    long = first_words("How do I bake bread that stays fresh for a week without any additives, please?")
    assert long == "How do I bake bread that stays fresh for a week without…"
    assert first_words("x" * 100) == "x" * 59 + "…"
    assert first_words("\n\n") == ""


@given(text=st.text(max_size=300))
def test_first_words_are_printable_and_short(text: str) -> None:
    words = first_words(text)
    assert len(words) <= 60
    assert words.isprintable()
