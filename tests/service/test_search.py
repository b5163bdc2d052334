"""Passages found by words and meaning, and what of them goes into a prompt."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead.service.excerpts import Excerpt, choose, selected_text, whole_text
from fairlead.service.search import Searchable, fused
from fairlead.service.word_index import WordIndex, words
from fairlead.storage.files import File, Passage

TEXTS = [
    "The keeper lights the lamp at dusk.",
    "Whale oil burned in the first lamp, and oil of rape in the second.",
    "A fog signal is heard, not seen.",
    "def readTheFile(path): return open_file(path)",
]


def test_words_of_people_and_of_code() -> None:
    assert list(words("Ropes, ROPE and boats")) == ["rope", "rope", "and", "boat"]
    assert set(words("readTheFile read_the_file HTTPServer2")) >= {"readthefile", "read", "file", "http", "server", "2"}
    assert list(words("東京は日本の首都")) == ["東京", "京は", "は日", "日本", "本の", "の首", "首都"]
    assert list(words("ﬁne Straße")) == list(words("fine strasse"))
    assert list(words("x" * 100)) == []


@pytest.mark.parametrize("pair", [("city", "cities"), ("run", "running"), ("boiler", "boilers"), ("cache", "cached")])
def test_forms_of_a_word_are_one(pair: tuple[str, str]) -> None:
    assert list(words(pair[0])) == list(words(pair[1]))


def test_rare_words_count_for_more_and_all_of_them_for_one() -> None:
    index = WordIndex(TEXTS)
    scores = index.scores("Which oil burned in a lamp?")
    assert scores.argmax() == 1
    assert scores[0] > scores[2] == 0
    assert index.scores("whale")[1] > index.scores("whale lamp seen nowhere")[1]
    assert float(WordIndex(["oil " * 50]).scores("oil")[0]) <= 1
    assert not index.scores("").any()
    assert index.scores("the")[0] > 0, "a question of nothing but such words goes by them"
    assert not WordIndex([]).scores("oil").size


WORDS = st.lists(st.sampled_from(["oil", "lamp", "fog", "rope", "tide", "xyzzy"]), max_size=12).map(" ".join)


@given(texts=st.lists(WORDS, min_size=1, max_size=8), question=WORDS)
def test_scores_are_those_of_the_formula(texts: list[str], question: str) -> None:
    counts = [Counter(words(text)) for text in texts]
    lengths = [sum(count.values()) for count in counts]
    mean = max(sum(lengths) / len(texts), 1.0)
    asked = set(words(question))
    rarity = {
        word: np.log1p((len(texts) - (n := sum(word in count for count in counts)) + 0.5) / (n + 0.5)) for word in asked
    }
    expected = [
        sum(
            rarity[word] * 2.2 * count[word] / (count[word] + 1.2 * (0.25 + 0.75 * length / mean))
            for word in asked
            if count[word]
        )
        / (2.2 * sum(rarity.values()) or 1)
        for count, length in zip(counts, lengths, strict=True)
    ]
    np.testing.assert_allclose(WordIndex(texts).scores(question), expected, rtol=1e-5, atol=1e-6)


def test_both_together_find_what_either_does() -> None:
    by_words = np.array([0.9, 0, 0, 0.1], np.float32)
    by_meaning = np.array([0.1, 0.7, 0.0, 0.2], np.float32)
    assert fused(by_words, by_meaning) == [0, 1, 3]


def test_passages_without_a_vector_are_found_by_words() -> None:
    vectors = np.zeros((4, 2), np.float32)
    vectors[2] = (1, 0)
    found = Searchable(TEXTS, vectors).ranked("whale oil", np.array([1, 0], np.float32))
    assert found[:2] in ([2, 1], [1, 2])
    assert Searchable(TEXTS, None).ranked("whale", np.array([1, 0], np.float32)) == [1]
    assert Searchable(TEXTS, vectors).ranked("whale", None) == [1]


# ---- excerpts -------------------------------------------------------------------------------------


def a_file(number: int, name: str = "book.pdf") -> File:
    return File(
        id=number, chat_id=1, number=number, name=name, kind="pdf", sha256="", size_bytes=0, state="ready", error=None,
        pages=None, characters=None, created_at=datetime.now(UTC),
    )  # fmt: skip


def passages_of(file: int, count: int, *, per_page: int = 2) -> list[Passage]:
    return [
        Passage(
            id=100 * file + n,
            file_id=file,
            ordinal=n,
            heading="",
            text=f"Passage {n} of file {file}. {'x ' * 20}\n",
            page=n // per_page + 1,
            line_from=None,
            line_to=None,
            embedding=None,
            embedded_by=None,
        )
        for n in range(count)
    ]


FILES = [(a_file(1), passages_of(1, 10)), (a_file(2, "notes.txt"), passages_of(2, 5))]


def count(text: str) -> int:
    return len(text) // 2


RANKED = st.lists(st.sampled_from([(0, n) for n in range(10)] + [(1, n) for n in range(5)]), unique=True, min_size=1)


@given(ranked=RANKED, room=st.integers(0, 800))
@example(ranked=[(0, 2), (0, 3)], room=176)
def test_excerpts_fit_and_are_what_was_asked_for(ranked: list[tuple[int, int]], room: int) -> None:
    excerpts = choose(FILES, ranked, room, count)
    if not excerpts:
        assert room < 120, "there was room for one"
        return
    assert count(selected_text(excerpts)) <= room
    assert [excerpt.rank for excerpt in excerpts] == sorted(excerpt.rank for excerpt in excerpts)
    seen = [(excerpt.file.id, passage.ordinal) for excerpt in excerpts for passage in excerpt.passages]
    assert len(seen) == len(set(seen))
    near = {(file + 1, index + step) for file, index in ranked for step in (-1, 0, 1)}
    assert set(seen) <= near
    for excerpt in excerpts:
        ordinals = [passage.ordinal for passage in excerpt.passages]
        assert all(after == before + 1 for before, after in pairwise(ordinals))
        assert excerpt.source().text in excerpt.text
    first = (ranked[0][0] + 1, ranked[0][1])
    assert first in seen, "the best is there"


def test_excerpts_stand_as_in_the_files_and_say_where() -> None:
    excerpts = choose(FILES, [(1, 3), (0, 4)], 10_000, count)
    assert [(excerpt.file.name, len(excerpt.passages)) for excerpt in excerpts] == [("notes.txt", 3), ("book.pdf", 3)]
    written = selected_text(excerpts)
    assert written.index("[book.pdf · page 2]") < written.index("[book.pdf · page 3]") < written.index("[notes.txt")
    assert excerpts[1].source().page == 2


def test_whole_files_name_each_page_once() -> None:
    text = whole_text(FILES)
    assert [text.count(f"[book.pdf · page {page}]") for page in range(1, 7)] == [1, 1, 1, 1, 1, 0]
    assert text.index("Passage 9 of file 1") < text.index("[notes.txt · page 1]")


def test_what_a_file_says_stays_text() -> None:
    hostile = passages_of(1, 1)[0]
    excerpt = Excerpt(a_file(1), [hostile], 0)
    assert excerpt.source().text == hostile.text.strip("\n")
