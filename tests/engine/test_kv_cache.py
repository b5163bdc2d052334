from __future__ import annotations

import pytest

from fairlead.engine.kv_cache import KVCache


def test_pages_are_dealt_as_tokens_come() -> None:
    cache = KVCache(page_count=4, page_size=8)
    assert cache.capacity == 32
    assert cache.grow(1, 8)
    assert len(cache.table(1)) == 1
    assert cache.grow(1, 9)
    assert len(cache.table(1)) == 2
    assert cache.grow(1, 16)
    assert len(cache.table(1)) == 2
    assert cache.free_pages == 2
    cache.check_integrity()


def test_growing_keeps_the_order_of_positions() -> None:
    cache = KVCache(page_count=8, page_size=1)
    cache.grow(1, 2)
    before = list(cache.table(1))
    cache.grow(2, 3)
    cache.grow(1, 5)
    assert list(cache.table(1))[:2] == before
    assert not set(cache.table(1)) & set(cache.table(2))


def test_a_fresh_cache_deals_pages_that_lie_side_by_side() -> None:
    cache = KVCache(page_count=8, page_size=4)
    cache.grow(1, 12)
    cache.grow(2, 8)
    assert list(cache.table(1)) == [0, 1, 2]
    assert list(cache.table(2)) == [3, 4]
    cache.release(1)
    cache.grow(3, 8)
    assert list(cache.table(3)) == [0, 1]


def test_all_or_nothing() -> None:
    cache = KVCache(page_count=2, page_size=4)
    assert not cache.grow(1, 9)
    assert cache.free_pages == 2
    assert cache.grow(1, 4)
    assert not cache.grow(1, 12)
    assert len(cache.table(1)) == 1
    cache.check_integrity()


def test_release_gives_everything_back() -> None:
    cache = KVCache(page_count=3, page_size=4)
    cache.grow(1, 12)
    cache.release(1)
    cache.release(1)
    assert cache.free_pages == 3
    with pytest.raises(KeyError):
        cache.table(1)
    cache.check_integrity()


def test_integrity_notices_a_page_in_two_tables() -> None:
    cache = KVCache(page_count=3, page_size=4)
    cache.grow(1, 4)
    cache.grow(2, 4)
    cache._tables[2][0] = cache.table(1)[0]
    with pytest.raises(AssertionError):
        cache.check_integrity()


@pytest.mark.parametrize(("pages", "size"), [(0, 16), (16, 0), (-1, 1)])
def test_an_empty_cache_is_refused(pages: int, size: int) -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        KVCache(pages, size)
