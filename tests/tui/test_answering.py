"""The state of an answer that comes in, at a clock of the test's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.answer_info import Queued, Text, Timing, Usage
from fairlead.chat_client import Lost
from fairlead.chat_info import ChatAnswer, ContextTold, Preparing, Source, Started
from fairlead.tui.answering import Answering, remarks


def test_each_state_has_its_line() -> None:
    now = 100.0
    answering = Answering(lambda: now)
    now = 102.0
    assert answering.line() == "Waiting: asking (2 s)"
    answering.take(Started("id", 7, 1, 2))
    assert answering.started is not None
    answering.take(Preparing("summarizing"))
    assert "summarizing" in answering.line()
    answering.take(Queued(3, 4100.0))
    assert answering.line() == "Waiting: 3 before you, about 4 s (2 s)"
    for second, tokens in ((103.0, 1), (103.5, 2), (104.0, 3)):
        now = second
        answering.take(Text("word "))
        answering.count(tokens)
    assert answering.line() == "First token after 3.00 s · 2 tokens/s"
    now = 109.0
    assert answering.line().endswith("· nothing for 5 s")
    answering.take(Lost(0.25))
    assert (answering.away, answering.line()) == (True, "The server is away; looking for it again …")
    answering.take(Text("word "))
    assert (answering.away, answering.line()[:24]) == (False, "First token after 3.00 s")
    timing = Timing(ttft_ms=3000.0, tokens_per_second=2.5)
    answering.take(
        ChatAnswer(chat_id=7, message_id=2, model="m", finish_reason="cancelled", usage=Usage(0, 3), timing=timing)
    )
    assert answering.line() == "m · stopped · 3 tokens · 2.5 tokens/s · first token after 3.00 s"


@given(st.lists(st.one_of(st.text(), st.none())))
def test_frames_together_are_the_text(told: list[str | None]) -> None:
    """However tokens (texts) and frames (None) alternate, each is drawn once, in order."""
    answering = Answering()
    drawn = ""
    for text in told:
        if text is None:
            drawn += answering.undrawn()
            assert drawn == answering.text
        else:
            answering.take(Text(text))
    assert drawn + answering.undrawn() == answering.text
    assert not answering.undrawn()


@given(st.text())
def test_no_control_character_comes_through(text: str) -> None:
    answering = Answering()
    answering.take(Text(text))
    assert not any((ord(sign) < 32 and sign not in "\n\t") or 127 <= ord(sign) < 160 for sign in answering.text)


def test_what_was_left_out_and_what_was_used_is_told() -> None:
    sources = [
        Source(1, "a.pdf", "x", page=3),
        Source(2, "b\x1b.txt", "y", line_from=1, line_to=9),
        Source(3, "c.md", ""),
    ]
    assert remarks(ContextTold(dropped_messages=4), sources, ["d.pdf is still read."]).splitlines() == [
        "4 older messages did not fit and were left out.",
        "d.pdf is still read.",
        "[1] a.pdf, page 3",
        "[2] b␛.txt, lines 1 to 9",
        "[3] c.md, whole",
    ]
    assert remarks(ContextTold(), [], []) == ""
