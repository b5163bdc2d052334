"""How fast collections are filled and searched: `python benchmarks/collection_search.py [--rows N] [--embedded N]`.

Two collections are made in a server of this process, in a fresh home with the models of `--home`. One is of short rows
that are embedded (rows a second, in the background). The other is of rows whose vectors are random, of length 1: how
long an exact search takes does not depend on what they are. Its searches are timed in memory, in the service with the
embedding of the query, and over HTTP, each with a query of its own; the first search, which loads the vectors, apart.
From 300,000 rows on the approximate index is built, and its recall told.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import numpy as np
import uvicorn

from fairlead.api.app import create_app
from fairlead.api.server import listen
from fairlead.api.services import Services
from fairlead.config import Settings
from fairlead.service.collections import table_from
from fairlead.storage import collections
from fairlead.storage.collections import Block

WIDTH = 384
SEARCHES = 50
BLOCK = 512
SUBJECTS = ("boat", "harbour", "rope", "lighthouse", "captain", "anchor", "storm", "island", "map", "net")
DEEDS = ("guides", "holds", "finds", "loses", "mends", "paints", "watches", "sells", "remembers", "follows")


def sentence(number: int) -> str:
    """A short text, another for each number."""
    first, deed, second = SUBJECTS[number % 10], DEEDS[number // 10 % 10], SUBJECTS[number // 100 % 10]
    return f"The {first} number {number} {deed} the old {second} every morning before the others come."


async def put_random(services: Services, rows: int) -> None:
    """A collection named random, of rows with vectors that nobody computed."""
    random = np.random.default_rng(0)
    person = await services.people.row("local")
    contents = [msgspec.json.encode([sentence(number), number]).decode() for number in range(rows)]
    async with services.store.database.writing() as connection:
        made = await collections.add(
            connection,
            person,
            name="random",
            model=services.embeddings.name,
            columns=[{"name": "text", "type": "text"}, {"name": "number", "type": "number"}],
            text_column="text",
            text_column_guessed=False,
            source=None,
        )
        made = await collections.add_rows(connection, made, contents, size_bytes=sum(map(len, contents)), skipped=0)
        for begin in range(0, rows, BLOCK):
            count = min(BLOCK, rows - begin)
            vectors = random.standard_normal((count, WIDTH)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            numbers = np.arange(begin + 1, begin + count + 1, dtype=np.int32)
            block = Block(numbers, vectors.astype(np.float16))
            made, _ = await collections.add_vectors(connection, made, begin + count, block)


def told(times: list[float]) -> dict[str, float]:
    """The middle and the longest of some times, in milliseconds."""
    return {"p50_ms": round(statistics.median(times) * 1000, 2), "max_ms": round(max(times) * 1000, 2)}


def timed(do: Callable[[int], object]) -> dict[str, float]:
    """What something takes, again and again."""
    times = []
    for number in range(SEARCHES):
        begun = time.perf_counter()
        do(number)
        times.append(time.perf_counter() - begun)
    return told(times)


async def measure_fill(services: Services, rows: int) -> dict[str, float]:
    """Make a collection, and wait until all of it is embedded."""
    await services.embeddings.embed(["warm"])
    table = await table_from([{"text": sentence(number), "number": number} for number in range(rows)], "text")
    begun = time.perf_counter()
    await services.collections.create("local", "filled", table)
    made = time.perf_counter() - begun
    await services.collections.settled("local", "filled")
    taken = time.perf_counter() - begun
    return {"rows": rows, "stored_after_s": round(made, 3), "rows_per_s": round(rows / taken, 1)}


async def measure_service(services: Services) -> dict[str, object]:
    """Searches as other parts of the server ask for them; and the bare products among them."""
    begun = time.perf_counter()
    await services.collections.search("local", "random", sentence(7))
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    await services.collections.search("local", "random", sentence(7), filters={"number": {"from": 500}})
    first_filter = time.perf_counter() - begun
    found: dict[str, object] = {"first_ms": round(first * 1000, 1), "first_filtered_ms": round(first_filter * 1000, 1)}
    for name, filters in (("search", None), ("filtered", {"number": {"from": 500, "to": 9000}})):
        times = []
        for number in range(SEARCHES):
            begun = time.perf_counter()
            await services.collections.search("local", "random", sentence(number), filters=filters)
            times.append(time.perf_counter() - begun)
        found[name] = told(times)
    times = []
    for number in range(SEARCHES):
        begun = time.perf_counter()
        await services.embeddings.embed([sentence(number)])
        times.append(time.perf_counter() - begun)
    found["embedding of the query"] = told(times)
    return found


def main() -> None:
    """Measure, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--embedded", type=int, default=10_000)
    parser.add_argument("--home", type=Path, default=Path("build/home"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "models").symlink_to((given.home / "models").resolve())
        app = create_app(Settings(home, default_model=None))
        services: Services = app.state.services
        listener = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, ws="none", log_config=None, access_log=False))
        loops: list[asyncio.AbstractEventLoop] = []

        async def serve() -> None:
            loops.append(asyncio.get_running_loop())
            await server.serve([listener])

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        loop = loops[0]
        try:
            found: dict[str, object] = {}
            if given.embedded:
                found["fill"] = asyncio.run_coroutine_threadsafe(measure_fill(services, given.embedded), loop).result()
            begun = time.perf_counter()
            asyncio.run_coroutine_threadsafe(put_random(services, given.rows), loop).result()
            found["rows"], found["put_s"] = given.rows, round(time.perf_counter() - begun, 2)
            found["service"] = asyncio.run_coroutine_threadsafe(measure_service(services), loop).result()
            port = listener.getsockname()[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:

                def search(number: int) -> object:
                    body = {"query": sentence(number)}
                    return http.post("/collections/random/search", json=body).raise_for_status()

                found["http"] = timed(search)
                begun = time.perf_counter()
                asyncio.run_coroutine_threadsafe(services.collections.settled("local", "random"), loop).result()
                info = http.get("/collections/random").json()
                if info["index"]["kind"] == "approximate":
                    found["build_s"], found["index"] = round(time.perf_counter() - begun, 1), info["index"]
                    found["http, approximate"] = timed(search)
            print(json.dumps(found, indent=2))
        finally:
            server.should_exit = True
            thread.join()


if __name__ == "__main__":
    main()
