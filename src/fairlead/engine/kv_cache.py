"""Which pages of the KV cache belong to whom.

Owns the free pages and each request's page table; knows page numbers only. What the pages hold is the
runner's, who may have pages and when is the scheduler's.
"""

from __future__ import annotations

from collections.abc import Sequence


class KVCache:
    """Pages of a fixed number of tokens, dealt to requests and taken back whole.

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
        self._tables: dict[int, list[int]] = {}

    @property
    def free_pages(self) -> int:
        """Pages that belong to no one."""
        return len(self._free)

    @property
    def capacity(self) -> int:
        """Tokens that fit when one request has every page."""
        return self.page_count * self.page_size

    def grow(self, request_id: int, tokens: int) -> bool:
        """Deal the pages that the request lacks to hold `tokens` tokens: all of them, or none and False."""
        table = self._tables.get(request_id)
        held = len(table) if table is not None else 0
        missing = -(-tokens // self.page_size) - held
        if missing <= 0:
            return True
        if missing > len(self._free):
            return False
        dealt = self._free[-missing:]
        dealt.reverse()
        del self._free[-missing:]
        if table is None:
            self._tables[request_id] = dealt
        else:
            table += dealt
        return True

    def table(self, request_id: int) -> Sequence[int]:
        """The request's pages in order of position: a live view, valid until it grows or is released."""
        return self._tables[request_id]

    def release(self, request_id: int) -> None:
        """Take back all pages of a request; one without pages is left alone."""
        self._free += reversed(self._tables.pop(request_id, []))

    def check_integrity(self) -> None:
        """Raise AssertionError unless every page is either free or in exactly one table, once."""
        seen = sorted([*self._free, *(page for table in self._tables.values() for page in table)])
        assert seen == list(range(self.page_count)), "pages were lost, invented or dealt twice"
        assert all(self._tables.values()), "a request holds an empty table"
