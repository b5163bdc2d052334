"""Which pages of the KV cache belong to whom.

A page is free; or held by requests, by several where their sequences begin alike; or it rests in the prefix
tree, held by nobody, until a request asks for its content or needs its room.

Owns the free pages and each request's page table; knows page numbers and token ids only. What the pages hold
is the runner's, who may have pages and when is the scheduler's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fairlead.engine.prefix_tree import Key, Node, PrefixTree


@dataclass(slots=True)
class _Table:
    """A request's pages.

    Attributes:
        tokens: the request's own list, which grows with its answer.
        salt: under which its pages are shared.
        public_tokens: pages within these first tokens are shared whatever the salt.
        shares: whether further pages of it may go into the tree.
        pages: page numbers in order of position.
        nodes: the nodes of the first of them; the others are its own.
        full: nodes at the beginning that are known to be filled.
        computed: tokens that are computed, as far as it was told or has looked.
    """

    tokens: Sequence[int]
    salt: int
    public_tokens: int
    shares: bool
    pages: list[int] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    full: int = 0
    computed: int = 0


class KVCache:
    """Pages of a fixed number of tokens, dealt to requests, shared between them and kept while there is room.

    Args:
        page_count: pages in the cache.
        page_size: tokens in a page.
    """

    def __init__(self, page_count: int, page_size: int) -> None:
        if page_count < 1 or page_size < 1:
            raise ValueError(f"a KV cache of {page_count} pages of {page_size} tokens holds nothing")
        self.page_count = page_count
        self.page_size = page_size
        # A stack: the page given back last is dealt first, while the processor's caches may hold it still; pages
        # dealt together from a fresh cache lie side by side.
        self._free = list(range(page_count - 1, -1, -1))
        self._tree = PrefixTree(page_size)
        self._tables: dict[int, _Table] = {}

    @property
    def free_pages(self) -> int:
        """Pages that hold nothing."""
        return len(self._free)

    @property
    def cached_pages(self) -> int:
        """Pages that nobody holds but whose content may be asked for again."""
        return self._tree.resting

    @property
    def capacity(self) -> int:
        """Tokens that fit when one request has every page."""
        return self.page_count * self.page_size

    def admit(
        self, request_id: int, tokens: Sequence[int], *, salt: int = 0, public_tokens: int = 0, share: bool = True
    ) -> bool:
        """Give a request pages for all of its tokens, or none and False.

        The full pages before its last token are taken from the tree as far as it knows them, and put there
        as far as it does not. The last token is always computed by the request itself, in a page of its own,
        because its logits are wanted; so no request ever writes to a page that another reads.

        Args:
            request_id: one that has no pages.
            tokens: all that is known of it; the list may grow while the request runs.
            salt: it shares pages with requests of the same salt.
            public_tokens: and with all, as far as pages lie within these first tokens.
            share: whether it shares pages at all.
        """
        table = _Table(tokens, salt, public_tokens, share)
        shareable = (len(tokens) - 1) // self.page_size if share else 0
        path = self._tree.find(self._keys(table, 0, shareable))
        missing = -(-len(tokens) // self.page_size) - len(path)
        awakened = sum(not node.holders for node in path)
        if missing > len(self._free) + self._tree.resting - awakened:
            return False
        self._tree.hold(path)
        dealt = self._deal(missing)
        table.pages = [node.page for node in path] + dealt
        table.nodes = path
        for key, page in zip(self._keys(table, len(path), shareable), dealt, strict=False):
            path.append(self._tree.insert(path[-1] if path else None, key, page))
        self._tables[request_id] = table
        return True

    def grow(self, request_id: int, tokens: int) -> bool:
        """Deal the pages that a request lacks to hold `tokens` tokens: all of them, or none and False."""
        pages = self._tables[request_id].pages
        missing = -(-tokens // self.page_size) - len(pages)
        if missing > 0:
            if missing > len(self._free) + self._tree.resting:
                return False
            pages += self._deal(missing)
        return True

    def table(self, request_id: int) -> Sequence[int]:
        """The request's pages in order of position: a live view, valid until it grows or is released."""
        return self._tables[request_id].pages

    def computed(self, request_id: int) -> int:
        """How many of the request's first tokens are in its pages, whoever computed them."""
        table = self._tables[request_id]
        while table.full < len(table.nodes) and table.nodes[table.full].filled == self.page_size:
            table.full += 1
        reached = table.full * self.page_size
        if table.full < len(table.nodes):
            reached += table.nodes[table.full].filled
        table.computed = max(table.computed, reached)
        return table.computed

    def next_page(self, request_id: int) -> int:
        """The page that the request's next token is computed into; two requests may have the same."""
        table = self._tables[request_id]
        return table.pages[table.computed // self.page_size]

    def fill(self, request_id: int, end: int) -> None:
        """Note that the request's tokens up to position `end` are computed, by itself from where it stood.

        Pages of its own that are full now go into the tree, for requests that begin like this one and go on
        from here. Where the tree knows an equal page already, the request takes that and gives its own back.
        """
        table = self._tables[request_id]
        size = self.page_size
        for place in range(table.computed // size, min(len(table.nodes), -(-end // size))):
            table.nodes[place].filled = min(size, end - place * size)
        table.computed = end
        while table.shares and (len(table.nodes) + 1) * size <= end:
            self._share_page(table)

    def release(self, request_id: int) -> None:
        """Take a request's pages back; one without pages is left alone. What they hold stays while there is room."""
        table = self._tables.pop(request_id, None)
        if table is not None:
            self._free += reversed(table.pages[len(table.nodes) :])
            self._free += self._tree.release(table.nodes)

    def check_integrity(self) -> None:
        """Raise AssertionError unless every page is free, in the tree or one request's own, and all agree."""
        self._tree.check_integrity()
        nodes = list(self._tree)
        own = [page for table in self._tables.values() for page in table.pages[len(table.nodes) :]]
        seen = sorted([*self._free, *own, *(node.page for node in nodes)])
        assert seen == list(range(self.page_count)), "pages were lost, invented or dealt twice"
        held: dict[Node, int] = dict.fromkeys(nodes, 0)
        for table in self._tables.values():
            assert table.pages, "a request holds an empty table"
            assert [node.page for node in table.nodes] == table.pages[: len(table.nodes)], "table and tree differ"
            assert table.computed <= len(table.pages) * self.page_size, "more is computed than there is room for"
            keys = self._keys(table, 0, len(table.nodes))
            assert [node.key for node in table.nodes] == list(keys), "a page holds other tokens"
            for node in table.nodes:
                held[node] += 1
        assert all(node.holders == count for node, count in held.items()), "holders are miscounted"

    def _keys(self, table: _Table, begin: int, end: int) -> Iterator[Key]:
        """The keys of a request's full pages from the one to before the other."""
        size = self.page_size
        for start in range(begin * size, end * size, size):
            salt = None if start + size <= table.public_tokens else table.salt
            yield salt, tuple(table.tokens[start : start + size])

    def _share_page(self, table: _Table) -> None:
        """Put a request's first page of its own, which is full, into the tree."""
        place = len(table.nodes)
        (key,) = self._keys(table, place, place + 1)
        parent = table.nodes[-1] if table.nodes else None
        node = self._tree.child(parent, key)
        if node is None:
            node = self._tree.insert(parent, key, table.pages[place])
            node.filled = self.page_size
        elif node.filled == self.page_size:
            self._tree.hold([node])
            self._free.append(table.pages[place])
            table.pages[place] = node.page
        else:  # others are about to compute the same: both copies live, and this request shares no more
            table.shares = False
            return
        table.nodes.append(node)

    def _deal(self, count: int) -> list[int]:
        """So many pages, free ones first; there are enough."""
        while len(self._free) < count:
            self._free.append(self._tree.evict())
        dealt = self._free[len(self._free) - count :]
        dealt.reverse()
        del self._free[len(self._free) - count :]
        return dealt
