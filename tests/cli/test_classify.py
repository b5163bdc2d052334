"""`fairlead classify`, against a server with a model of hashes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Fairlead
from tests.served import Served, serving, settings_with_models

LABELS = ("-l", "sea", "-l", "land: without water")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(settings_with_models(tmp_path_factory.mktemp("served"), context_length=512)) as server:
        yield server


def test_files_folders_and_piped_lines_become_lines(fairlead: Fairlead, served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "b.txt").write_text("A rope.\nA ship.")
    (folder / "a.md").write_text("A field.")
    done = fairlead("classify", str(folder), "-", *LABELS, "--url", served.url, stdin="A wave.\n\nA hill.\n")
    assert done.exit_code == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    places = [(line["source"], line.get("line"), line.get("text")) for line in told]
    files = [(str(folder / name), None, None) for name in ("a.md", "b.txt")]
    assert places == [*files, (None, 1, "A wave."), (None, 3, "A hill.")]
    for line in told:
        assert line["label"] in ("sea", "land")
        assert sum(line["probabilities"].values()) == pytest.approx(1)
    assert "classifying 4 of 4" in done.stderr
    by_line = fairlead("classify", str(folder / "b.txt"), "--lines", *LABELS, "--url", served.url)
    assert [json.loads(line)["text"] for line in by_line.stdout.splitlines()] == ["A rope.", "A ship."]


def test_what_cannot_be_read_is_told_and_the_rest_done(fairlead: Fairlead, served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("A rope. " * 500)
    (folder / "b.txt").write_bytes(b"\xff\xfe")
    (folder / "c.txt").write_text("A ship.")
    (folder / "d.txt").write_text("")
    done = fairlead("classify", str(folder), *LABELS, "--url", served.url)
    assert done.exit_code == 1
    assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == [str(folder / "c.txt")]
    for name, why in (("a.txt", "context"), ("b.txt", "UTF-8"), ("d.txt", "empty")):
        assert any(name in line and why in line for line in done.stderr.splitlines())


def test_examples_are_given_and_wrong_ones_refused(fairlead: Fairlead, served: Served, tmp_path: Path) -> None:
    examples = tmp_path / "examples.jsonl"
    asked = ("classify", *LABELS, "--url", served.url, "--examples", str(examples))
    examples.write_text('{"text": "A wave.", "label": "sea"}\n')
    assert fairlead(*asked, stdin="A rope.").exit_code == 0
    examples.write_text('{"text": "A wave.", "label": "air"}\n')
    refused = fairlead(*asked, stdin="A rope.")
    assert refused.exit_code == 1
    assert "'air' is none of the labels" in refused.stderr
    examples.write_text("A wave.")
    assert fairlead(*asked, stdin="A rope.").exit_code == 2
    assert fairlead("classify", stdin="A rope.").exit_code == 2
