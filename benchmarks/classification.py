"""How well and how fast texts are put under labels: `python benchmarks/classification.py [--cost] [--json]`.

Texts of ours, `classification_set/texts.toml`, are classified as `POST /classify` does it. Counted is how often the
likeliest label is the right one, and the mean of the negative logarithm of what the right one was given; with what the
model says corrected by its prior, and without. Every second text of a label is held out: nothing was chosen by it.

With `--cost` the steps that score 20 labels are timed against those that read the same prompt alone.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import statistics
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fairlead.config import load_settings
from fairlead.engine.client import EngineClient
from fairlead.engine.messages import Load
from fairlead.gguf.reader import GGUFFile
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.service.classification import CONTENT_FREE, INSTRUCTION, Example, Label, Wish, probabilities
from fairlead.service.prompt import ChatTemplate

HERE = Path(__file__).parent
MODEL = Path("models", "SmolLM2-135M-Instruct.Q4_1.gguf")
CONTEXT = 2048
PROMPTS = (200, 400)
ROUNDS = 15
WORDS = (
    "news", "sports and games", "politics", "science", "music", "film", "travel", "food and drink", "health",
    "finance", "law", "education", "fashion", "religion", "history", "technology", "weather", "gardening",
    "real estate", "personal relationships",
)  # fmt: skip
INTENTS = (
    "activate a card", "change the PIN", "report a lost card", "cancel a transfer", "ask for a refund",
    "close the account", "open an account", "dispute a charge", "exchange currency", "find a cash machine",
    "order a new card", "raise the credit limit", "report fraud", "reset the password", "set up a standing order",
    "top up by transfer", "update the address", "verify my identity", "ask about fees", "talk to a person",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """Texts with their labels, and what is asked of them."""

    name: str
    labels: tuple[str, ...]
    instruction: str | None
    texts: tuple[tuple[str, str, bool], ...]
    """Text, label, and whether it is held out."""

    def wish(self, examples: tuple[Example, ...] = ()) -> Wish:
        """The request, without texts."""
        labels = tuple(map(Label, self.labels))
        return Wish(texts=(), labels=labels, examples=examples, instruction=self.instruction or INSTRUCTION)


@dataclass(frozen=True)
class Score:
    """How well texts of one kind were put under their labels in one way."""

    task: str
    way: str
    texts: str
    count: int
    right: float
    loss: float


@dataclass(frozen=True)
class Cost:
    """What 20 labels cost behind a prompt, in milliseconds; medians."""

    prompt_tokens: int
    label_tokens: int
    prefill_ms: float
    classify_ms: float
    ratio: float


class Model:
    """A model to ask."""

    def __init__(self, path: Path) -> None:
        with GGUFFile.open(path) as file:
            metadata = dict(file.metadata)
        self.path = path
        self.tokenizer = Tokenizer.from_metadata(metadata)
        self.template = ChatTemplate.from_metadata(metadata, self.tokenizer)

    async def engine(self) -> EngineClient:
        """A worker with it."""
        return await EngineClient.start(Load(path=str(self.path), context_length=CONTEXT, kv_tokens=8 * CONTEXT))

    async def score(self, engine: EngineClient, wish: Wish, text: str) -> tuple[list[float], list[int]]:
        """Log-probabilities and token counts of a wish's sorted labels behind a text."""
        labels = [self.tokenizer.encode(label.name) for label in wish.sorted_labels()]
        found = await engine.score(self.template.render(wish.messages(text)), labels).result()
        return found.logprobs, found.counts


def tasks() -> Iterator[Task]:
    """Those of the set."""
    for task in tomllib.loads((HERE / "classification_set" / "texts.toml").read_text())["tasks"]:
        texts = [(text, label, place % 2 == 1) for label, of in task["texts"].items() for place, text in enumerate(of)]
        yield Task(task["name"], tuple(task["labels"]), task.get("instruction"), tuple(texts))


