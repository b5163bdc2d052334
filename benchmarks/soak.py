"""Whether a server grows: mixed work for a long while, and what its processes hold meanwhile.

    python -m benchmarks.soak HOME --minutes 20 --people 8

HOME has the starter models (`make model` fills build/home). A server of its own, with a fresh database, is asked by so
many people at once for everything that it does: answers that are read, left and cancelled, chats with files, OpenAI's
dialect, vectors, labels, searches, summaries, and requests that are refused. Half of them come under names that never
come again. Every few seconds the memory of the server and of its workers is noted, and their open files and threads;
after a warm-up, a line through these tells by how much each grows with a thousand requests. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.serving.servers import Server, fairlead

STARTER = "SmolLM2-135M-Instruct.Q4_1.gguf"
EVERY_S = 5.0
WARM_UP = 0.4
"""Share of the samples that tell nothing yet: caches fill, allocators find their size."""
SLOW_S = 120.0
WORDS = (
    "rope",
    "harbour",
    "tide",
    "anchor",
    "lantern",
    "storm",
    "cargo",
    "pilot",
    "chart",
    "engine",
    "letter",
    "market",
)


class Person:
    """Somebody who asks, one thing after another."""

    def __init__(self, client: httpx.AsyncClient, draw: random.Random) -> None:
        self.client = client
        self.draw = draw
        self.name = ""

    async def ask(self, method: str, path: str, **sent: object) -> httpx.Response:
        """A request in this person's name, that is not refused."""
        response = await self.client.request(method, path, headers={"X-Fairlead-User": self.name}, **sent)  # type: ignore[arg-type]  # httpx's own
        return response.raise_for_status()

    def words(self, least: int, most: int) -> str:
        """A text."""
        return " ".join(self.draw.choices(WORDS, k=self.draw.randint(least, most)))

    async def stream(self, path: str, body: object, most: int | None = None) -> None:
        """Read an answer's events, or so many of its lines."""
        headers = {"X-Fairlead-User": self.name}
        async with self.client.stream("POST", path, json=body, headers=headers) as response:
            response.raise_for_status()
            read = 0
            async for _ in response.aiter_lines():
                read += 1
                if read == most:
                    return


async def answered(person: Person) -> None:
    """An answer that is read to its end."""
    await person.stream("/infer_stream", {"prompt": person.words(5, 300), "max_tokens": 40})


async def left(person: Person) -> None:
    """An answer that nobody reads to its end."""
    await person.stream("/infer_stream", {"prompt": person.words(5, 300), "max_tokens": 400}, most=20)


async def cancelled(person: Person) -> None:
    """An answer that is cancelled from elsewhere."""
    number = f"soak-{person.draw.getrandbits(60):x}"
    body = {"prompt": person.words(5, 50), "max_tokens": 400, "ignore_eos": True}
    headers = {"X-Request-Id": number, "X-Fairlead-User": person.name}
    asked = asyncio.create_task(person.client.post("/infer", json=body, headers=headers))
    await asyncio.sleep(0.3)
    stopped = await person.client.post("/cancel", json={"id": number})
    assert stopped.status_code in (200, 404), stopped.text  # it may have ended
    (await asked).raise_for_status()


async def chat(person: Person) -> None:
    """A chat with a file, that is deleted in the end, half of them."""
    number = (await person.ask("POST", "/chats", json={})).json()["chat_id"]
    file = {"file": ("notes.md", f"# Notes\n\n{person.words(200, 2000)}.\n")}
    await person.ask("POST", f"/chats/{number}/files", files=file)
    for _ in range(2):
        await person.stream(f"/chats/{number}/messages", {"prompt": person.words(5, 30), "max_tokens": 20})
    await person.ask("GET", "/history", params={"q": "rope"})
    await person.ask("GET", f"/chats/{number}/export")
    if person.draw.random() < 0.5:
        await person.ask("DELETE", f"/chats/{number}")


async def in_openais_dialect(person: Person) -> None:
    """Two answers at once, with log-probabilities."""
    messages = [{"role": "user", "content": person.words(5, 100)}]
    body = {"messages": messages, "max_tokens": 20, "stream": True, "n": 2, "logprobs": True, "top_logprobs": 3}
    await person.stream("/v1/chat/completions", body)


async def vectors(person: Person) -> None:
    """Vectors of some texts."""
    await person.ask("POST", "/v1/embeddings", json={"input": [person.words(3, 60) for _ in range(16)]})


async def labels(person: Person) -> None:
    """Texts under labels that were never there before."""
    body = {"texts": [person.words(5, 40) for _ in range(4)], "labels": [person.words(1, 2) for _ in range(3)]}
    response = await person.client.post("/classify", json=body)
    assert response.status_code in (200, 400), response.text  # labels may be alike


async def table(person: Person) -> None:
    """A collection that is made, searched and deleted."""
    name = f"soak-{person.draw.getrandbits(60):x}"
    rows = [{"text": person.words(5, 20), "number": number} for number in range(100)]
    await person.ask("POST", "/collections", json={"name": name, "rows": rows})
    for path in (name, "topics"):
        await person.ask("POST", f"/collections/{path}/search", json={"query": person.words(2, 5)})
    await person.ask("DELETE", f"/collections/{name}")


