"""`fairlead collections`, against a server with a tiny BERT."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Fairlead
from tests.served import Served


def test_a_table_is_made_a_collection_searched_and_deleted(fairlead: Fairlead, served: Served, tmp_path: Path) -> None:
    server = ("--url", served.url)
    file = tmp_path / "boats.csv"
    file.write_text("name;year;says\nAnna;1901;a red boat\nBert;1950;a rope holds a ship\nCleo;1950;\n")
    shown = fairlead("collections", "create", "boats", str(file), "--preview", *server)
    assert shown.exit_code == 0, shown.stderr
    assert "Bert  1950  a rope holds a ship" in shown.stdout
    assert "the text is in says (guessed)" in shown.stderr
    assert "boats" not in fairlead("collections", "list", *server).stdout
    made = fairlead("collections", "create", "boats", str(file), "--text-column", "says", *server)
    assert made.exit_code == 0, made.stderr
    assert "2 rows can be found; 1 without a text are left out" in made.stderr
    assert fairlead("collections", "list", *server).stdout.splitlines()[1].split()[:2] == ["boats", "ready"]
    assert json.loads(fairlead("collections", "show", "boats", *server).stdout)["source"]["delimiter"] == ";"
    found = fairlead("collections", "search", "boats", "a red boat", "--filter", "year=1900..1949", *server)
    (line,) = found.stdout.splitlines()
    assert json.loads(line)["row"] == {"name": "Anna", "year": 1901, "says": "a red boat"}
    one_of = fairlead("collections", "search", "boats", "x", *server, "--filter", "name=Anna", "--filter", "name=Bert")
    assert len(one_of.stdout.splitlines()) == 2
    assert fairlead("collections", "search", "boats", "x", "--filter", "age=1", *server).exit_code == 2
    assert fairlead("collections", "create", "other", str(file), "--text-column", "no", *server).exit_code == 1
    assert fairlead("collections", "delete", "boats", "--yes", *server).exit_code == 0
    assert fairlead("collections", "show", "boats", *server).exit_code == 1
