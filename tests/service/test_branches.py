"""Trees of messages: the branch to a message, versions of a turn, and where a branch ends."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from fairlead.service.branches import branch, newest_leaf, siblings
from fairlead.storage.messages import Message


def message(row: int, parent: int | None) -> Message:
    """A message of which nothing but its place matters; numbers are 100 below rows."""
    return Message(
        id=row,
        number=row - 100,
        parent_id=parent,
        role="user",
        content="",
        state="complete",
        finish_reason=None,
        model=None,
        report=None,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        finished_at=None,
    )


@st.composite
def trees(draw: st.DrawFn) -> list[Message]:
    """Messages, each with a parent among those before, or with none."""
    count = draw(st.integers(1, 20))
    rows = range(101, 101 + count)
    return [message(row, draw(st.none() | st.sampled_from(rows[: row - 101])) if row > 101 else None) for row in rows]


TREE = [message(101, None), message(102, 101), message(103, 102), message(104, 101), message(105, 102)]


def test_a_branch_and_its_forks() -> None:
    assert [m.id for m in branch(TREE, 105)] == [101, 102, 105]
    assert branch(TREE, None) == []
    assert siblings(TREE) == {None: [1], 101: [2, 4], 102: [3, 5]}
    assert newest_leaf(TREE, 102) == 105
    assert newest_leaf(TREE, 101) == 104
    assert newest_leaf(TREE, 103) == 103


@given(tree=trees(), data=st.data())
def test_every_branch_begins_at_a_first_message_and_goes_on_step_by_step(
    tree: list[Message], data: st.DataObject
) -> None:
    chosen = data.draw(st.sampled_from(tree))
    path = branch(tree, chosen.id)
    assert path[0].parent_id is None
    assert path[-1] == chosen
    assert all(after.parent_id == before.id for before, after in itertools.pairwise(path))
    assert chosen.number in siblings(tree)[chosen.parent_id]


@given(tree=trees(), data=st.data())
def test_the_newest_leaf_is_a_leaf_behind_the_message(tree: list[Message], data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(tree))
    leaf = newest_leaf(tree, chosen.id)
    assert leaf not in siblings(tree)
    assert chosen in branch(tree, leaf)
