"""What readers take from a growing answer, wherever they begin, joins to the whole of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest
from fairlead.service.answer_log import AnswerLog, Place


@given(pieces=st.lists(st.text(max_size=5), max_size=20), after=st.integers(0, 120))
def test_the_rest_from_any_place(pieces: list[str], after: int) -> None:
    log = AnswerLog()
    for piece in pieces:
        log.append(piece)
    whole = "".join(pieces).replace("\x00", "\ufffd")
    assert log.length == len(whole)
    assert log.since(after) == whole[after:]


@given(message=st.integers(1, 2**31 - 1), characters=st.integers(0, 10**9))
def test_an_events_id_names_its_place(message: int, characters: int) -> None:
    assert Place.parse(str(Place(message, characters))) == Place(message, characters)


@pytest.mark.parametrize("text", ["", "7", "1:", ":1", "1:-2", "1:2:3", "a:b", " 1:2", "1:2\n", "١:٢", "1:" + "9" * 30])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Place.parse(text)
    assert refused.value.param == "after"
