"""When nothing is known: `python -m benchmarks.answering [--json]`.

The questions of `retrieval_set/questions.toml`, which its documents answer, and those of `unanswerable.toml`, which
they do not, are put to all the documents at once, and to the one document that they are about. Counted is how many of
each are refused because the best passage's cosine is below the threshold. The threshold is the highest, in hundredths,
that refuses at most one in twenty of the questions that can be answered. Every second question is held out: the
threshold was not chosen by it.

`--answer-with MODEL` lets a model answer those of `answers.toml` and the near ones, each from its document, and counts
how many of its answers say what they must, and how often it writes that it does not know.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.retrieval import DOCUMENTS, ROOT, SET, Corpus, embedding, load, passages_of
from fairlead.config import Settings
from fairlead.service import answering
from fairlead.service.answering import THRESHOLD
from fairlead.service.collections import Found
from fairlead.service.embedding import Embedder
from fairlead.service.embeddings import Embeddings
from fairlead.service.generation import Generator
from fairlead.service.indexing import embedded_text
from fairlead.service.metrics import Metrics
from fairlead.service.registry import Registry
from fairlead.service.request import GenerationRequest
from fairlead.service.sources import of_file
from fairlead.service.users import Users

MOST_REFUSED = 0.05
"""Of the questions that can be answered."""


@dataclass(frozen=True)
class Scored:
    """A question with its best passage's cosine, of all passages and of those of the document that it is about."""

    ask: str
    kind: str
    """"answerable", "near" (about a document that does not say) or "far" (about nothing of them)."""
    among_all: float
    in_document: float | None


@dataclass(frozen=True)
class Refused:
    """The share of some questions that a threshold refuses."""

    kind: str
    questions: str
    count: int
    among_all: float
    in_document: float | None


async def score(corpus: Corpus, embedder: Embedder) -> list[Scored]:
    """The best cosines of all questions, in their order."""
    entries = _unanswerable()
    asked: list[tuple[str, str, str | None]] = [
        (question.ask, "answerable", question.document) for question in corpus.questions
    ]
    asked += [(entry["ask"], "near" if "document" in entry else "far", entry.get("document")) for entry in entries]
    passages = await embedder.embed([embedded_text(passage.heading, passage.text) for passage in corpus.passages])
    questions = await embedder.embed([ask for ask, _, _ in asked])
    documents = np.array(corpus.documents)
    return [
        Scored(ask, kind, _best(passages, vector), _best(passages[documents == about], vector) if about else None)
        for (ask, kind, about), vector in zip(asked, questions, strict=True)
    ]


def chosen(scored: Sequence[Scored]) -> float:
    """The threshold by the rule above, from every second question that can be answered."""
    scores = sorted(question.among_all for question in _of(scored, "answerable")[::2])
    return math.floor(scores[int(MOST_REFUSED * len(scores))] * 100) / 100


def refused(scored: Sequence[Scored], threshold: float) -> Iterator[Refused]:
    """What a threshold refuses of each kind: of the questions that it was chosen by, of those held out, and of all."""
    for kind in ("answerable", "near", "far"):
        every = _of(scored, kind)
        for name, some in (("chosen by", every[::2]), ("held out", every[1::2]), ("all", every)):
            in_document = [question.in_document for question in some if question.in_document is not None]
            yield Refused(
                kind,
                name,
                len(some),
                _share([question.among_all for question in some], threshold),
                _share(in_document, threshold) if in_document else None,
            )


@dataclass(frozen=True)
class Answers:
    """What a model made of questions of one kind, of which so many were put to it."""

    model: str
    kind: str
    count: int
    right: int | None
    """Answers that say what they must; None where no document has an answer."""
    not_known: int


async def answer(home: Path, embedder: str, model: str) -> list[Answers]:
    """The answers of a model, greedy and of at most 64 tokens; it is asked whatever the scores are."""
    settings = Settings(home=home, default_model=None, embedding_model=embedder)
    registry = Registry(settings)
    users, metrics = Users(settings.users, settings.max_waiting_per_user), Metrics(registry.engine_stats)
    try:
        await registry.load(model)
        generator = Generator(registry, metrics, users, max_waiting=1)
        embeddings = Embeddings(registry, users, metrics, embedder, max_waiting=settings.max_waiting)
        service = answering.Answers(generator, embeddings, _NoCollections())
        gold = tomllib.loads((SET / "answers.toml").read_text())["answer"]
        near = [each for each in _unanswerable() if "document" in each]
        told = [await _answer(service, each["ask"], each["document"], model) for each in gold]
        right = sum(re.search(each["matches"], one.answer) is not None for each, one in zip(gold, told, strict=True))
        others = [await _answer(service, each["ask"], each["document"], model) for each in near]
    finally:
        await registry.close()
    return [
        Answers(model, "answerable", len(gold), right, sum(not one.answered for one in told)),
        Answers(model, "near", len(near), None, sum(not one.answered for one in others)),
    ]


class _NoCollections:
    async def search(self, user: str, name: str, query: str, *, top_k: int = 10) -> Found:
        raise AssertionError(f"{user} asks {name} for {top_k} of {query!r}: the set has no collections")


async def _answer(service: answering.Answers, ask: str, document: str, model: str) -> answering.Answered:
    among = of_file(document, passages_of(next(path for path in DOCUMENTS if path.name == document)))
    asking = GenerationRequest(model=model, temperature=0.0, max_tokens=64)
    wish = answering.Wish(question=ask, among=among, asking=asking, threshold=-1)
    async with aclosing(service.answer(wish, "it")) as steps:
        told = [step async for step in steps]
    assert isinstance(told[-1], answering.Answered)
    return told[-1]


def _unanswerable() -> list[dict[str, str]]:
    entries: list[dict[str, str]] = tomllib.loads((SET / "unanswerable.toml").read_text())["question"]
    return entries


def _of(scored: Sequence[Scored], kind: str) -> list[Scored]:
    return [question for question in scored if question.kind == kind]


def _best(passages: NDArray[np.float32], vector: NDArray[np.float32]) -> float:
    return float((passages @ vector).max())


def _share(scores: Sequence[float], threshold: float) -> float:
    return sum(score < threshold for score in scores) / len(scores)


async def measure(home: Path, model: str) -> list[Scored]:
    """The scores with an embedding model."""
    async with embedding(home, model) as embedder:
        return await score(load(), embedder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "home", help="where models are")
    parser.add_argument("--model", default=Settings(home=ROOT).embedding_model, help="the embedding model")
    parser.add_argument("--threshold", type=float, help="another than the one that the set supports")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--answer-with", metavar="MODEL", help="count a model's right answers instead")
    options = parser.parse_args()
    if options.answer_with is not None:
        for answers in asyncio.run(answer(options.home, options.model, options.answer_with)):
            print(json.dumps(asdict(answers)))
        return
    scored = asyncio.run(measure(options.home, options.model))
    threshold = chosen(scored) if options.threshold is None else options.threshold
    found = list(refused(scored, threshold))
    if options.json:
        for question in scored:
            print(json.dumps(asdict(question)))
        for each in found:
            print(json.dumps(asdict(each)))
        return
    print(f"refused below {threshold:.2f} (the server's default is {THRESHOLD})")
    print(f"{'kind':11} {'questions':10} {'count':>5} {'of all':>7} {'of one document':>16}")
    for each in found:
        alone = "" if each.in_document is None else f"{each.in_document:.3f}"
        print(f"{each.kind:11} {each.questions:10} {each.count:>5} {each.among_all:>7.3f} {alone:>16}")


if __name__ == "__main__":
    main()
