"""The threshold below which nothing is known, and the questions that it was chosen by."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from benchmarks.answering import Scored, chosen, measure, refused
from benchmarks.retrieval import SET, load
from fairlead.config import Settings
from fairlead.service.answering import THRESHOLD


def test_refusals_are_counted_by_kind() -> None:
    answerable = [Scored(f"{place}", "answerable", place / 40, place / 80) for place in range(40)]
    others = [Scored("near", "near", 0.3, 0.1), Scored("far", "far", 0.1, None)] * 2
    scored = [*answerable, *others]
    assert chosen(scored) == 0.05  # of 20 one is below: 0.0
    shares = {(each.kind, each.questions): (each.among_all, each.in_document) for each in refused(scored, 0.25)}
    assert shares["answerable", "all"] == (0.25, 0.5)
    assert (shares["near", "all"], shares["far", "held out"]) == ((0.0, 1.0), (1.0, None))


def test_answers_are_looked_for_in_what_can_be_answered() -> None:
    can_be = {(question.ask, question.document) for question in load().questions}
    answers = tomllib.loads((SET / "answers.toml").read_text())["answer"]
    assert len({each["ask"] for each in answers}) == len(answers) >= 25
    for each in answers:
        assert (each["ask"], each["document"]) in can_be
        assert not re.search(each["matches"], "I do not know: the text says nothing of it.")


async def test_the_default_threshold_is_what_the_set_supports(embedding_model: Path) -> None:
    home = embedding_model.parent.parent.parent
    scored = await measure(home, Settings(home).embedding_model)
    assert abs(chosen(scored) - THRESHOLD) < 0.025  # some of its documents are of this tree, and change
    shares = {each.kind: each.among_all for each in refused(scored, THRESHOLD) if each.questions == "all"}
    assert shares["answerable"] <= 0.075
    assert shares["far"] >= 0.85
    assert len(scored) >= 120
