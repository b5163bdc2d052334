"""When nothing is known: `python -m benchmarks.answering [--json]`.

The questions of `retrieval_set/questions.toml`, which its documents answer, and those of `unanswerable.toml`, which
they do not, are put to all the documents at once, and to the one document that they are about. Counted is how many of
each are refused because the best passage's cosine is below the threshold. The threshold is the highest, in hundredths,
that refuses at most one in twenty of the questions that can be answered. Every second question is held out: the
threshold was not chosen by it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.retrieval import ROOT, SET, Corpus, embedding, load
from fairlead.config import Settings
from fairlead.service.answering import THRESHOLD
from fairlead.service.embedding import Embedder
from fairlead.service.indexing import embedded_text

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
    entries = tomllib.loads((SET / "unanswerable.toml").read_text())["question"]
    asked = [(question.ask, "answerable", question.document) for question in corpus.questions]
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
    options = parser.parse_args()
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
