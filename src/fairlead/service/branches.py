"""The branches of a chat: its messages are a tree, in which siblings are versions of one turn.

Plain functions over the messages of one chat, which come in the order of their numbers: each after its parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fairlead.storage.messages import Message


def branch(messages: Iterable[Message], leaf_id: int | None) -> list[Message]:
    """The messages from the first to this one; none for None."""
    by_id = {message.id: message for message in messages}
    path = []
    while leaf_id is not None:
        message = by_id[leaf_id]
        path.append(message)
        leaf_id = message.parent_id
    return path[::-1]


def siblings(messages: Iterable[Message]) -> Mapping[int | None, Sequence[int]]:
    """By the row of a parent, the numbers of its children, the oldest first; None is the parent of first messages."""
    found: dict[int | None, list[int]] = {}
    for message in messages:
        found.setdefault(message.parent_id, []).append(message.number)
    return found


def newest_leaf(messages: Iterable[Message], message_id: int) -> int:
    """The row at the end of the branch that goes on behind a message, at each fork with the newest version."""
    newest = {message.parent_id: message.id for message in messages}
    while message_id in newest:
        message_id = newest[message_id]
    return message_id
