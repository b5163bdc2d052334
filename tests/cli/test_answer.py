"""`fairlead answer`, against a server with a model that always says the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairlead.cli import answer
from tests.cli.conftest import Fairlead
from tests.served import HELLO, Served, serving, settings_with_models, until

ROPE = "A fairlead guides the rope."


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> object:
    with serving(settings_with_models(tmp_path_factory.mktemp("served"), context_length=2048)) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "texts" / ".hidden").mkdir(parents=True)
    for name in ("b.txt", "a.txt", ".hidden/c.txt", "picture.png"):
        (tmp_path / "texts" / name).write_text(f"{ROPE} {name}")
    return tmp_path / "texts"


def test_a_folder_is_one_question_and_one_line(fairlead: Fairlead, wide: Served, folder: Path) -> None:
    done = fairlead("answer", ROPE, str(folder), "--url", wide.url, "--threshold", "0.5", "--max-tokens", "90")
    assert done.exit_code == 0, done.stderr
    (line,) = (json.loads(line) for line in done.stdout.splitlines())
    assert (line["question"], line["answer"], line["answered"]) == (ROPE, HELLO, True)
    assert sorted(source["name"] for source in line["sources"]) == ["a.txt", "b.txt"]
    assert "answering" in done.stderr
    assert "picture.png is left out" in done.stderr


def test_what_is_piped_in_is_answered_from(fairlead: Fairlead, wide: Served) -> None:
    for given in ([], ["-"]):
        done = fairlead("answer", ROPE, *given, "--url", wide.url, stdin=ROPE)
        assert json.loads(done.stdout)["sources"] == [
            {"kind": "context", "text": ROPE, "score": 1.0, "start": 0, "end": len(ROPE)}
        ]


def test_a_collection_is_answered_from(fairlead: Fairlead, wide: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with wide.http() as http:
        http.post("/collections", json={"name": "ropes", "rows": [{"what": ROPE, "since": 1998}]}).raise_for_status()
        until(lambda: http.get("/collections/ropes").json()["state"] == "ready")
    to = ["--collection", "ropes", "--url", wide.url]
    (source,) = json.loads(fairlead("answer", ROPE, *to).stdout)["sources"]
    assert source == {
        "kind": "row",
        "text": ROPE,
        "score": 1.0,
        "collection": "ropes",
        "row_id": 1,
        "row": {"what": ROPE, "since": 1998},
    }
    monkeypatch.setattr(answer, "_is_for_people", lambda: True)
    assert f"ropes, row 1: {ROPE}" in fairlead("answer", ROPE, *to).stderr
    assert fairlead("answer", ROPE, "a.txt", *to).exit_code == 2
    assert fairlead("answer", ROPE, "--collection", "none", "--url", wide.url).exit_code == 1


def test_the_status_says_how_it_ended(fairlead: Fairlead, wide: Served, folder: Path) -> None:
    to = ["--url", wide.url]
    unknown = fairlead("answer", "What?", "--threshold", "1", *to, stdin=ROPE)
    assert (unknown.exit_code, json.loads(unknown.stdout)["answered"]) == (5, False)
    assert fairlead("answer", ROPE, *to, "--max-tokens", "2", stdin=ROPE).exit_code == 0
    assert fairlead("answer", ROPE, *to, stdin=" \n").exit_code == 2
    assert fairlead("answer", ROPE, "-", str(folder), *to, stdin=ROPE).exit_code == 2
    assert fairlead("answer", ROPE, "nowhere", *to).exit_code == 2
    assert fairlead("answer", ROPE, str(folder / "picture.png"), *to).exit_code == 2
    assert fairlead("answer", ROPE, "--url", "http://127.0.0.1:9", stdin=ROPE).exit_code == 4


def test_for_people_the_answer_comes_as_it_is_written(
    fairlead: Fairlead, wide: Served, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "_is_for_people", lambda: True)
    done = fairlead("answer", ROPE, str(folder / "a.txt"), "--url", wide.url)
    assert (done.exit_code, done.stdout) == (0, f"{HELLO}\n")
    assert "a.txt, line 1\n" in done.stderr
    done = fairlead("answer", "What?", "--threshold", "1", "--url", wide.url, stdin=ROPE)
    assert (done.exit_code, done.stdout.split(":")[0]) == (5, "I do not know")
