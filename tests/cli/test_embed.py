"""`fairlead embed`, against a server with a tiny BERT."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.cli.conftest import Fairlead
from tests.served import ENCODER, Served


def test_each_text_becomes_a_line(fairlead: Fairlead, served: Served) -> None:
    done = fairlead("embed", "the rope", "a ship", "--model", ENCODER, "--url", served.url)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in lines] == ["the rope", "a ship"]
    assert all(abs(np.linalg.norm(line["embedding"]) - 1) < 1e-5 for line in lines)


def test_lines_come_from_files_or_from_what_is_piped_in(fairlead: Fairlead, served: Served, tmp_path: Path) -> None:
    texts = [f"rope {number}" for number in range(300)]
    (tmp_path / "texts").write_text("\n\n".join(texts) + "\n")
    options = ("--model", ENCODER, "--url", served.url)
    of_file = fairlead("embed", "--file", str(tmp_path / "texts"), *options)
    assert [json.loads(line)["text"] for line in of_file.stdout.splitlines()] == texts
    assert fairlead("embed", *options, stdin="\n".join(texts)).stdout == of_file.stdout
    assert fairlead("embed", *options, stdin="\n").stdout == ""


def test_what_goes_wrong_is_one_sentence(fairlead: Fairlead, served: Served) -> None:
    done = fairlead("embed", "rope", "--model", "hello", "--url", served.url)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "only chats" in done.stderr
    done = fairlead("embed", "rope " * 100, "--model", ENCODER, "--url", served.url)
    assert "the context of tiny-bert is 64" in done.stderr
    assert fairlead("embed", "--file", "nowhere").exit_code == 2
