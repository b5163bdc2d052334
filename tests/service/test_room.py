from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.service.room import Resident, make_room

NOW = 1000.0


def resident(name: str, size: int, *, idle_s: float = 10, reload_s: float = 1, pinned: bool = False) -> Resident:
    return Resident(name, size, reload_s, loaded_at=0, used_at=NOW - idle_s, pinned=pinned)


def leaving(residents: list[Resident], lacking: int) -> list[str] | None:
    chosen = make_room(residents, lacking, NOW)
    return None if chosen is None else [other.name for other in chosen]


def test_the_longest_idle_leaves_first() -> None:
    assert leaving([resident("new", 10, idle_s=1), resident("old", 10, idle_s=100)], 5) == ["old"]


def test_size_and_the_cost_of_coming_back_weigh() -> None:
    assert leaving([resident("quick", 10, reload_s=1), resident("slow", 10, reload_s=9)], 5) == ["quick"]
    assert leaving([resident("small", 10), resident("large", 100)], 5) == ["large"]


def test_nobody_leaves_who_need_not() -> None:
    assert leaving([resident("old", 4, idle_s=100), resident("new", 10, idle_s=1)], 8) == ["new"]
    assert leaving([resident("one", 4)], 0) == []


def test_pinned_ones_stay() -> None:
    assert leaving([resident("pinned", 100, idle_s=900, pinned=True), resident("other", 10)], 50) is None


RESIDENTS = st.lists(
    st.builds(
        Resident,
        name=st.uuids().map(str),
        size_bytes=st.integers(0, 1000),
        reload_s=st.floats(0, 100),
        loaded_at=st.just(0.0),
        used_at=st.floats(0, NOW),
        pinned=st.booleans(),
    ),
    max_size=8,
)


@given(residents=RESIDENTS, lacking=st.integers(1, 4000))
def test_what_is_chosen_suffices_and_nothing_of_it_is_too_much(residents: list[Resident], lacking: int) -> None:
    chosen = make_room(residents, lacking, NOW)
    most = sum(other.size_bytes for other in residents if not other.pinned)
    if chosen is None:
        assert most < lacking
        return
    freed = sum(other.size_bytes for other in chosen)
    assert freed >= lacking
    assert not any(other.pinned for other in chosen)
    assert all(freed - other.size_bytes < lacking for other in chosen)