async def accuracy(model: Model) -> list[Score]:
    """The scores of all tasks: zero-shot in every way, and with an example of each label as the server does it."""
    engine = await model.engine()
    scores: list[Score] = []
    for task in tasks():
        examples: dict[str, Example] = {}
        for text, label, _ in task.texts:
            examples.setdefault(label, Example(text, label))
        given = tuple(examples[label] for label in task.labels)
        for wish, ways in ((task.wish(), WAYS), (task.wish(given), {"with examples": WAYS["corrected"]})):
            used = {example.text for example in wish.examples}
            texts = [each for each in task.texts if each[0] not in used]
            prior = average([(await model.score(engine, wish, text))[0] for text in CONTENT_FREE])
            found = [await model.score(engine, wish, text) for text, _, _ in texts]
            names = [label.name for label in wish.sorted_labels()]
            for way, of in ways.items():
                told = [dict(zip(names, of(logprobs, counts, prior), strict=True)) for logprobs, counts in found]
                for kind, held in (("chosen by", False), ("held out", True)):
                    kept = [(p, label) for p, (_, label, out) in zip(told, texts, strict=True) if out is held]
                    right = statistics.fmean(max(p, key=p.__getitem__) == label for p, label in kept)
                    loss = statistics.fmean(-math.log(p[label]) for p, label in kept)
                    scores.append(Score(task.name, way, kind, len(kept), right, loss))
    await engine.close()
    return scores


Way = Callable[[Sequence[float], Sequence[int], Sequence[float]], list[float]]


def average(rows: Sequence[Sequence[float]]) -> list[float]:
    """The mean of each column."""
    return [statistics.fmean(column) for column in zip(*rows, strict=True)]


def _plain(logprobs: Sequence[float], _counts: Sequence[int], _prior: Sequence[float]) -> list[float]:
    return probabilities(logprobs, [0.0] * len(logprobs))


def _per_token(logprobs: Sequence[float], counts: Sequence[int], _prior: Sequence[float]) -> list[float]:
    return _plain([logprob / count for logprob, count in zip(logprobs, counts, strict=True)], counts, _prior)


def _corrected(logprobs: Sequence[float], _counts: Sequence[int], prior: Sequence[float]) -> list[float]:
    return probabilities(logprobs, prior)


def _corrected_per_token(logprobs: Sequence[float], counts: Sequence[int], prior: Sequence[float]) -> list[float]:
    gains = [found - expected for found, expected in zip(logprobs, prior, strict=True)]
    return _per_token(gains, counts, prior)


WAYS: dict[str, Way] = {
    "as the model says": _plain,
    "mean over tokens": _per_token,
    "corrected, mean over tokens": _corrected_per_token,
    "corrected": _corrected,
}


async def costs(model: Model) -> list[Cost]:
    """What scoring the labels costs, beside what reading the same number of new tokens does; turn and turn about."""
    engine = await model.engine()
    draw = random.Random(0)

    def fresh(count: int) -> list[int]:
        return draw.choices(range(1000, 20_000), k=count)

    async def timed(prompt: list[int], continuations: Sequence[Sequence[int]]) -> float:
        began = time.perf_counter()
        await engine.score(prompt, continuations).result()
        return time.perf_counter() - began

    found: list[Cost] = []
    for count, names in itertools.product(PROMPTS, (WORDS, INTENTS)):
        labels = [model.tokenizer.encode(name) for name in names]
        for _ in range(3):
            await timed(fresh(count), labels)
        pairs = [(await timed(fresh(count), [[1000]]), await timed(fresh(count), labels)) for _ in range(ROUNDS)]
        prefill_s, classify_s = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(classify / prefill for prefill, classify in pairs)
        found.append(Cost(count, sum(map(len, labels)), prefill_s * 1e3, classify_s * 1e3, ratio))
    await engine.close()
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=load_settings().home / MODEL, help="a model file")
    parser.add_argument("--cost", action="store_true", help="time the labels instead")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    model = Model(options.model)
    results: Sequence[Score | Cost] = asyncio.run(costs(model) if options.cost else accuracy(model))
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
        return
    for result in results:
        told = (f"{value:.2f}" if isinstance(value, float) else str(value) for value in asdict(result).values())
        print("  ".join(word.ljust(10) for word in told))


if __name__ == "__main__":
    main()
