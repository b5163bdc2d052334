"""How well passages are found: `python benchmarks/retrieval.py [--json]`.

Questions over documents of ours, `retrieval_set/questions.toml`, are put to all the documents at once, by words
alone, by meaning alone, and by both. Counted is how often a passage that answers is the first, and how often one is
among the first five. Every second question is held out: nothing was chosen by it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tomllib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead.config import Settings
from fairlead.documents.kinds import named_kind
from fairlead.documents.messages import Limits, Passage
from fairlead.documents.reading import Reading
from fairlead.service.embedding import Embedder
from fairlead.service.embeddings import Embeddings
from fairlead.service.indexing import embedded_text
from fairlead.service.metrics import Metrics
from fairlead.service.registry import Registry
from fairlead.service.search import fused
from fairlead.service.users import Users
from fairlead.service.word_index import WordIndex

HERE = Path(__file__).parent
ROOT = HERE.parent
SET = HERE / "retrieval_set"
DOCUMENTS = (
    *(SET / name for name in ("allotments.md", "espresso.md", "travel_policy.txt", "lighthouse.md")),
    *(ROOT / "docs" / name for name in ("accuracy.md", "adding-a-kernel.md", "adding-a-model.md")),
    *(
        ROOT / "src" / "fairlead" / name
        for name in (
            "engine/fairness.py",
            "service/room.py",
            "service/supervision.py",
            "service/text_stream.py",
            "api/security.py",
            "control_groups.py",
            "gguf/wheel.py",
            "engine/lookup.py",
        )
    ),
)
AMONG = 5


@dataclass(frozen=True)
class Question:
    """A question, and the words that stand in a passage that answers it."""

    ask: str
    document: str
    words: str


@dataclass(frozen=True)
class Score:
    """How well one way to rank did."""

    way: str
    questions: str
    count: int
    first: float
    among_five: float
    reciprocal_rank: float


@dataclass(frozen=True)
class Corpus:
    """The documents' passages, each with its document; for each question the indices of those that answer it."""

    passages: Sequence[Passage]
    documents: Sequence[str]
    questions: Sequence[Question]
    answers: Sequence[frozenset[int]]


def passages_of(path: Path) -> list[Passage]:
    """A document as it is cut."""
    return list(Reading(named_kind(path.name), path.read_bytes(), Limits(), lambda _, __: None).passages())


def load() -> Corpus:
    """Read the documents and the questions; LookupError where a question's words stand nowhere any more."""
    passages: list[Passage] = []
    of: list[str] = []
    for path in DOCUMENTS:
        found = passages_of(path)
        passages += found
        of += [path.name] * len(found)
    entries = tomllib.loads((SET / "questions.toml").read_text())["question"]
    questions = [Question(**entry) for entry in entries]
    answers = []
    for question in questions:
        right = frozenset(
            index
            for index, (passage, document) in enumerate(zip(passages, of, strict=True))
            if document == question.document and question.words in passage.text
        )
        if not right:
            raise LookupError(f"no passage of {question.document} holds {question.words!r}")
        answers.append(right)
    return Corpus(passages, of, questions, answers)


def rank_of(ranking: Sequence[int], right: frozenset[int]) -> int | None:
    """The place, from 1, of the first passage that answers."""
    return next((place for place, index in enumerate(ranking, 1) if index in right), None)


def scores(corpus: Corpus, way: str, rankings: Sequence[Sequence[int]]) -> Iterator[Score]:
    """Of the questions that were used to choose, of those that were held out, and of all."""
    ranks = [rank_of(ranking, right) for ranking, right in zip(rankings, corpus.answers, strict=True)]
    for name, chosen in (("chosen by", ranks[::2]), ("held out", ranks[1::2]), ("all", ranks)):
        yield Score(
            way,
            name,
            len(chosen),
            sum(rank == 1 for rank in chosen) / len(chosen),
            sum(rank is not None and rank <= AMONG for rank in chosen) / len(chosen),
            sum(1 / rank for rank in chosen if rank is not None) / len(chosen),
        )


def by(scored: NDArray[np.float32]) -> list[int]:
    """Indices, best first, without those that nothing speaks for."""
    return [int(index) for index in np.argsort(-scored, kind="stable") if scored[index] > 0]


async def measure(corpus: Corpus, embedder: Embedder | None) -> list[Score]:
    """The scores of every way; of words alone without an embedder."""
    texts = [embedded_text(passage.heading, passage.text) for passage in corpus.passages]
    index = WordIndex(texts)
    by_words = [index.scores(question.ask) for question in corpus.questions]
    found = list(scores(corpus, "words", [by(scored) for scored in by_words]))
    if embedder is None:
        return found
    vectors = await embedder.embed(texts)
    asked = await embedder.embed([question.ask for question in corpus.questions])
    by_meaning = [vectors @ vector for vector in asked]
    found += scores(corpus, "meaning", [by(scored) for scored in by_meaning])
    found += scores(corpus, "both", [fused(*pair) for pair in zip(by_words, by_meaning, strict=True)])
    return found


@contextlib.asynccontextmanager
async def embedding(home: Path, model: str) -> AsyncIterator[Embedder]:
    """An embedding model of the catalogue, fetched into `home` where it is not there."""
    settings = Settings(home=home, default_model=None, embedding_model=model)
    registry = Registry(settings)
    users = Users(settings.users, settings.max_waiting_per_user)
    try:
        yield Embeddings(registry, users, Metrics(registry.engine_stats), model, max_waiting=settings.max_waiting)
    finally:
        await registry.close()


async def embed_and_measure(corpus: Corpus, home: Path, model: str) -> list[Score]:
    """The scores with an embedding model."""
    async with embedding(home, model) as embedder:
        return await measure(corpus, embedder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "home", help="where models are")
    parser.add_argument("--model", default=Settings(home=ROOT).embedding_model, help="the embedding model")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    options = parser.parse_args()
    corpus = load()
    found = asyncio.run(embed_and_measure(corpus, options.home, options.model))
    if options.json:
        for score in found:
            print(json.dumps(asdict(score)))
        return
    print(f"{len(corpus.questions)} questions, {len(corpus.passages)} passages of {len(DOCUMENTS)} documents")
    print(f"{'by':8} {'questions':10} {'count':>5} {'first':>7} {'in 5':>7} {'mean 1/rank':>12}")
    for score in found:
        shares = f"{score.first:>7.3f} {score.among_five:>7.3f} {score.reciprocal_rank:>12.3f}"
        print(f"{score.way:8} {score.questions:10} {score.count:>5} {shares}")


if __name__ == "__main__":
    main()
