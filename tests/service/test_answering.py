"""Questions answered from texts: what is chosen, what the model is given, and how it is ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairlead.documents.columns import Value
from fairlead.documents.messages import Passage
from fairlead.errors import NotFound, PromptTooLong, RequestNotFound
from fairlead.service.answering import Answered, Answers, Found, RowsOf, Wish
from fairlead.service.collections import Found as FoundRows
from fairlead.service.collections import Hit
from fairlead.service.generation import Generator
from fairlead.service.metrics import Metrics
from fairlead.service.request import GenerationRequest
from fairlead.service.sources import Source, fitting, of_context, of_file, ranked, text_of, written
from fairlead.service.users import Users
from tests.served import HELLO, TOKENIZER
from tests.service.attached import HashingEmbedder
from tests.service.conftest import MakeRegistry

HENS = "Hens may be kept, six at most and no cocks."
RENT = "The rent is 96 pounds a year."
RULES = f"# Rules\n\n{HENS * 9}\n\n{RENT * 12}\n\n{'Ponds are welcome. ' * 45}"


class Vectors(HashingEmbedder):
    """Waits while it is `held`, and remembers the texts."""

    def __init__(self) -> None:
        super().__init__()
        self.held = False
        self.texts: list[str] = []

    async def embed(
        self, texts: Sequence[str], *, model: str | None = None, user: str | None = None, patient: bool = False
    ) -> NDArray[np.float32]:
        while self.held:  # noqa: ASYNC110  (what tests wait for has no event)
            await asyncio.sleep(0.01)
        self.texts += texts
        return await super().embed(texts, model=model, user=user, patient=patient)


class OneCollection:
    """`search` of a collection that "anna" has."""

    async def search(self, user: str, name: str, query: str, *, top_k: int = 10) -> FoundRows:
        if (user, name) != ("anna", "rules"):
            raise NotFound(f"There is no collection {name}.", param="name")
        rows: list[dict[str, Value]] = [
            {"rule": HENS, "since": 1998, "by": None},
            {"rule": RENT, "since": 2020, "by": "Ann"},
        ]
        hits = [Hit(number, row, str(row["rule"]), 0.8 / number) for number, row in enumerate(rows[:top_k], 1)]
        return FoundRows(hits, 2, "ready", 0.1)


@pytest.fixture
async def made(make: MakeRegistry) -> tuple[Generator, Vectors, Answers]:
    registry = make(context_length=2048)
    await registry.load("hello")
    generator = Generator(registry, Metrics(registry.engine_stats), Users({}, 9), max_waiting=9)
    vectors = Vectors()
    return generator, vectors, Answers(generator, vectors, OneCollection())


def wish(question: str, text: str = RULES, **changes: object) -> Wish:
    given = {"question": question, "among": of_context(text), "asking": GenerationRequest(max_tokens=64), **changes}
    return Wish(**given)  # type: ignore[arg-type]  # a test's own


async def whole(answers: Answers, asked: Wish, request_id: str = "one") -> Answered:
    async with aclosing(answers.answer(asked, request_id)) as steps:
        found = [step async for step in steps]
    assert isinstance(found[-1], Answered)
    return found[-1]


# ---- what is chosen -------------------------------------------------------------------------------


@given(st.text(alphabet="ab. \n!?語", max_size=600))
def test_a_contexts_passages_stand_where_they_say(text: str) -> None:
    found = [candidate.source for candidate in of_context(text)]
    for source in found:
        assert text[source.start : source.end] == source.text == source.text.strip() != ""
    assert "".join("".join(source.text for source in found).split()) == "".join(text.split())


def test_a_file_is_labelled_and_its_white_space_left_out() -> None:
    passages = [Passage(text=" \n"), Passage(text="Hens.\n", heading="Animals", page=3)]
    (candidate,) = of_file("rules.pdf", passages)
    assert candidate.meant == "Animals\nHens.\n"
    assert written(candidate.source) == "[rules.pdf · page 3]\nHens."


def test_the_best_that_fit_are_taken_and_the_very_best_cut() -> None:
    texts = {"one": 0.2, "a long one " * 30: 0.9, "two": 0.5, "three": 0.4}
    sources = [Source(kind="context", text=text, score=score, start=0, end=1) for text, score in texts.items()]
    best = [1, 2, 3]
    assert fitting(sources, best, 2000, len) == sources[1:]
    (cut,) = fitting(sources, best, 40, len)
    assert ("a long one " * 30).startswith(cut.text)
    assert len(cut.text) == cut.end
    assert 20 < len(cut.text) <= 38
    assert fitting(sources, [3, 2, 0], 13, len) == [sources[3], sources[2]]  # as 7 and 5 characters


def test_scores_are_cosines_and_words_count_for_the_order() -> None:
    candidates = of_file("codes.txt", [Passage(text="E7: the lamp is broken."), Passage(text="E3: the pump is dry.")])
    sources, best = ranked(candidates, np.eye(2, dtype=np.float32), "E3?", np.array([0.8, 0.6], np.float32))
    assert [source.score for source in sources] == [0.8, 0.6]
    assert best == [1, 0]
    assert ranked(candidates, np.eye(2, dtype=np.float32), "?", np.array([-1, 0], np.float32))[1] == [0, 1]


# ---- what is answered -----------------------------------------------------------------------------


async def test_the_model_is_given_what_was_found_and_the_best_last(made: tuple[Generator, Vectors, Answers]) -> None:
    generator, _, answers = made
    steps = answers.answer(wish("The rent, and hens, how many may be kept?", top_k=2), "one")
    async with aclosing(steps):
        found = await anext(steps)
        assert isinstance(found, Found)
        await anext(steps)
        (answer,) = generator.under_way()
        prompt = TOKENIZER.decode(list(answer.context.tokens))
    best, second = found.sources
    assert HENS in best.text
    assert text_of([second, best]) in prompt
    assert prompt.index("nothing else") < prompt.index(second.text) < prompt.index("Question: The rent")
    assert prompt.count("Ponds") < 45  # the rest of them was not among the best two
    assert not generator.under_way()


async def test_what_is_under_the_threshold_costs_no_token(made: tuple[Generator, Vectors, Answers]) -> None:
    _, _, answers = made
    refused = await whole(answers, wish("zebra", threshold=0.5))
    assert (refused.answered, refused.sources, refused.prompt_tokens) == (False, (), 0)
    assert refused.best_score is not None
    assert 0 < refused.best_score < 0.5
    nothing = await whole(answers, wish("zebra", among=[]))
    assert (nothing.answered, nothing.best_score) == (False, None)
    asked = await whole(answers, wish("zebra", threshold=refused.best_score))
    assert (asked.answered, asked.answer) == (True, HELLO)


async def test_rows_are_given_with_all_their_columns(made: tuple[Generator, Vectors, Answers]) -> None:
    generator, vectors, answers = made
    asked = wish("hens?", among=RowsOf("rules"), asking=GenerationRequest(user="anna", max_tokens=64), top_k=2)
    async with aclosing(answers.answer(asked, "one")) as steps:
        found = await anext(steps)
        await anext(steps)
        (answer,) = generator.under_way()
        prompt = TOKENIZER.decode(list(answer.context.tokens))
    assert isinstance(found, Found)
    assert [(source.kind, source.collection, source.row_id, source.text) for source in found.sources] == [
        ("row", "rules", 1, HENS),
        ("row", "rules", 2, RENT),
    ]
    assert f"rule: {RENT}\nsince: 2020\nby: Ann\n\nrule: {HENS}\nsince: 1998\n" in prompt
    assert vectors.texts == []
    with pytest.raises(NotFound):
        await whole(answers, wish("hens?", among=RowsOf("rules")))


async def test_what_has_vectors_is_not_embedded_again(made: tuple[Generator, Vectors, Answers]) -> None:
    _, vectors, answers = made
    passages = [Passage(text=RENT), Passage(text=HENS), Passage(text="Ponds are welcome.")]
    (kept,) = await HashingEmbedder().embed([HENS])
    answer = await whole(answers, wish(HENS, among=of_file("rules.txt", passages, [None, kept, None]), top_k=1))
    assert vectors.texts == [HENS, RENT, "Ponds are welcome."]  # the question, and what has none
    assert [(source.text, source.score) for source in answer.sources] == [(HENS, 1.0)]


@pytest.mark.parametrize("how", ["by its id", "by its time"])
async def test_it_can_be_ended_while_texts_are_embedded(made: tuple[Generator, Vectors, Answers], how: str) -> None:
    generator, vectors, answers = made
    vectors.held = True
    timeout_s = 0.1 if how == "by its time" else None
    asked = wish("hens", asking=GenerationRequest(user="anna", timeout_s=timeout_s))
    task = asyncio.create_task(whole(answers, asked))
    await asyncio.sleep(0.05)
    if how == "by its id":
        with pytest.raises(RequestNotFound):
            generator.cancel("one", "ben")
        generator.cancel("one", "anna")
    ended = await task
    assert ended.finish_reason == ("cancelled" if how == "by its id" else "timeout")
    assert (ended.answered, ended.answer, ended.sources) == (False, "", ())
    with pytest.raises(RequestNotFound):
        generator.cancel("one")


async def test_a_question_that_leaves_no_room_is_refused(made: tuple[Generator, Vectors, Answers]) -> None:
    with pytest.raises(PromptTooLong):
        await whole(made[2], wish("hens " * 900))