async def summary(person: Person) -> None:
    """A text made short, in parts."""
    text = ". ".join(person.words(8, 15) for _ in range(150))
    await person.ask("POST", "/summarize", json={"text": text, "max_words": 20})


async def refused(person: Person) -> None:
    """Requests that cannot be answered."""
    for path, body in (
        ("/infer", b"{"),
        ("/infer", b'{"prompt": 1}'),
        ("/infer", json.dumps({"prompt": person.words(5000, 5000)}).encode()),
        ("/chats/99999999/messages", b'{"prompt": "x"}'),
        ("/nowhere", b"{}"),
    ):
        response = await person.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert 400 <= response.status_code < 500, response.text


KINDS: Mapping[Callable[[Person], Awaitable[None]], int] = {
    answered: 6, left: 4, cancelled: 3, chat: 3, in_openais_dialect: 3, vectors: 4, labels: 3, table: 2, summary: 1,
    refused: 3,
}  # fmt: skip
"""What is done, and how often."""


async def busy(url: str, seed: int, ends_at: float, done: Counter[str]) -> None:
    """One person's requests until the time is over."""
    draw = random.Random(seed)
    async with httpx.AsyncClient(base_url=url, timeout=SLOW_S, trust_env=False) as client:
        person = Person(client, draw)
        while time.monotonic() < ends_at:
            person.name = f"once-{draw.getrandbits(60):x}" if draw.random() < 0.5 else f"regular-{seed}"
            (kind,) = draw.choices(list(KINDS), list(KINDS.values()))
            await kind(person)
            done[kind.__name__] += 1


@dataclass(frozen=True)
class Sample:
    """What the server's processes hold at a time."""

    seconds: float
    requests: int
    server_mb: float
    workers_mb: float
    files: int
    threads: int
    processes: int


def sample(began: float, requests: int) -> Sample:
    """Now. Processes that read files come and go; of those that are gone already nothing is told."""
    held: dict[str, float] = {"server": 0, "workers": 0}
    files = threads = processes = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            told = " ".join(process.cmdline())
            held["workers" if "engine.worker" in told else "server"] += process.memory_full_info().uss / 1e6
            files += process.num_fds()
            threads += process.num_threads()
            processes += 1
    return Sample(time.monotonic() - began, requests, held["server"], held["workers"], files, threads, processes)


async def watch(began: float, ends_at: float, done: Counter[str], samples: list[Sample]) -> None:
    """Notes a sample every few seconds."""
    while time.monotonic() < ends_at:
        await asyncio.sleep(EVERY_S)
        samples.append(sample(began, done.total()))
        print(json.dumps(asdict(samples[-1])), file=sys.stderr, flush=True)


def growth(samples: Sequence[Sample], of: str) -> dict[str, float]:
    """By how much something grows with a thousand requests: a line's slope, with its standard error, and its ends."""
    late = samples[int(len(samples) * WARM_UP) :]
    x = [one.requests / 1000 for one in late]
    y = [float(getattr(one, of)) for one in late]
    slope, start = statistics.linear_regression(x, y)
    rest = sum((value - start - slope * at) ** 2 for at, value in zip(x, y, strict=True))
    spread = sum((at - statistics.mean(x)) ** 2 for at in x)
    error = (rest / (len(x) - 2) / spread) ** 0.5
    third = len(y) // 3
    return {
        "per_1000_requests": round(slope, 3),
        "standard_error": round(error, 3),
        "first_third": round(statistics.median(y[:third]), 2),
        "last_third": round(statistics.median(y[-third:]), 2),
    }


def link(source: Path, home: Path) -> None:
    """The models of one home, for another to find."""
    models = home / "models"
    models.mkdir()
    for path in _models(source):
        (models / path.name).symlink_to(path.resolve())


def _models(home: Path) -> Iterator[Path]:
    return (path for path in (home / "models").iterdir() if not path.name.startswith("."))


async def soak(server: Server, people: int, minutes: float) -> dict[str, object]:
    """The whole of it."""
    done: Counter[str] = Counter()
    samples: list[Sample] = []
    began = time.monotonic()
    ends_at = began + minutes * 60
    async with asyncio.TaskGroup() as group:
        group.create_task(watch(began, ends_at, done, samples))
        for seed in range(people):
            group.create_task(busy(server.url, seed, ends_at, done))
    await asyncio.sleep(2)
    idle = sample(began, done.total())
    return {
        "minutes": minutes,
        "done": dict(done),
        "growth": {of: growth(samples, of) for of in ("server_mb", "workers_mb", "files", "threads", "processes")},
        "idle": asdict(idle),
    }


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """Starts the server for it."""
    async with fairlead(options.home / "models" / STARTER, 0, prepare=lambda home: link(options.home, home)) as server:
        return await soak(server, options.people, options.minutes)


def main() -> None:
    """Prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--people", type=int, default=8)
    print(json.dumps(asyncio.run(measure(parser.parse_args())), indent=1))


if __name__ == "__main__":
    main()
