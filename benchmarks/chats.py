"""How long chats take at the server: `python -m benchmarks.chats [--chats 200] [--messages 200] [--json]`.

Fills a fresh SQLite database, and a PostgreSQL where `--postgresql URL` names an empty one, with one person's chats of
so many messages, and times what a face asks for: opening a chat, listing, paging, searching. Each time is that of
the service with the answer's JSON, without HTTP; the median and the worst of many, in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from fairlead.api.chat_json import chat_json, page_json
from fairlead.api.responses import encode
from fairlead.service.chats import Archive, Chats
from fairlead.service.live import LiveAnswers
from fairlead.service.material import Material
from fairlead.storage import archive, chats, people
from fairlead.storage.chats import Chat
from fairlead.storage.database import Database
from fairlead.storage.messages import Message
from fairlead.storage.migrate import migrate

_WORDS_OF_A_MESSAGE = 60
_VOCABULARY = 5_000
_REPEATS = 40
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Taken:
    """What one kind of call took, in milliseconds."""

    what: str
    median_ms: float
    worst_ms: float


def _words(draw: random.Random, count: int) -> str:
    """Words as frequent as in language: the n-th about 1/n times the first (Zipf)."""
    return " ".join(f"word{int(_VOCABULARY ** draw.random())}" for _ in range(count))


def _conversation(draw: random.Random, count: int, began: datetime) -> list[Message]:
    return [
        Message(
            id=number,
            number=number,
            parent_id=number - 1 or None,
            role="user" if number % 2 else "assistant",
            content=_words(draw, _WORDS_OF_A_MESSAGE),
            state="complete",
            finish_reason=None if number % 2 else "stop",
            model=None if number % 2 else "a-model",
            report=None if number % 2 else {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "cached_tokens": 0}},
            created_at=began + timedelta(minutes=number),
            finished_at=None,
        )
        for number in range(1, count + 1)
    ]


async def fill(database: Database, person: int, count: int, length: int) -> None:
    """Give a person `count` chats of `length` messages."""
    draw = random.Random(1)
    for number in range(1, count + 1):
        began = _BEGAN + timedelta(hours=number)
        told = _conversation(draw, length, began)
        async with database.writing() as connection:
            chat: Chat = await chats.create(
                connection, person, await chats.next_number(connection, person), began, title=_words(draw, 5)
            )
            taken = Archive(chat, told)
            await archive.put(connection, chat.id, taken.messages, leaf=length, last_file=0)


async def _time(what: str, call: Callable[[int], Awaitable[object]]) -> Taken:
    took = []
    for index in range(_REPEATS):
        began = time.perf_counter()
        encode(await call(index))
        took.append((time.perf_counter() - began) * 1000)
    return Taken(what, round(statistics.median(took), 2), round(max(took), 2))


class _NoFiles:
    """Chats without files."""

    async def material(self, chat_id: int, question: str, room: int, count: Callable[[str], int]) -> Material:  # noqa: ARG002
        """Nothing."""
        return Material()

    async def remove_all(self, chat_id: int) -> None:
        """Nothing."""


async def measure(database: Database, count: int, length: int) -> list[Taken]:
    """Fill a fresh database and time the calls."""
    await migrate(database)
    async with database.writing() as connection:
        person = await people.find_or_add(connection, "anna")
    await fill(database, person, count, length)
    service = Chats(database, LiveAnswers(database, 30.0), _NoFiles(), lambda _: None)

    async def page(words: str = "", before: int | None = None) -> object:
        return page_json(await service.listing(person, words=words, limit=50, before=before))

    async def opened(index: int) -> object:
        return chat_json(await service.open(person, index % count + 1))

    return [
        await _time("open a chat", opened),
        await _time("list 50 chats", lambda _: page()),
        await _time("list the next 50", lambda _: page(before=count // 2 + 1)),
        await _time("search a frequent word", lambda _: page("word1")),
        await _time("search a rare word", lambda index: page(f"word{_VOCABULARY - 1 - index}")),
        await _time("search two words", lambda index: page(f"word{index + 2} word{index + 30}")),
        await _time("search the beginning of a word", lambda index: page(f"word{index + 10}")),
        await _time("search what is not there", lambda _: page("nowhere")),
    ]


async def _main(count: int, length: int, url: str | None) -> dict[str, list[Taken]]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        places: dict[str, Path | str] = {"sqlite": Path(folder) / "fairlead.db"}
        if url is not None:
            places["postgresql"] = url
        for name, place in places.items():
            database = Database.at(place)
            found[name] = await measure(database, count, length)
            await database.close()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chats", type=int, default=200)
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--postgresql", metavar="URL", help="an empty database")
    parser.add_argument("--json", action="store_true", help="print one object")
    given = parser.parse_args()
    measured = asyncio.run(_main(given.chats, given.messages, given.postgresql))
    if given.json:
        print(msgspec.json.encode(measured).decode())
    else:
        for database_name, rows in measured.items():
            print(f"{database_name}: {given.chats} chats of {given.messages} messages")
            for row in rows:
                print(f"  {row.what:<32}{row.median_ms:>8.2f} ms   worst {row.worst_ms:.2f} ms")
