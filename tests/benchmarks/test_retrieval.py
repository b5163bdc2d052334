"""The questions that retrieval is scored by."""

from __future__ import annotations

from benchmarks.retrieval import load, measure, rank_of, scores
from tests.service.attached import HashingEmbedder


def test_every_question_is_answered_somewhere_and_words_find_most() -> None:
    corpus = load()
    assert len(corpus.questions) >= 60
    assert len({question.ask for question in corpus.questions}) == len(corpus.questions)


async def test_each_way_is_scored() -> None:
    corpus = load()
    found = await measure(corpus, HashingEmbedder())
    assert [score.way for score in found] == ["words"] * 3 + ["meaning"] * 3 + ["both"] * 3
    assert [score.count for score in found[:3]] == [40, 40, 80]
    words = found[2]
    assert words.first <= words.reciprocal_rank <= words.among_five + 0.2
    assert words.among_five > 0.7


def test_ranks() -> None:
    assert rank_of([3, 1, 2], frozenset({1, 2})) == 2
    assert rank_of([3], frozenset({1})) is None
    corpus = load()
    perfect = [sorted(right) for right in corpus.answers]
    assert all(score.first == score.reciprocal_rank == 1 for score in scores(corpus, "perfect", perfect))
