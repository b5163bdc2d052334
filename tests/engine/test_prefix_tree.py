from __future__ import annotations

import pytest

from fairlead.engine.prefix_tree import Key, Node, PrefixTree


def key(token: int, salt: int | None = 0) -> Key:
    return salt, (token, token)


def grown(tree: PrefixTree, tokens: str, first_page: int = 0) -> list[Node]:
    """A held path with a filled page for each letter."""
    path: list[Node] = []
    for place, token in enumerate(tokens):
        path.append(tree.insert(path[-1] if path else None, key(ord(token)), first_page + place))
        path[-1].filled = 2
    return path


def keys(tokens: str) -> list[Key]:
    return [key(ord(token)) for token in tokens]


def test_the_longest_path_is_found() -> None:
    tree = PrefixTree(page_size=2)
    path = grown(tree, "abc")
    assert tree.find(keys("abcd")) == path
    assert tree.find(keys("abx")) == path[:2]
    assert tree.find(keys("bc")) == []
    assert tree.find([key(ord("a"), salt=1)]) == []
    assert tree.child(path[0], key(ord("b"))) is path[1]
    tree.check_integrity()


def test_what_nobody_holds_rests_and_the_oldest_end_goes_first() -> None:
    tree = PrefixTree(page_size=2)
    older, newer = grown(tree, "abc"), grown(tree, "xy", first_page=10)
    assert tree.release(older) == []
    assert tree.release(newer) == []
    assert tree.resting == 5
    assert [tree.evict() for _ in range(5)] == [2, 1, 0, 11, 10]
    with pytest.raises(KeyError):
        tree.evict()


def test_what_is_held_again_is_young_again() -> None:
    tree = PrefixTree(page_size=2)
    older, newer = grown(tree, "ab"), grown(tree, "xy", first_page=10)
    tree.release(older)
    tree.release(newer)
    tree.hold(older[:1])
    tree.check_integrity()
    assert tree.evict() == 1, "the end that is not held, though its beginning is"
    tree.release(older[:1])
    assert [tree.evict() for _ in range(3)] == [11, 10, 0]


def test_pages_that_are_not_filled_are_given_back() -> None:
    tree = PrefixTree(page_size=2)
    path = grown(tree, "abc")
    path[1].filled, path[2].filled = 1, 0
    assert tree.release(path) == [2, 1]
    assert tree.find(keys("abc")) == path[:1]
    tree.check_integrity()


def test_others_keep_what_they_hold() -> None:
    tree = PrefixTree(page_size=2)
    path = grown(tree, "abc")
    path[2].filled = 0
    tree.hold(path[:2])
    assert tree.release(path) == [2]
    assert tree.resting == 0
    assert tree.release(path[:2]) == []
    assert tree.resting == 2


def test_integrity_notices_a_parent_that_would_go_before_its_child() -> None:
    tree = PrefixTree(page_size=2)
    path = grown(tree, "ab")
    tree.release(path)
    tree._resting.move_to_end(path[1])
    with pytest.raises(AssertionError):
        tree.check_integrity()
