"""`fairlead summarize`, against a server with a model that always says the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Fairlead
from tests.served import HELLO, Served, serving, settings_with_models

TEXT = "A rope holds a ship in the harbour. " * 12


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> object:
    with serving(settings_with_models(tmp_path_factory.mktemp("served"), context_length=2048)) as server:
        yield server


def test_files_folders_and_what_is_piped_become_lines(fairlead: Fairlead, wide: Served, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / ".hidden").mkdir(parents=True)
    for name in ("b.txt", "a.md", ".hidden/c.txt"):
        (folder / name).write_text(TEXT)
    options = ("--url", wide.url, "--max-words", "10")
    done = fairlead("summarize", str(folder), "-", *options, stdin=TEXT)
    assert done.exit_code == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["source"] for line in lines] == [str(folder / "a.md"), str(folder / "b.txt"), None]
    assert all(line["summary"] == HELLO and line["share_read"] == 1.0 for line in lines)
    assert "writing" in done.stderr


def test_what_cannot_be_read_is_told_and_the_rest_done(fairlead: Fairlead, wide: Served, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.png").write_bytes(b"\x89PNG")
    done = fairlead("summarize", str(tmp_path / "b.png"), str(tmp_path / "a.txt"), "--url", wide.url)
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 1
    assert ".png are not read" in done.stderr
    assert fairlead("summarize", "nowhere").exit_code == 2
    assert fairlead("summarize", "--share", "0").exit_code == 2
    assert fairlead("summarize", "--url", wide.url, stdin="\n").exit_code == 1
