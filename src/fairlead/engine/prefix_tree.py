"""What full pages of the KV cache hold, so that equal beginnings of sequences are computed and kept once.

A radix tree (the idea is that of Zheng et al., "SGLang", 2024) with a node for each full page, found under
its parent by the page's tokens and a salt. A node is made *before* its page is computed and says how much of
it is: requests with a common beginning hold the same nodes from the start, and whoever's turn it is computes
the next tokens for all of them.

Owns nodes and the order in which unused ones are given away; knows nothing of requests.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

Key = tuple[int | None, tuple[int, ...]]
"""A page's salt, None where it is public, and its tokens."""


class Node:
    """A full page in the tree.

    Attributes:
        page: its number in the KV cache.
        parent: the page before it; the root stands before the first.
        key: under which the parent knows it.
        children: the pages known to come after it.
        filled: how many of its tokens are computed.
        holders: how many requests have it in their page tables.
    """

    __slots__ = ("children", "filled", "holders", "key", "page", "parent")

    def __init__(self, page: int, parent: Node | None, key: Key) -> None:
        self.page = page
        self.parent = parent
        self.key = key
        self.children: dict[Key, Node] = {}
        self.filled = 0
        self.holders = 0


class PrefixTree:
    """Nodes that are held, and nodes that rest until they are held again or their pages are needed.

    Resting nodes stand in the order in which they came to rest, the oldest first. **The oldest is always a
    leaf**, so giving it away takes no search: who holds a node holds its parents too, and `release` goes from
    the last page to the first, so no node comes to rest before all its children rest or are gone.

    Args:
        page_size: tokens in a page.
    """

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._root = Node(-1, None, (None, ()))
        self._resting: OrderedDict[Node, None] = OrderedDict()

    @property
    def resting(self) -> int:
        """Nodes that nobody holds."""
        return len(self._resting)

    def find(self, keys: Iterable[Key]) -> list[Node]:
        """The longest path of nodes along these keys."""
        path: list[Node] = []
        node: Node | None = self._root
        for key in keys:
            node = node.children.get(key) if node is not None else None
            if node is None:
                break
            path.append(node)
        return path

    def child(self, parent: Node | None, key: Key) -> Node | None:
        """The page that follows `parent` (None: the first) with this key."""
        return (parent or self._root).children.get(key)

    def hold(self, nodes: Iterable[Node]) -> None:
        """Count one more holder of these nodes: a path from the root, or what continues one already held."""
        for node in nodes:
            if not node.holders:
                del self._resting[node]
            node.holders += 1

    def insert(self, parent: Node | None, key: Key, page: int) -> Node:
        """A new node, held once, under a held parent (None: the root)."""
        parent = parent or self._root
        node = parent.children[key] = Node(page, parent, key)
        node.holders = 1
        return node

    def release(self, path: Sequence[Node]) -> list[int]:
        """Count one holder less of a whole path; the pages of nodes that nobody holds and nobody has filled."""
        freed: list[int] = []
        for node in reversed(path):
            node.holders -= 1
            if node.holders:
                continue
            if node.filled == self._page_size:
                self._resting[node] = None
            else:  # and without children: pages are filled in order, so any child was as empty and went before
                self._unlink(node)
                freed.append(node.page)
        return freed

    def evict(self) -> int:
        """Drop the node that has rested longest; its page. KeyError where none rests."""
        node, _ = self._resting.popitem(last=False)
        self._unlink(node)
        return node.page

    def __iter__(self) -> Iterator[Node]:
        """All nodes, parents first."""
        nodes = list(self._root.children.values())
        for node in nodes:
            nodes += node.children.values()
        return iter(nodes)

    def check_integrity(self) -> None:
        """Raise AssertionError where the tree contradicts itself."""
        nodes = list(self)
        order = {node: place for place, node in enumerate(self._resting)}
        assert order.keys() == {node for node in nodes if not node.holders}, "unheld nodes are those that rest"
        for node in nodes:
            parent = node.parent
            assert parent is not None, "a node has no parent"
            assert parent.children[node.key] is node, "a parent does not know its child"
            assert len(node.key[1]) == self._page_size, "a node has the tokens of no full page"
            assert node.filled <= self._page_size, "a page is more than full"
            assert node.holders or node.filled == self._page_size, "nobody will fill a page"
            if parent is self._root:
                continue
            assert parent.holders >= node.holders, "a page is held without the one before it"
            assert parent.filled == self._page_size or not node.filled, "a page was filled before the one before it"
            assert parent.holders or order[node] < order[parent], "a parent rests before its child"

    def _unlink(self, node: Node) -> None:
        assert node.parent is not None
        assert not node.children, "a page is dropped before those after it"
        del node.parent.children[node.key]
