"""Pages: dealt, shared, kept and taken back, with what they hold followed token by token."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from fairlead.engine.kv_cache import KVCache


def computed(cache: KVCache, request_id: int, tokens: list[int]) -> None:
    """Admit a request and compute all its tokens."""
    assert cache.admit(request_id, tokens)
    cache.fill(request_id, len(tokens))


def test_pages_are_dealt_as_tokens_come() -> None:
    cache = KVCache(page_count=4, page_size=8)
    assert cache.capacity == 32
    assert cache.admit(1, range(8))
    assert len(cache.table(1)) == 1
    assert cache.grow(1, 9)
    assert len(cache.table(1)) == 2
    assert cache.grow(1, 16)
    assert len(cache.table(1)) == 2
    assert cache.free_pages == 2
    cache.check_integrity()


def test_growing_keeps_the_order_of_positions() -> None:
    cache = KVCache(page_count=8, page_size=1)
    cache.admit(1, range(2))
    before = list(cache.table(1))
    cache.admit(2, range(10, 13))
    cache.grow(1, 5)
    assert list(cache.table(1))[:2] == before
    assert not set(cache.table(1)) & set(cache.table(2))


def test_a_fresh_cache_deals_pages_that_lie_side_by_side() -> None:
    cache = KVCache(page_count=8, page_size=4)
    cache.admit(1, range(12))
    cache.admit(2, range(20, 28))
    assert list(cache.table(1)) == [0, 1, 2]
    assert list(cache.table(2)) == [3, 4]


def test_all_or_nothing() -> None:
    cache = KVCache(page_count=2, page_size=4)
    assert not cache.admit(1, range(9))
    assert cache.free_pages == 2
    assert cache.admit(1, range(4))
    assert not cache.grow(1, 12)
    assert len(cache.table(1)) == 1
    cache.check_integrity()


def test_what_was_computed_stays_until_its_room_is_needed() -> None:
    cache = KVCache(page_count=3, page_size=4)
    computed(cache, 1, list(range(10)))
    cache.release(1)
    cache.release(1)
    assert (cache.free_pages, cache.cached_pages) == (1, 2)
    with pytest.raises(KeyError):
        cache.table(1)
    assert cache.admit(2, range(100, 112))
    assert (cache.free_pages, cache.cached_pages) == (0, 0)
    cache.check_integrity()


def test_what_was_not_computed_does_not_stay() -> None:
    cache = KVCache(page_count=4, page_size=4)
    cache.admit(1, range(13))
    cache.fill(1, 6)
    cache.release(1)
    assert (cache.free_pages, cache.cached_pages) == (3, 1)
    cache.check_integrity()


def test_a_common_beginning_is_found() -> None:
    cache = KVCache(page_count=16, page_size=4)
    computed(cache, 1, list(range(20)))
    cache.admit(2, [*range(10), 99, 98, 97])
    assert cache.computed(2) == 8
    assert list(cache.table(2))[:2] == list(cache.table(1))[:2]
    assert not set(cache.table(2)[2:]) & set(cache.table(1))


@pytest.mark.parametrize(("length", "found"), [(3, 0), (4, 0), (5, 4), (8, 4), (9, 8)])
def test_the_last_token_is_computed_in_a_page_of_ones_own(length: int, found: int) -> None:
    cache = KVCache(page_count=16, page_size=4)
    computed(cache, 1, list(range(length)))
    cache.admit(2, range(length))
    assert cache.computed(2) == found
    assert cache.table(2)[-1] not in cache.table(1)


def test_an_answer_is_found_by_the_next_question() -> None:
    cache = KVCache(page_count=16, page_size=4)
    tokens = list(range(6))
    computed(cache, 1, tokens)
    for token in range(6, 13):
        tokens.append(token)
        cache.grow(1, len(tokens))
        cache.fill(1, len(tokens))
    cache.release(1)
    cache.admit(2, range(15))
    assert cache.computed(2) == 12


def test_pages_that_two_fill_alike_become_one() -> None:
    cache = KVCache(page_count=16, page_size=4)
    both = [list(range(3)), list(range(3))]
    for request_id, tokens in enumerate(both):
        computed(cache, request_id, tokens)
    assert cache.table(0)[0] != cache.table(1)[0]
    for request_id, tokens in enumerate(both):
        tokens.append(3)
        cache.fill(request_id, 4)
    assert cache.table(0)[0] == cache.table(1)[0]
    assert cache.free_pages == 15
    cache.check_integrity()


def test_a_beginning_that_two_need_is_computed_once() -> None:
    cache = KVCache(page_count=16, page_size=4)
    cache.admit(1, range(20))
    cache.admit(2, [*range(16), 99])
    assert cache.next_page(1) == cache.next_page(2)
    cache.fill(1, 6)
    assert cache.computed(2) == 6
    cache.fill(2, 12)
    assert cache.computed(1) == 12
    cache.release(1)
    cache.check_integrity()
    assert cache.computed(2) == 12
    cache.fill(2, 16)
    assert cache.next_page(2) not in cache.table(2)[:4]


@pytest.mark.parametrize(
    ("other", "public", "found"),
    [(1, (0, 0), 12), (2, (0, 0), 0), (2, (9, 9), 8), (2, (9, 0), 0), (2, (8, 12), 8), (1, (9, 0), 0)],
)
def test_secrets_are_found_by_their_owner_alone(other: int, public: tuple[int, int], found: int) -> None:
    cache = KVCache(page_count=16, page_size=4)
    cache.admit(1, range(14), salt=1, public_tokens=public[0])
    cache.fill(1, 14)
    cache.admit(2, range(14), salt=other, public_tokens=public[1])
    assert cache.computed(2) == found


def test_one_who_does_not_share_finds_nothing_and_leaves_nothing() -> None:
    cache = KVCache(page_count=16, page_size=4)
    computed(cache, 1, list(range(14)))
    cache.admit(2, range(14), share=False)
    assert cache.computed(2) == 0
    cache.fill(2, 14)
    cache.release(2)
    assert cache.free_pages == 12
    cache.check_integrity()


def test_the_longest_unused_goes_first_and_ends_before_beginnings() -> None:
    cache = KVCache(page_count=9, page_size=4)
    for request_id in (1, 2):
        computed(cache, request_id, [100 * request_id + place for place in range(9)])
    for request_id in (2, 1):
        cache.release(request_id)
    assert (cache.free_pages, cache.cached_pages) == (5, 4)
    cache.admit(3, range(17), share=False)
    cache.admit(1, range(100, 109))
    assert cache.computed(1) == 8
    cache.release(1)
    cache.admit(2, range(200, 205))
    assert cache.computed(2) == 4
    cache.check_integrity()


def test_integrity_notices_a_page_in_two_tables() -> None:
    cache = KVCache(page_count=3, page_size=4)
    cache.admit(1, range(4))
    cache.admit(2, range(4))
    cache._tables[2].pages[0] = cache.table(1)[0]
    with pytest.raises(AssertionError):
        cache.check_integrity()


def test_integrity_notices_a_page_with_other_tokens() -> None:
    cache = KVCache(page_count=3, page_size=4)
    tokens = list(range(5))
    cache.admit(1, tokens)
    tokens[2] = 99
    with pytest.raises(AssertionError):
        cache.check_integrity()


@pytest.mark.parametrize(("pages", "size"), [(0, 16), (16, 0), (-1, 1)])
def test_an_empty_cache_is_refused(pages: int, size: int) -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        KVCache(pages, size)


class Pages(RuleBasedStateMachine):
    """Requests with common beginnings, computed in any order, under more demand than there are pages.

    What each slot of each page holds is noted as a model would compute it: all tokens up to there, and who may
    know them.
    """

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.cache = KVCache(page_count=12, page_size=3)
        self.tokens: dict[int, list[int]] = {}
        self.access: dict[int, tuple[int, int]] = {}
        self.held: dict[tuple[int, int], tuple[tuple[int, ...], int | None]] = {}
        self.last_id = 0

    @rule(
        target=ids,
        stem=st.lists(st.integers(0, 1), max_size=5),
        tail=st.lists(st.integers(0, 1), min_size=1, max_size=12),
        salt=st.integers(0, 1),
        public=st.integers(0, 8),
        share=st.booleans() | st.just(True),
    )
    def admit(self, stem: list[int], tail: list[int], salt: int, public: int, share: bool) -> object:
        tokens = [*stem, *tail]
        before = (self.cache.free_pages, self.cache.cached_pages)
        self.last_id += 1
        if not self.cache.admit(self.last_id, tokens, salt=salt, public_tokens=public, share=share):
            assert sum(before) < -(-len(tokens) // 3), "there was room"
            assert (self.cache.free_pages, self.cache.cached_pages) == before
            return multiple()
        self.tokens[self.last_id] = tokens
        self.access[self.last_id] = salt, public
        return self.last_id

    @rule(request_id=ids, count=st.integers(1, 7))
    def compute(self, request_id: int, count: int) -> None:
        if request_id in self.tokens:
            start = self.cache.computed(request_id)
            self.write(request_id, start, min(start + count, len(self.tokens[request_id])))

    @rule(request_id=ids, drawn=st.lists(st.integers(0, 1), min_size=1, max_size=4))
    def answer(self, request_id: int, drawn: Sequence[int]) -> None:
        if request_id not in self.tokens or self.cache.computed(request_id) < len(self.tokens[request_id]):
            return
        for token in drawn:
            if not self.cache.grow(request_id, len(self.tokens[request_id]) + 1):
                return
            self.tokens[request_id].append(token)
            self.write(request_id, len(self.tokens[request_id]) - 1, len(self.tokens[request_id]))

    @rule(request_id=consumes(ids))
    def release(self, request_id: int) -> None:
        self.cache.release(request_id)
        del self.tokens[request_id]

    def write(self, request_id: int, start: int, end: int) -> None:
        salt, public = self.access[request_id]
        for place in range(start, end):
            page = self.cache.table(request_id)[place // 3]
            owner = None if (place // 3 + 1) * 3 <= public else salt
            self.held[page, place % 3] = tuple(self.tokens[request_id][: place + 1]), owner
        self.cache.fill(request_id, end)

    @invariant()
    def everybody_finds_what_is_his(self) -> None:
        self.cache.check_integrity()
        for request_id, tokens in self.tokens.items():
            salt, public = self.access[request_id]
            for place in range(self.cache.computed(request_id)):
                content, owner = self.held[self.cache.table(request_id)[place // 3], place % 3]
                assert content == tuple(tokens[: place + 1])
                assert owner == (None if (place // 3 + 1) * 3 <= public else salt)


TestPages = Pages.TestCase
TestPages.settings = settings(max_examples=150, stateful_step_count=40)
