"""Collections with an embedder that knows words alone: made, filled, searched, changed, taken up after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from fairlead.config import Settings, UserSettings
from fairlead.errors import Conflict, InvalidRequest, ModelNotFound, NotFound, StorageUsedUp
from fairlead.service.collections import Collections, table_from
from fairlead.service.people import People
from fairlead.storage.database import Database
from tests.service.attached import HashingEmbedder

BOATS: list[dict[str, object]] = [
    {"name": "Anna", "year": 1901, "says": "a red boat with two sails"},
    {"name": "Bert", "year": 1950, "says": "a rope holds the ship in the harbour"},
    {"name": "Cleo", "year": 1950, "says": "the captain drinks tea"},
    {"name": "Dora", "year": None, "says": "  "},
    {"name": "Emil", "says": "an anchor and a rope on a boat"},
]


@contextlib.asynccontextmanager
async def opened(
    location: Path | str, home: Path, embedder: HashingEmbedder, **options: int
) -> AsyncIterator[Collections]:
    """The collections of a server; "bert" may store next to nothing."""
    database = Database.at(location)
    settings = Settings(home=home, users={"bert": UserSettings(storage_bytes=200)})
    people = People(database, settings, local_only=True)
    collections = Collections(database, people, embedder, **options)
    await collections.start()
    try:
        yield collections
    finally:
        await collections.close()
        await people.close()
        await database.close()


@pytest.fixture
def embedder() -> HashingEmbedder:
    return HashingEmbedder()


@pytest.fixture
def file(migrated_sqlite: Path, tmp_path: Path) -> Path:
    """A fresh database; what the statements make of the two kinds is for the tests with `location`."""
    return Path(shutil.copy(migrated_sqlite, tmp_path))


@pytest.fixture
async def collections(file: Path, tmp_path: Path, embedder: HashingEmbedder) -> AsyncIterator[Collections]:
    async with opened(file, tmp_path, embedder) as running:
        yield running


async def make(
    collections: Collections, name: str, rows: Sequence[Mapping[str, object]], column: str | None = None
) -> None:
    await collections.create("anna", name, await table_from(rows, column))
    await collections.settled("anna", name)


async def found(collections: Collections, query: str, name: str = "boats", **wishes: object) -> list[object]:
    """The names of the rows that are found."""
    answer = await collections.search("anna", name, query, **wishes)  # type: ignore[arg-type]  # as the test says
    return [hit.row["name"] for hit in answer.hits]


async def test_rows_are_found_by_meaning_and_told_as_they_are(collections: Collections) -> None:
    await make(collections, "boats", BOATS)
    status = await collections.find("anna", "boats")
    kept = status.collection
    assert (status.state, kept.text_column, kept.text_column_guessed) == ("ready", "says", True)
    assert (kept.row_count, kept.embedded_count, kept.skipped_count) == (5, 4, 1)
    assert [column["type"] for column in kept.columns] == ["text", "number", "text"]
    answer = await collections.search("anna", "boats", "red sails", top_k=2)
    assert answer.hits[0].id == 1
    assert answer.hits[0].row == BOATS[0]
    assert answer.hits[0].text == BOATS[0]["says"]
    assert answer.hits[0].score > answer.hits[1].score
    assert (answer.searched, answer.state, len(answer.hits)) == (4, "ready", 2)
    assert await found(collections, "red sails", min_score=0.5) == ["Anna"]


async def test_filters_say_which_rows_are_meant(collections: Collections) -> None:
    await make(collections, "boats", BOATS)
    cases: list[tuple[dict[str, object], list[str]]] = [
        ({"year": 1950}, ["Bert", "Cleo"]),
        ({"year": {"to": 1949}}, ["Anna"]),
        ({"year": [1901, None]}, ["Anna", "Emil"]),
        ({"name": ["Cleo", "Anna", "Nobody"]}, ["Anna", "Cleo"]),
        ({"name": {"from": "Bert", "to": "D"}}, ["Bert", "Cleo"]),
        ({"name": "Anna", "year": 1950}, []),
    ]
    for filters, names in cases:
        assert sorted(await found(collections, "a rope", filters=filters)) == names  # type: ignore[type-var]
        assert (await collections.search("anna", "boats", "a rope", filters=filters)).searched == len(names)
    wrong: list[dict[str, object]] = [{"age": 1}, {"year": "old"}, {"year": {"at": 1}}, {"name": {}}, {"year": []}]
    for filters in wrong:
        with pytest.raises(InvalidRequest) as refused:
            await collections.search("anna", "boats", "a rope", filters=filters)
        assert refused.value.param == "filters"


async def test_rows_come_and_go_and_filters_follow(
    location: Path | str, tmp_path: Path, embedder: HashingEmbedder
) -> None:
    async with opened(location, tmp_path, embedder) as collections:
        await _change(collections)


async def _change(collections: Collections) -> None:
    await make(collections, "boats", BOATS)
    assert await found(collections, "rope", filters={"year": 1950}, top_k=1) == ["Bert"]
    before = (await collections.find("anna", "boats")).collection
    await collections.remove_row("anna", "boats", 2)
    await collections.remove_row("anna", "boats", 4)
    await collections.add_rows(
        "anna", "boats", [{"name": "Fritz", "year": 1950, "says": "rope, rope"}, {"name": "Gerd"}]
    )
    kept = (await collections.settled("anna", "boats")).collection
    assert (kept.row_count, kept.embedded_count, kept.skipped_count) == (5, 4, 1)
    assert await found(collections, "rope", filters={"year": 1950}) == ["Fritz", "Cleo"]
    rows, count = await collections.rows("anna", "boats", 2, 2)
    assert ([row.id for row in rows], count) == ([5, 6], 5)
    for number in (5, 6, 7, 1, 3):
        await collections.remove_row("anna", "boats", number)
    assert (await collections.find("anna", "boats")).collection.size_bytes == 0 < before.size_bytes
    assert await found(collections, "rope") == []


async def test_whose_a_collection_is(collections: Collections) -> None:
    await make(collections, "boats", BOATS)
    for call in (collections.find, collections.remove):
        with pytest.raises(NotFound):
            await call("bert", "boats")
    with pytest.raises(Conflict):
        await make(collections, "boats", BOATS)
    with pytest.raises(StorageUsedUp):
        await collections.create("bert", "boats", await table_from(BOATS * 9, None))
    await collections.create("bert", "boats", await table_from(BOATS[:1], None))
    await collections.remove("anna", "boats")
    assert [status.collection.name for status in await collections.listed("anna")] == ["topics"]
    assert (await collections.settled("bert", "boats")).state == "ready"


async def test_embedding_goes_on_after_a_restart_and_search_works_meanwhile(
    location: Path | str, tmp_path: Path, embedder: HashingEmbedder
) -> None:
    async with opened(location, tmp_path, embedder) as collections:
        rows = [{"name": str(number), "says": f"rope {number}"} for number in range(1200)]
        rows[-1]["says"] = "a grey whale sings in the deep sea"
        embedder.stops_after = 1
        await collections.create("anna", "many", await table_from(rows, "says"))
        assert (await collections.search("anna", "many", "rope 511")).searched == 512
        assert (await collections.find("anna", "many")).state == "embedding"
    embedder.stops_after = None
    async with opened(location, tmp_path, embedder) as collections:
        status = await collections.settled("anna", "many")
        assert (status.state, status.collection.embedded_count) == ("ready", 1200)
        assert await found(collections, "a whale sings in the deep sea", "many", top_k=1) == ["1199"]


async def test_a_model_that_is_not_to_be_had_is_told_and_tried_again(
    collections: Collections, embedder: HashingEmbedder
) -> None:
    embedder.absent = True
    await make(collections, "boats", BOATS)
    status = await collections.find("anna", "boats")
    assert (status.state, status.collection.error) == ("failed", "The model is not here.")
    embedder.absent = False
    assert await found(collections, "red sails", top_k=1) == ["Anna"]
    assert (await collections.settled("anna", "boats")).state == "ready"
    with pytest.raises(ModelNotFound):
        await collections.create("anna", "other", await table_from(BOATS, None), model="nope")


async def test_many_rows_have_an_approximate_index_that_says_its_recall(
    file: Path, tmp_path: Path, embedder: HashingEmbedder
) -> None:
    async with opened(file, tmp_path, embedder, approximate_from=1500) as collections:
        random = np.random.default_rng(1)
        words = [f"word{number}" for number in range(300)]
        rows: list[dict[str, object]] = [
            {"name": str(number), "says": " ".join(random.choice(words, 6))} for number in range(1600)
        ]
        await make(collections, "many", rows)
        exact = await collections.search("anna", "many", str(rows[7]["says"]), top_k=1)
        assert exact.searched == 1600
        status = await collections.settled("anna", "many")
        assert status.recall is not None
        assert status.recall > 0.9
        near = await collections.search("anna", "many", str(rows[7]["says"]), top_k=1)
        assert near.searched < 1600
        assert near.hits == exact.hits
        await collections.remove_row("anna", "many", 8)
        await collections.add_rows("anna", "many", [{"name": "new", "says": "a word of its own"}])
        await collections.settled("anna", "many")
        assert "7" not in await found(collections, str(rows[7]["says"]), "many")
        assert await found(collections, "a word of its own", "many", top_k=1) == ["new"]


@pytest.mark.parametrize(
    ("rows", "column", "message"),
    [
        ([], None, "no rows"),
        ([{"a": 1}], None, "No column holds text"),
        ([{"a": "x"}], "b", "no column 'b'"),
        ([{"a": " "}, {"a": None}], "a", "nothing to search"),
        ([{"a": ["x"]}], None, "a list"),
        ([{"a\0b": "x"}], None, "column's name"),
        ([{"a": 10**20}], None, "too large"),
        ([{f"c{number}": "x" for number in range(201)}], None, "columns"),
        ([{"a": "x" * 100_001}], None, "characters"),
    ],
)
async def test_rows_that_make_no_table_are_refused(
    rows: list[dict[str, object]], column: str | None, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        await table_from(rows, column)


async def test_rows_that_do_not_fit_the_columns_are_refused(collections: Collections) -> None:
    await make(collections, "boats", BOATS)
    rows: list[dict[str, object]] = [{"year": "old"}, {"other": 1}, {"says": {}}]
    for row in rows:
        with pytest.raises(InvalidRequest) as refused:
            await collections.add_rows("anna", "boats", [row])
        assert refused.value.param == "rows"
    assert (await collections.find("anna", "boats")).collection.row_count == 5


async def test_a_collection_may_be_deleted_while_it_is_embedded(
    collections: Collections, embedder: HashingEmbedder
) -> None:
    embedder.stops_after = 0
    await collections.create("anna", "boats", await table_from(BOATS, None))
    await asyncio.sleep(0.05)
    await collections.remove("anna", "boats")
    embedder.stops_after = None
    await make(collections, "boats", BOATS)
    assert await found(collections, "red sails", top_k=1) == ["Anna"]


async def test_topics_come_with_the_server_for_everybody_and_for_nobody_to_change(
    file: Path, tmp_path: Path, embedder: HashingEmbedder
) -> None:
    async with opened(file, tmp_path, embedder) as collections:
        answer = await collections.search("anna", "topics", "lines and bollards that hold a vessel", top_k=1)
        assert answer.hits[0].row["topic"] == "Mooring a ship"
        assert (answer.searched, answer.state) == (300, "ready")
        for change in (
            collections.remove("anna", "topics"),
            collections.remove_row("anna", "topics", 1),
            collections.add_rows("anna", "topics", [{"topic": "x"}]),
            collections.create("anna", "topics", await table_from(BOATS, None)),
        ):
            with pytest.raises(Conflict):
                await change
    async with opened(file, tmp_path, embedder) as collections:
        (status,) = await collections.listed("bert")
        assert (status.is_builtin, status.state, status.collection.embedded_count) == (True, "ready", 300)
