"""Collections over HTTP, from a real worker with a tiny BERT; and the topics by all-MiniLM-L6-v2 itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead.config import Settings
from fairlead.model_entry import FileSource, ModelEntry
from tests.api.test_bad_input import check
from tests.served import Served, serving, settings_with_models, until

ROWS: list[dict[str, Any]] = [
    {"name": "Anna", "year": 1901, "says": "a red boat with two sails"},
    {"name": "Bert", "year": 1950, "says": "a rope holds the ship"},
    {"name": "Cleo", "year": None, "says": ""},
]
CSV = 'name;year;says\nAnna;1901;"a red boat; with two sails"\nBert;1950;a rope holds\n\nCleo;;\nDörte;2001;tea\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home: Path = tmp_path_factory.mktemp("collections")
    with serving(settings_with_models(home, max_file_bytes=1 << 20)) as running:
        yield running


@pytest.fixture
def http(server: Served) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


def settled(http: httpx.Client, name: str, user: str = "local") -> dict[str, Any]:
    """A collection once it is ready."""
    where = f"/collections/{name}?user={user}"
    until(lambda: http.get(where).raise_for_status().json()["state"] != "embedding")
    return dict(http.get(where).json())


def sent(http: httpx.Client, path: str, content: bytes | str, file: str = "boats.csv", **query: str) -> httpx.Response:
    """The answer to a file in a form."""
    data = content.encode() if isinstance(content, str) else content
    return http.post(path, files={"file": (file, data)}, params=query)


def test_rows_are_made_a_collection_searched_changed_and_deleted(http: httpx.Client) -> None:
    made = http.post("/collections", json={"name": "boats", "rows": ROWS})
    assert made.status_code == 201
    kept = settled(http, "boats")
    assert {key: kept[key] for key in ("name", "state", "model", "text_column", "text_column_guessed")} == {
        "name": "boats", "state": "ready", "model": "tiny-bert", "text_column": "says", "text_column_guessed": True,
    }  # fmt: skip
    assert (kept["row_count"], kept["embedded_count"], kept["skipped_count"]) == (3, 2, 1)
    assert kept["columns"][1] == {"name": "year", "type": "number"}
    assert (kept["index"], kept["source"], kept["builtin"]) == ({"kind": "exact", "recall": None}, None, False)
    search = {"query": "a red boat with two sails", "top_k": 1}
    found = http.post("/collections/boats/search", json=search).raise_for_status().json()
    assert found["results"] == [{"id": 1, "row": ROWS[0], "text": ROWS[0]["says"], "score": pytest.approx(1, abs=0.01)}]
    assert (found["searched"], found["state"]) == (2, "ready")
    found = http.post("/collections/boats/search", json={**search, "filters": {"year": {"from": 1940}}}).json()
    assert [hit["row"]["name"] for hit in found["results"]] == ["Bert"]
    more = http.post("/collections/boats/rows", json={"rows": [{"name": "Dora", "says": "tea"}]})
    assert (more.status_code, more.json()["row_count"]) == (201, 4)
    assert http.delete("/collections/boats/rows/1").json() == {"name": "boats", "row_id": 1, "removed": True}
    settled(http, "boats")
    rows = http.get("/collections/boats/rows?offset=1&limit=2").json()
    assert [row["id"] for row in rows["rows"]] == [3, 4]
    assert (rows["row_count"], rows["rows"][1]["row"]) == (3, {"name": "Dora", "year": None, "says": "tea"})
    assert http.get("/me").json()["used"]["storage_bytes"] > 0
    assert http.delete("/collections/boats").json() == {"name": "boats", "removed": True}
    assert http.get("/me").json()["used"]["storage_bytes"] == 0
    check(http.get("/collections/boats"), 404)


def test_a_file_is_looked_at_and_made_a_collection(http: httpx.Client) -> None:
    in_latin = CSV.encode("cp1252")
    looked = sent(http, "/collections/preview", in_latin).raise_for_status().json()
    assert looked["columns"] == [
        {"name": "name", "type": "text"}, {"name": "year", "type": "number"}, {"name": "says", "type": "text"},
    ]  # fmt: skip
    assert (looked["text_column"], looked["text_column_guessed"]) == ("says", True)
    assert (looked["delimiter"], looked["encoding"], looked["row_count"]) == (";", "cp1252", 4)
    assert looked["rows"][0] == {"name": "Anna", "year": 1901, "says": "a red boat; with two sails"}
    assert looked["rows"][3]["name"] == "Dörte"
    made = sent(http, "/collections/file", in_latin, name="filed", user="carl")
    assert made.status_code == 201
    kept = settled(http, "filed", "carl")
    assert kept["source"] == {"file": "boats.csv", "delimiter": ";", "encoding": "cp1252"}
    assert (kept["row_count"], kept["skipped_count"]) == (4, 1)
    lines = '{"a": "one", "b": 1}\n\n{"a": "two", "c": true}\n'
    sent(http, "/collections/file", lines, "x.jsonl", name="lines", text_column="a").raise_for_status()
    rows = http.get("/collections/lines/rows").json()["rows"]
    assert [row["row"] for row in rows] == [{"a": "one", "b": 1, "c": None}, {"a": "two", "b": None, "c": True}]


@pytest.mark.parametrize(
    ("content", "file", "query", "status", "message"),
    [
        ("a,b\n1,x\n2\n", "x.csv", {}, 422, "ragged: the record at line 3 has 1 fields, and the first 2"),
        ('a,b\n1,"x\n2,y\n', "x.csv", {}, 422, "no table"),
        ("a,a\n1,x\n", "x.csv", {}, 422, "Two columns"),
        ("a,b\n", "x.csv", {}, 422, "no rows"),
        ("a,b\n1,x\n", "x.csv", {"text_column": "c"}, 400, "no column 'c'"),
        ("a,b\n1,2\n", "x.csv", {}, 400, "No column holds text"),
        ("a,b\n1,\n2, \n", "x.csv", {"text_column": "b"}, 400, "nothing to search"),
        (bytes(range(256)) * 20, "x.csv", {}, 422, "binary"),
        (b"\x89PNG\r\n", "x.csv", {}, 422, "a picture"),
        ("a b", "x.txt", {}, 415, "no table"),
        ("a,b\n1,x\n", "x.csv", {"delimiter": '"'}, 400, "parts no fields"),
        ("a,b\n1,x\n", "x.csv", {"encoding": "klingon"}, 400, "no encoding"),
        ("a,b\n1,\xfc\n".encode("latin-1"), "x.csv", {"encoding": "utf-8"}, 422, "fits nothing"),
        ('{"a": "x"}\n[1]\n', "x.jsonl", {}, 422, "Line 2 is no JSON object"),
        ('{"a": ["x"]}\n', "x.jsonl", {}, 422, "a list"),
        ("a\n" + "x" * 200_000 + "\n", "x.csv", {}, 422, "characters"),
        ("a,b\n" * 300_000, "x.csv", {}, 413, "too large"),
    ],
)  # fmt: skip
def test_files_that_are_no_tables_are_refused(
    http: httpx.Client, content: str | bytes, file: str, query: dict[str, str], status: int, message: str
) -> None:
    error = check(sent(http, "/collections/file", content, file, name="refused", **query), status)
    assert message in error["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/collections", {"name": "a/b", "rows": ROWS}),
        ("/collections", {"name": "x" * 65, "rows": ROWS}),
        ("/collections", {"name": "x", "rows": []}),
        ("/collections", {"name": "x", "rows": [1]}),
        ("/collections", {"name": "x", "rows": ROWS, "text_column": "no"}),
        ("/collections", {"name": "x", "rows": ROWS, "model": "hello"}),
        ("/collections/topics/search", {"query": " "}),
        ("/collections/topics/search", {"query": "x", "top_k": 101}),
        ("/collections/topics/search", {"query": "x", "filters": {"no": 1}}),
    ],
)  # fmt: skip
def test_bodies_that_cannot_be_are_refused(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    check(http.post(path, json=body), 400)


def test_what_belongs_into_the_address_is_said(http: httpx.Client) -> None:
    """Most who try by hand put all into the form."""
    file = {"file": ("films.csv", b"a\n1\n")}
    missing = check(http.post("/collections/file", files=file, data={"name": "films"}), 400)
    assert (missing["param"], missing["message"]) == ("name", "name is required in the address, as in ?name=.")
    asked = {"name": "films"}
    misplaced = check(http.post("/collections/file", files=file, data={"delimiter": ","}, params=asked), 400)
    assert misplaced["param"] == "delimiter"
    assert "in the address, as in ?delimiter=" in misplaced["message"]
    misnamed = check(http.post("/collections/file", files={"table": file["file"]}, params=asked), 400)
    assert (misnamed["param"], misnamed["message"]) == ("table", "Files go into fields named file, and not table.")


def test_topics_are_found_by_what_they_mean(embedding_model: Path, tmp_path: Path) -> None:
    entry = ModelEntry("minilm", "minilm/model.safetensors", (FileSource(embedding_model),))
    settings = Settings(home=tmp_path, models=(entry,), default_model=None, embedding_model="minilm")
    asked = {
        "how do I keep my house warm in winter?": {"Heating", "Insulation"},
        "my landlord does not give my money back": {"Rental law"},
        "what holds a vessel at the quay?": {"Mooring a ship"},
    }
    with serving(settings, model=None) as server, server.http() as http:
        for query, topics in asked.items():
            answer = http.post("/collections/topics/search", json={"query": query, "top_k": len(topics)})
            found = answer.raise_for_status().json()
            assert {hit["row"]["topic"] for hit in found["results"]} == topics
            assert (found["searched"], found["state"]) == (300, "ready")
